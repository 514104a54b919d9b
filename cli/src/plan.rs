//! `lakekeep plan`

use std::io::Write;
use std::process::ExitCode;

use lakekeep_sandbox::chain;

use crate::args::PlanArgs;
use crate::report::Messages;
use crate::request::request;
use crate::run::OWN_FAILURE;

/// Size of the terminal of a plan that is only printed.
const WINDOW: (u16, u16) = (24, 80);

/// Prints the plan.
pub fn plan(arguments: &PlanArgs) -> ExitCode {
    let messages = Messages {
        json: arguments.json,
    };
    let window = arguments.sandbox.tty.then_some(WINDOW);
    let text = match request(&arguments.sandbox, window) {
        Ok(request) if arguments.json => format!("{:#}\n", request.plan.to_json()),
        Ok(request) => request.plan.to_text(),
        Err(error) => {
            messages.say("error", &chain(&error));
            return ExitCode::from(OWN_FAILURE);
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
