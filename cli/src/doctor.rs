//! `lakekeep doctor`

use std::io::Write;
use std::process::ExitCode;

use lakekeep_sandbox::chain;
use lakekeep_sandbox::doctor::{Status, check};
use lakekeep_sandbox::host;
use serde_json::json;

use crate::args::DoctorArgs;
use crate::attack::attack;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// Checks the host; fails when a sandbox cannot be made at all.
pub fn doctor(arguments: &DoctorArgs) -> ExitCode {
    if arguments.attack {
        return attack(arguments.json);
    }
    let messages = Messages {
        json: arguments.json,
    };
    let facts = match host::probe() {
        Ok(facts) => facts,
        Err(error) => {
            messages.say("error", &chain(&error));
            return ExitCode::from(OWN_FAILURE);
        }
    };
    let report = check(&facts);
    let text = match arguments.json {
        true => format!("{:#}\n", json!(report)),
        false => report.to_string(),
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    match (written, report.worst()) {
        (Ok(()), Status::Missing) | (Err(_), _) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
