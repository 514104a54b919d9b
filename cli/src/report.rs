//! What a person, or a program, is told.

use std::io::Write;
use std::path::Path;

use lakekeep_sandbox::Outcome;
use lakekeep_seccomp::{Arch, syscall_name};
use serde_json::{Value, json};

use crate::remote::clean::clean_lines;

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
            // Words of a manager's, and of other users' tasks, are among them.
            say_line(&format!("lakekeep: {}", clean_lines(text)));
        }
    }

    /// The verdict, unless it is an ordinary exit; warnings; refused calls.
    pub fn outcome(self, ended: &Ended) {
        for warning in ended.warnings() {
            self.say("warning", &format!("warning: {warning}"));
        }
        for (name, count) in named(&ended.refused()) {
            self.say(
                "info",
                &format!("system call {name} was refused {count} times"),
            );
        }
        if let Some(lost) = ended.relay_lost() {
            self.say(
                "warning",
                &format!(
                    "warning: the relay ended before its sandbox ({lost}); nothing left after it"
                ),
            );
        }
        if let (true, Some(denial)) = (ended.is_ordinary(), ended.denial()) {
            self.say("info", denial);
        }
        if self.json {
            say_line(&json!({ "verdict": ended.verdict() }).to_string());
        } else if !ended.is_ordinary() {
            let (explanation, remedy) = ended.words();
            let remedy = match remedy {
                "" => String::new(),
                remedy => format!("; {remedy}"),
            };
            self.say("verdict", &format!("{explanation}{remedy}"));
        }
    }
}

/// How a task ended: as this program saw it, or as a manager tells it.
#[derive(Debug)]
pub enum Ended {
    /// Seen here.
    Here(Box<Outcome>),
    /// Told by a manager: the same, as JSON.
    There(Value),
}

impl Ended {
    fn text(&self, pointer: &str) -> &str {
        match self {
            Self::Here(_) => "",
            Self::There(told) => told.pointer(pointer).and_then(Value::as_str).unwrap_or(""),
        }
    }

    fn told(&self, name: &str) -> Value {
        match self {
            Self::Here(_) => Value::Null,
            Self::There(told) => told.get(name).cloned().unwrap_or_default(),
        }
    }

    fn warnings(&self) -> Vec<&str> {
        match self {
            Self::Here(outcome) => {
                let warnings = outcome.receipt.warnings.iter();
                warnings.map(String::as_str).collect()
            }
            Self::There(told) => {
                let warnings = told.pointer("/receipt/warnings").and_then(Value::as_array);
                let warnings = warnings.into_iter().flatten();
                warnings.filter_map(Value::as_str).collect()
            }
        }
    }

    /// Refused system calls by number and count.
    fn refused(&self) -> Vec<(i32, u32)> {
        match self {
            Self::Here(outcome) => outcome.refused.clone(),
            Self::There(_) => serde_json::from_value(self.told("refused")).unwrap_or_default(),
        }
    }

    /// The first flow that was not let out.
    fn denial(&self) -> Option<&str> {
        match self {
            Self::Here(outcome) => outcome.traffic.as_ref()?.first_denial.as_deref(),
            Self::There(_) => Some(self.text("/traffic/first_denial")).filter(|it| !it.is_empty()),
        }
    }

    fn relay_lost(&self) -> Option<&str> {
        match self {
            Self::Here(outcome) => outcome.traffic.as_ref()?.lost.as_deref(),
            Self::There(_) => Some(self.text("/traffic/lost")).filter(|it| !it.is_empty()),
        }
    }

    fn verdict(&self) -> Value {
        match self {
            Self::Here(outcome) => json!(outcome.verdict),
            Self::There(_) => self.told("verdict"),
        }
    }

    fn is_ordinary(&self) -> bool {
        match self {
            Self::Here(outcome) => outcome.verdict.kind == lakekeep_sandbox::Kind::Exit,
            Self::There(_) => self.text("/verdict/kind") == "exit",
        }
    }

    /// What happened, and what to do about it.
    fn words(&self) -> (&str, &str) {
        match self {
            Self::Here(outcome) => (&outcome.verdict.explanation, &outcome.verdict.remedy),
            Self::There(_) => (
                self.text("/verdict/explanation"),
                self.text("/verdict/remedy"),
            ),
        }
    }

    /// The receipt as JSON.
    pub fn receipt(&self) -> Value {
        let refused: Vec<Value> = named(&self.refused())
            .into_iter()
            .map(|(name, count)| json!({ "syscall": name, "count": count }))
            .collect();
        let traffic = match self {
            Self::Here(outcome) => json!(outcome.traffic),
            Self::There(_) => self.told("traffic"),
        };
        let (receipt, wall_us, cpu_us, memory_peak) = match self {
            Self::Here(outcome) => (
                json!(outcome.receipt),
                json!(outcome.wall_us),
                json!(outcome.cpu_us),
                json!(outcome.memory_peak),
            ),
            Self::There(_) => (
                self.told("receipt"),
                self.told("wall_us"),
                self.told("cpu_us"),
                self.told("memory_peak"),
            ),
        };
        json!({
            "receipt": receipt,
            "verdict": self.verdict(),
            "usage": {
                "wall_us": wall_us,
                "cpu_us": cpu_us,
                "memory_peak": memory_peak,
            },
            "refused": refused,
            "traffic": traffic,
        })
    }
}

/// A closed standard error loses messages, not the run.
fn say_line(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        // Nobody is there to be told.
    }
}

/// Names of the refused system calls.
fn named(refused: &[(i32, u32)]) -> Vec<(String, u32)> {
    let name = |number: i32| {
        let arch = Arch::native()?;
        syscall_name(arch, i64::from(number))
    };
    let named = refused.iter().map(|(number, count)| {
        let text = name(*number).map_or_else(|| format!("number {number}"), str::to_owned);
        (text, *count)
    });
    named.collect()
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
pub fn write_receipt(path: &Path, ended: &Ended) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(&ended.receipt())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_tells_is_reported_as_what_is_seen_here() {
        let told = json!({
            "sandbox": "s",
            "verdict": {
                "kind": "wall_time", "exit_code": 124,
                "explanation": "its time was over", "remedy": "raise --timeout",
            },
            "receipt": { "sandbox": "s", "layers": [], "warnings": ["weak"] },
            "wall_us": 7, "cpu_us": 5, "memory_peak": 3,
        });
        let ended = Ended::There(told.clone());
        assert_eq!(ended.warnings(), ["weak"]);
        assert!(!ended.is_ordinary());
        assert_eq!(ended.words(), ("its time was over", "raise --timeout"));
        assert_eq!(
            ended.receipt(),
            json!({
                "receipt": told["receipt"],
                "verdict": told["verdict"],
                "usage": { "wall_us": 7, "cpu_us": 5, "memory_peak": 3 },
                "refused": [],
                "traffic": null,
            })
        );
    }
}
