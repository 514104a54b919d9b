//! Prints how many tests the last run skipped and why, then empties the list.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::process::ExitCode;

use lakekeep_tests::{SKIP_LOG, target_dir};

fn main() -> ExitCode {
    let path = target_dir().join(SKIP_LOG);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        let reason = line.split_once(": ").map_or(line, |(_, reason)| reason);
        *by_reason.entry(reason).or_default() += 1;
    }
    println!("{} skipped", text.lines().count());
    for (reason, count) in by_reason {
        println!("{count:6} {reason}");
    }
    if path.exists()
        && let Err(error) = fs::remove_file(&path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
