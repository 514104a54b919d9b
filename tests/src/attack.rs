//! The ground on which the attacks of `lakekeep-attacks` are tried.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lakekeep_attacks::{
    Bait, Case, Ended, Judgement, SECRET_VARIABLE, features, judge, write_binary,
};
use rustix::fs::{Mode, OFlags, open};

use crate::processes::quietly;
use crate::{Finished, HostSnapshot, Place, Privilege, Run, Tracked, fail, slack};

/// How long one attack may take inside.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the sandbox of an attack is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// When it is asked for, by root or by an ordinary user.
    Cold(Privilege),
    /// By root, with its task ready before the command is known: as a manager makes those
    /// that it makes ahead, and the later tasks of each.
    Ready,
    /// By root, with its task forked from a zygote before the command is known.
    Forked,
}

impl Way {
    /// All, in the order of the tests' names.
    pub const ALL: [Self; 4] = [
        Self::Cold(Privilege::Root),
        Self::Cold(Privilege::User),
        Self::Ready,
        Self::Forked,
    ];

    /// The last part of a test's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold(privilege) => privilege.name(),
            Self::Ready => "ready",
            Self::Forked => "forked",
        }
    }

    /// Who makes it.
    #[must_use]
    pub const fn privilege(self) -> Privilege {
        match self {
            Self::Cold(privilege) => privilege,
            Self::Ready | Self::Forked => Privilege::Root,
        }
    }
}

/// The program, its bait, and a descriptor that is leaked on purpose.
#[derive(Debug)]
pub struct AttackGround {
    // Dropped in this order: the bait lives in the place.
    bait: Bait,
    /// Without close-on-exec: every process started from here inherits the root
    /// directory, so that a sandbox has something to lose.
    _leaked: OwnedFd,
    binary: PathBuf,
    base: PathBuf,
    place: Place,
}

impl AttackGround {
    /// Prepares it.
    ///
    /// # Panics
    /// When the program or the bait cannot be started.
    #[must_use]
    pub fn new() -> Self {
        let place = Place::new();
        let bin = place.dir("bin", Privilege::User);
        let base = place.path().join("bait");
        // While nothing is started: a child of another thread would hold the file open
        // for writing until its exec, and nobody could execute it meanwhile.
        let binary = quietly(|| write_binary(&bin), |_| None)
            .unwrap_or_else(|e| fail(format_args!("the program: {e}")));
        let leaked = open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap_or_else(|e| fail(format_args!("/: {e}")));
        let bait = quietly(
            || Bait::start(&binary, &base),
            |bait| bait.as_ref().ok().map(Bait::pid),
        )
        .unwrap_or_else(|e| fail(format_args!("{e}")));
        Self {
            bait,
            _leaked: leaked,
            binary,
            base,
            place,
        }
    }

    /// What the kernel offers.
    ///
    /// # Panics
    /// When the program cannot say.
    #[must_use]
    pub fn features(&self) -> BTreeMap<String, bool> {
        quietly(|| features(&self.binary), |_| None)
            .unwrap_or_else(|e| fail(format_args!("features: {e}")))
    }

    /// The names of the program's cases.
    ///
    /// # Panics
    /// When the program cannot say.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        quietly(|| lakekeep_attacks::listed(&self.binary), |_| None)
            .unwrap_or_else(|e| fail(format_args!("list: {e}")))
    }

    /// The host as it is now.
    #[must_use]
    pub fn snapshot(&self) -> HostSnapshot {
        HostSnapshot::take(self.place.path())
    }

    /// Runs the case without a sandbox.
    #[must_use]
    #[track_caller]
    pub fn outside(&self, case: &Case) -> Judgement {
        let mut command = Command::new(&self.binary);
        command
            .args(case.outside_args(self.bait.facts()))
            .env(SECRET_VARIABLE, "outside")
            // As `lakekeep run` is started: a place that every user may enter.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Tracked::spawn(&mut command);
        let mut stderr = String::new();
        if let Some(mut pipe) = child.stderr.take()
            && let Err(error) = std::io::Read::read_to_string(&mut pipe, &mut stderr)
        {
            fail(format_args!("stderr: {error}"));
        }
        let status = child
            .wait()
            .unwrap_or_else(|e| fail(format_args!("wait: {e}")));
        let code = status.code().unwrap_or(-1);
        judge(
            case,
            &Ended {
                code,
                stderr,
                verdict: None,
            },
        )
    }

    /// Runs the case as the command of a sandbox.
    #[must_use]
    #[track_caller]
    pub fn inside(&self, case: &Case, preset: &str, way: Way) -> (Judgement, Finished) {
        let bin = self.binary.parent().unwrap_or(&self.binary);
        let ready: &[&str] = match way {
            Way::Cold(_) => &[],
            Way::Ready => &["--embedded", "--made-ready"],
            Way::Forked => &[
                "--embedded",
                "--made-ready",
                "--forked-from",
                "/usr/bin/python3",
            ],
        };
        let finished = Run::new(&self.place, way.privilege())
            .flags(ready.iter().copied())
            .flags(case.run_flags(preset, &self.base, bin, PATIENCE * slack()))
            .command(case.inside_args(preset, self.bait.facts()))
            .finish();
        let ended = Ended {
            code: finished.code,
            stderr: finished.stderr.clone(),
            verdict: finished.verdict().map(str::to_owned),
        };
        (judge(case, &ended), finished)
    }
}

impl Default for AttackGround {
    fn default() -> Self {
        Self::new()
    }
}
