//! `lakekeep doctor --attack`: the attack suite, on the operator's own host.
//!
//! Each attack is first made without a sandbox, where it must succeed, or it
//! proves nothing; then as the command of a sandbox, where it must fail. What
//! would change the host stops at the capability.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use lakekeep_attacks::{
    Bait, Case, Ended, Judgement, SECRET_VARIABLE, cases, features, judge, write_binary,
};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// How long one attack may take inside.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one attack under one preset.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// It works outside and failed inside.
    Held(String),
    /// It succeeded inside.
    Open(String),
    /// It succeeded inside, and the receipt says that the layer could not be
    /// enforced on this host.
    Unenforced(String),
    /// It works nowhere here, or its proof needs root.
    NotApplicable(String),
    /// Nothing is known.
    Broken(String),
}

impl Finding {
    fn name(&self) -> &'static str {
        match self {
            Self::Held(_) => "held",
            Self::Open(_) => "OPEN",
            Self::Unenforced(_) => "unenforced",
            Self::NotApplicable(_) => "not applicable",
            Self::Broken(_) => "broken",
        }
    }

    fn words(&self) -> &str {
        match self {
            Self::Held(words)
            | Self::Open(words)
            | Self::Unenforced(words)
            | Self::NotApplicable(words)
            | Self::Broken(words) => words,
        }
    }
}

/// The place from which attacks are made.
struct Ground {
    bait: Bait,
    binary: PathBuf,
    base: PathBuf,
    features: BTreeMap<String, bool>,
    root: bool,
    receipt: PathBuf,
    // Without close-on-exec: what is started from here inherits the root
    // directory, so that a sandbox has something to lose.
    _leaked: OwnedFd,
    // Removed last.
    _folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new()
            .prefix("lakekeep-attack-")
            .tempdir()?;
        // The proofs of ordinary users' attacks must get in.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin)?;
        let binary = write_binary(&bin)?;
        let base = folder.path().join("bait");
        Ok(Self {
            bait: Bait::start(&binary, &base)?,
            features: features(&binary)?,
            root: rustix::process::geteuid().is_root(),
            receipt: folder.path().join("receipt.json"),
            _leaked: rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
            base,
            binary,
            _folder: folder,
        })
    }

    fn attack(&self, case: &Case, preset: &str) -> Finding {
        let missing = |need: &&&str| self.features.get(**need) != Some(&true);
        if let Some(need) = case.needs.iter().find(missing) {
            return Finding::NotApplicable(format!("this kernel has no {need}"));
        }
        if case.needs_root() && !self.root {
            return Finding::NotApplicable("only root can prove that it works outside".to_owned());
        }
        match self.outside(case) {
            Ok(Judgement::Succeeded(_)) => {}
            Ok(other) => return Finding::Broken(format!("it must work outside first: {other:?}")),
            Err(error) => return Finding::Broken(error.to_string()),
        }
        match self.inside(case, preset) {
            Ok(finding) => finding,
            Err(error) => Finding::Broken(error.to_string()),
        }
    }

    fn outside(&self, case: &Case) -> std::io::Result<Judgement> {
        let mut command = Command::new(&self.binary);
        command
            .args(case.outside_args(self.bait.facts()))
            .env(SECRET_VARIABLE, "outside");
        Ok(judge(case, &ended(command)?))
    }

    fn inside(&self, case: &Case, preset: &str) -> std::io::Result<Finding> {
        let bin = self.binary.parent().unwrap_or(&self.binary);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("run")
            .args(case.run_flags(preset, &self.base, bin, PATIENCE))
            .arg("--receipt")
            .arg(&self.receipt)
            .arg("--")
            .args(case.inside_args(preset, self.bait.facts()))
            .env(SECRET_VARIABLE, "outside");
        let mut ended = ended(command)?;
        let receipt = read_receipt(&self.receipt)?;
        ended.verdict = receipt
            .pointer("/verdict/kind")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let unenforced = case.layer.and_then(|layer| reason(&receipt, layer));
        Ok(match (judge(case, &ended), unenforced) {
            (Judgement::Blocked(words), _) => Finding::Held(words),
            (Judgement::Succeeded(_), Some(reason)) => Finding::Unenforced(reason),
            (Judgement::Succeeded(words), None) => Finding::Open(words),
            (Judgement::Broken(words), _) => Finding::Broken(words),
        })
    }
}

fn ended(mut command: Command) -> std::io::Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut bytes = Vec::new();
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_end(&mut bytes)?;
    }
    let status = child.wait()?;
    Ok(Ended {
        code: status.code().unwrap_or(-1),
        stderr: String::from_utf8_lossy(&bytes).into_owned(),
        verdict: None,
    })
}

/// The receipt of the last run; nothing when there was none.
fn read_receipt(path: &Path) -> std::io::Result<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn reason(receipt: &Value, layer: &str) -> Option<String> {
    let layers = receipt.pointer("/receipt/layers")?.as_array()?;
    let found = layers.iter().find(|found| found["layer"] == layer)?;
    found["reason"].as_str().map(str::to_owned)
}

/// Runs every attack and reports; fails when one is open or nothing is known
/// of one.
pub fn attack(json: bool) -> ExitCode {
    let ground = match Ground::new() {
        Ok(ground) => ground,
        Err(error) => {
            let text = format!(
                "the attacks cannot be prepared: {error}; is the folder for temporary files writable and not noexec?"
            );
            Messages { json }.say("error", &text);
            return ExitCode::from(OWN_FAILURE);
        }
    };
    let mut findings = Vec::new();
    let all: Vec<&Case> = cases().collect();
    for (number, case) in all.iter().enumerate() {
        progress(number + 1, all.len(), case.name);
        for preset in case.presets {
            findings.push((*case, *preset, ground.attack(case, preset)));
        }
    }
    progress(0, 0, "");
    print(&findings, json)
}

/// One line that is written over, on a terminal alone.
fn progress(number: usize, of: usize, name: &str) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let line = match of {
        0 => "\r\x1b[K".to_owned(),
        of => format!("\r\x1b[K{number}/{of} {name}"),
    };
    if stderr.write_all(line.as_bytes()).is_err() {
        // Progress is for whoever looks.
    }
}

fn print(findings: &[(&Case, &str, Finding)], json: bool) -> ExitCode {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, _, finding) in findings {
        *counts.entry(finding.name()).or_default() += 1;
    }
    let text = if json {
        let rows = findings.iter().map(|(case, preset, finding)| {
            json!({
                "attack": case.name, "class": case.class, "title": case.title,
                "preset": preset, "finding": finding.name(), "words": finding.words(),
            })
        });
        format!(
            "{:#}\n",
            json!({ "attacks": rows.collect::<Vec<_>>(), "counts": counts })
        )
    } else {
        table(findings, &counts)
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    let bad = counts.contains_key("OPEN") || counts.contains_key("broken");
    if written.is_err() || bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn table(findings: &[(&Case, &str, Finding)], counts: &BTreeMap<&str, usize>) -> String {
    let mut text = String::new();
    for (case, preset, finding) in findings {
        if !matches!(finding, Finding::Held(_)) {
            let name = finding.name();
            text.push_str(&format!(
                "{name:<15} {} ({preset}): {}: {}\n",
                case.name,
                case.title,
                finding.words()
            ));
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    text.push_str(&format!(
        "{} attacks: {}\n",
        findings.len(),
        counts.join(", ")
    ));
    text
}
