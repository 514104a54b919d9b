//! The program that keeps sandboxes itself, `lakekeep-tests-pool`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Place, Privilege, Tracked, fail, target_dir};

/// It, as started by this user; its state is in the place.
#[must_use]
pub fn pool_program(place: &Place, privilege: Privilege) -> Command {
    let folder = std::env::var_os("LAKEKEEP_BIN_DIR")
        .map_or_else(|| target_dir().join("release"), Into::into);
    pool_program_at(folder.join("lakekeep-tests-pool"), place, privilege)
}

/// The same program somewhere else, with those that it starts beside it.
#[must_use]
pub fn pool_program_at(path: impl AsRef<OsStr>, place: &Place, privilege: Privilege) -> Command {
    let mut command = Command::new(path);
    command
        .env("LAKEKEEP_STATE_DIR", place.dir("state", privilege))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    privilege.apply(&mut command);
    command
}

/// Runs it to its good end; what it said, line by line.
///
/// # Panics
/// When it fails, or says what is no JSON.
#[must_use]
#[track_caller]
pub fn run_pool(place: &Place, privilege: Privilege, arguments: &[&str]) -> Vec<Value> {
    let mut child = Tracked::spawn(pool_program(place, privilege).args(arguments));
    let lines = child.stdout.take().map(BufReader::new);
    let said: Vec<String> = lines
        .into_iter()
        .flat_map(BufRead::lines)
        .flatten()
        .collect();
    match child.wait() {
        Ok(status) if status.success() => {}
        other => fail(format_args!("{other:?}: {said:?}")),
    }
    let json = |line: &String| {
        serde_json::from_str(line).unwrap_or_else(|error| fail(format_args!("{line}: {error}")))
    };
    said.iter().map(json).collect()
}
