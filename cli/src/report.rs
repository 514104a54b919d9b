//! What a person, or a program, is told.

use std::io::Write;
use std::path::Path;

use lakekeep_sandbox::{Kind, Outcome};
use lakekeep_seccomp::{Arch, syscall_name};
use serde_json::{Value, json};

/// How messages are written.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    pub json: bool,
}

impl Messages {
    /// One message on standard error.
    pub fn say(self, level: &str, text: &str) {
        if self.json {
            say_line(&json!({ "level": level, "message": text }).to_string());
        } else {
            say_line(&format!("lakekeep: {text}"));
        }
    }

    /// The verdict, unless it is an ordinary exit; warnings; refused calls.
    pub fn outcome(self, outcome: &Outcome) {
        for warning in &outcome.receipt.warnings {
            self.say("warning", &format!("warning: {warning}"));
        }
        for (name, count) in refused(outcome) {
            self.say(
                "info",
                &format!("system call {name} was refused {count} times"),
            );
        }
        if self.json {
            say_line(&json!({ "verdict": outcome.verdict }).to_string());
        } else if outcome.verdict.kind != Kind::Exit {
            let verdict = &outcome.verdict;
            let remedy = match verdict.remedy.as_str() {
                "" => String::new(),
                remedy => format!("; {remedy}"),
            };
            self.say("verdict", &format!("{}{remedy}", verdict.explanation));
        }
    }
}

/// A closed standard error loses messages, not the run.
fn say_line(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        // Nobody is there to be told.
    }
}

/// Names of the refused system calls.
fn refused(outcome: &Outcome) -> Vec<(String, u32)> {
    let name = |number: i32| {
        let arch = Arch::native()?;
        syscall_name(arch, i64::from(number))
    };
    let named = outcome.refused.iter().map(|(number, count)| {
        let text = name(*number).map_or_else(|| format!("number {number}"), str::to_owned);
        (text, *count)
    });
    named.collect()
}

/// The receipt as JSON.
pub fn receipt(outcome: &Outcome) -> Value {
    let refused: Vec<Value> = refused(outcome)
        .into_iter()
        .map(|(name, count)| json!({ "syscall": name, "count": count }))
        .collect();
    json!({
        "receipt": outcome.receipt,
        "verdict": outcome.verdict,
        "usage": {
            "wall_us": outcome.wall_us,
            "cpu_us": outcome.cpu_us,
            "memory_peak": outcome.memory_peak,
        },
        "refused": refused,
    })
}

/// Whether a receipt could be written to `path` later on.
pub fn check_receipt_place(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, access};
    if path == Path::new("-") {
        return Ok(());
    }
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(access(path, Access::WRITE_OK)?),
        _ => Ok(access(folder(path), Access::WRITE_OK | Access::EXEC_OK)?),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Writes the receipt to `path`: a file whole or not at all; what is no file, a
/// pipe or a device, is written to and never replaced.
pub fn write_receipt(path: &Path, outcome: &Outcome) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(&receipt(outcome))?;
    text.push('\n');
    if path == Path::new("-") {
        return std::io::stderr().write_all(text.as_bytes());
    }
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes());
    }
    // A name that nobody can have prepared, made and never followed.
    let mut draft = tempfile::Builder::new()
        .prefix(".lakekeep-receipt-")
        .tempfile_in(folder(path))?;
    draft.write_all(text.as_bytes())?;
    draft.persist(path)?;
    Ok(())
}
