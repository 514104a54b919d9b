//! Attacks that work on a bare host and must fail in a sandbox.
//!
//! One static binary holds them all. A runner (the test suite, `lakekeep doctor
//! --attack`) starts the [`Bait`], runs each [`Case`] outside to prove that it
//! works there, runs it again as the command of a sandbox, and lets [`judge`]
//! decide. The host stays as it was: destructive attacks stop at the capability.

mod bait;
mod case;
mod judge;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use bait::Bait;
pub use case::{Case, ORDINARY_UID, Outside, RUN_BINARY, SECRET_VARIABLE};
pub use judge::{Ended, Judgement, judge};
pub use table::{cases, control};

/// The multi-call program, statically linked.
pub const BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attack"));

/// Writes the program to `dir/attack`, executable by everyone.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_binary(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join("attack");
    fs::write(&path, BINARY)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The case with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    cases().find(|case| case.name == name)
}

/// Which of the kernel's parts this host has, by the names that `Case::needs` uses.
///
/// # Errors
/// When the program cannot be run.
pub fn features(binary: &Path) -> io::Result<BTreeMap<String, bool>> {
    let output = Command::new(binary).arg("--features").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, present)| (name.to_owned(), present == "1"))
        .collect())
}

/// The names of the program's cases, as it lists them.
///
/// # Errors
/// When the program cannot be run.
pub fn listed(binary: &Path) -> io::Result<Vec<String>> {
    let output = Command::new(binary).arg("--list").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(str::to_owned).collect())
}
