//! One attack: what it is, where it works, under which limits it must fail.

use std::path::Path;
use std::time::Duration;

/// Where the proof outside runs as an ordinary user: a number without an account.
pub const ORDINARY_UID: u32 = 61_234;

/// The program's place inside the sandbox.
pub const RUN_BINARY: &str = "/opt/attack/attack";

/// A variable that the launching process carries and no sandbox may see.
pub const SECRET_VARIABLE: &str = "LAKEKEEP_ATTACK_SECRET";

/// Who the attacker is in the proof that the attack works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The host's root.
    Root,
    /// A user without any privilege.
    User,
    /// Root in fresh namespaces, so that success changes nothing for the host. The
    /// letters are those of the program's `--steps`.
    Fresh(&'static str),
}

/// One attack.
#[derive(Debug)]
pub struct Case {
    /// The program's name for it.
    pub name: &'static str,
    /// The number of its class in docs/threat-model.md.
    pub class: u8,
    /// What the attacker is after, as a phrase.
    pub title: &'static str,
    /// Who proves that it works.
    pub outside: Outside,
    /// Parts of the kernel without which it works nowhere, or nothing stops it.
    pub needs: &'static [&'static str],
    /// Presets under which it must fail.
    pub presets: &'static [&'static str],
    /// Flags of `lakekeep run` that set the limit it must not pass.
    pub limits: &'static [&'static str],
    /// Verdicts that count as blocked though the program could not say so itself.
    pub ends: &'static [&'static str],
    /// Whether its bait can be laid out by root only.
    pub planted: bool,
    /// The receipt's layer that stops it, where an unprivileged host may lack it.
    pub layer: Option<&'static str>,
}

const WIDE: &[&str] = &["general", "notebook"];
const ALL: &[&str] = &["general", "notebook", "udf"];
const STRICT: &[&str] = &["udf"];

impl Case {
    pub(crate) const fn new(name: &'static str, class: u8, title: &'static str) -> Self {
        Self {
            name,
            class,
            title,
            outside: Outside::Root,
            needs: &[],
            presets: WIDE,
            limits: &[],
            ends: &[],
            planted: false,
            layer: None,
        }
    }

    pub(crate) const fn outside(mut self, outside: Outside) -> Self {
        self.outside = outside;
        self
    }

    /// Works for a user without any privilege.
    pub(crate) const fn user(self) -> Self {
        self.outside(Outside::User)
    }

    pub(crate) const fn fresh(self, steps: &'static str) -> Self {
        self.outside(Outside::Fresh(steps))
    }

    pub(crate) const fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    /// Its bait is a set-uid file, a file with capabilities, a device node.
    pub(crate) const fn planted(mut self) -> Self {
        self.planted = true;
        self
    }

    /// Whether only root can prove that it works outside.
    #[must_use]
    pub fn needs_root(&self) -> bool {
        self.planted || self.outside != Outside::User
    }

    /// Fails under every preset. Only for cases that start no process.
    pub(crate) const fn everywhere(mut self) -> Self {
        self.presets = ALL;
        self
    }

    /// Fails under the strictest preset only: elsewhere it is allowed.
    pub(crate) const fn strict(mut self) -> Self {
        self.presets = STRICT;
        self
    }

    /// Stopped by this layer where nothing later stops it too: one user id is not
    /// kept from its own processes before Landlock's signal scope (Linux 6.12).
    pub(crate) const fn layer(mut self, layer: &'static str) -> Self {
        self.layer = Some(layer);
        self
    }

    pub(crate) const fn limit(
        mut self,
        layer: &'static str,
        limits: &'static [&'static str],
        ends: &'static [&'static str],
    ) -> Self {
        self.layer = Some(layer);
        self.limits = limits;
        self.ends = ends;
        self
    }

    /// The program's arguments for the proof outside.
    #[must_use]
    pub fn outside_args(&self, facts: &[(String, String)]) -> Vec<String> {
        let steps = match self.outside {
            Outside::Root => "",
            Outside::User => "o",
            Outside::Fresh(steps) => steps,
        };
        let mut args = vec!["--steps".to_owned(), steps.to_owned(), self.name.to_owned()];
        args.extend(facts.iter().map(|(key, value)| format!("{key}={value}")));
        args.push(format!("uid={ORDINARY_UID}"));
        if let Some((_, base)) = facts.iter().find(|(key, _)| key == "base") {
            args.push(format!("rw={base}/rw"));
            args.push(format!("ro={base}/ro"));
            args.push(format!("home={base}/rw"));
        }
        args
    }

    /// The command inside a sandbox of this preset.
    #[must_use]
    pub fn inside_args(&self, preset: &str, facts: &[(String, String)]) -> Vec<String> {
        let mut args = vec![RUN_BINARY.to_owned()];
        if preset == "udf" {
            // The strictest preset allows threads and no processes.
            args.push("--inline".to_owned());
        }
        args.push(self.name.to_owned());
        args.extend(facts.iter().map(|(key, value)| format!("{key}={value}")));
        args.extend(["rw=/mnt/rw", "ro=/mnt/ro", "home=/home/user", "scan=1"].map(str::to_owned));
        args
    }

    /// The flags of `lakekeep run` for a bait in `base` and the program in `bin`. It
    /// is ended after `time`, unless a time limit is what the attack is about.
    #[must_use]
    pub fn run_flags(&self, preset: &str, base: &Path, bin: &Path, time: Duration) -> Vec<String> {
        let mut flags = vec![
            "--preset".to_owned(),
            preset.to_owned(),
            "--mount".to_owned(),
            format!("{}:/opt/attack:ro", bin.display()),
            "--mount".to_owned(),
            format!("{}/rw:/mnt/rw:rw", base.display()),
            "--mount".to_owned(),
            format!("{}/ro:/mnt/ro:ro", base.display()),
        ];
        if !self.limits.contains(&"--timeout") {
            flags.extend(["--timeout".to_owned(), format!("{}s", time.as_secs())]);
        }
        flags.extend(self.limits.iter().map(|&flag| flag.to_owned()));
        flags
    }
}
