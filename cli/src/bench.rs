//! `lakekeep bench`: the harness is a program of its own, which nothing else needs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::report::Messages;
use crate::run::OWN_FAILURE;

const PROGRAM: &str = "lakekeep-bench";

/// Becomes the harness.
pub fn bench(arguments: &[OsString]) -> ExitCode {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(PROGRAM);
    let program = match beside.is_file() {
        true => beside,
        false => PathBuf::from(PROGRAM),
    };
    // It returns only where it could not be executed.
    let error = Command::new(&program).args(arguments).exec();
    let program = program.display();
    Messages { json: false }.say(
        "error",
        &format!(
            "{program}: {error}; install it beside lakekeep, or build it: cargo build --release"
        ),
    );
    ExitCode::from(OWN_FAILURE)
}
