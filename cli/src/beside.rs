//! What is a program of its own, beside this one: the service, the edges of user functions,
//! what speaks to registries, and the harness. This program becomes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::args::ServeArgs;
use crate::args::remote::VerifyArgs;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// Serves until told to end.
pub fn serve(arguments: &ServeArgs) -> ExitCode {
    let mut words: Vec<OsString> = vec![
        "serve".into(),
        "--config".into(),
        arguments.config.clone().into(),
    ];
    if arguments.check {
        words.push("--check".into());
    }
    turn_into("lakekeep-manager", &words)
}

/// Verifies an audit log without a manager.
pub fn verify_audit(folder: &Path, arguments: &VerifyArgs) -> ExitCode {
    let mut words: Vec<OsString> = vec!["verify-audit".into(), "--folder".into(), folder.into()];
    if let Some(key) = &arguments.key {
        words.extend(["--key".into(), key.into()]);
    }
    let flags = [
        ("--no-key", arguments.no_key),
        ("--json", arguments.via.json),
    ];
    let set = flags.iter().filter(|(_, set)| *set);
    words.extend(set.map(|(flag, _)| OsString::from(flag)));
    turn_into("lakekeep-manager", &words)
}

/// Serves an engine's user functions.
pub fn udf(edge: &str, arguments: &[OsString]) -> ExitCode {
    let words: Vec<OsString> = [edge.into()]
        .into_iter()
        .chain(arguments.iter().cloned())
        .collect();
    turn_into("lakekeep-udf", &words)
}

/// Gets an image from a registry.
pub fn pull(arguments: &[OsString]) -> ExitCode {
    turn_into("lakekeep-pull", arguments)
}

/// The same, before something else. That program tells itself what is wrong, on standard error; `false`: something
/// is.
///
/// # Errors
/// It cannot be started.
pub fn pull_first(image: &OsStr, json: bool) -> std::io::Result<bool> {
    let mut command = Command::new(beside("lakekeep-pull"));
    if json {
        command.arg("--json");
    }
    // Input and output are the command's that runs then.
    command
        .arg("--")
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.status().map(|ended| ended.success())
}

/// Measures.
pub fn bench(arguments: &[OsString]) -> ExitCode {
    turn_into("lakekeep-bench", arguments)
}

fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name(name)
}

/// Returns only where it cannot be executed. It is looked for beside this program alone: one
/// of them runs as root.
fn turn_into(name: &str, arguments: &[OsString]) -> ExitCode {
    let program = beside(name);
    let error = Command::new(&program).args(arguments).exec();
    let program = program.display();
    let text = format!(
        "{program}: {error}; install it beside lakekeep, or build it: cargo build --release --workspace"
    );
    Messages { json: false }.say("error", &text);
    ExitCode::from(OWN_FAILURE)
}
