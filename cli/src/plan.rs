//! `lakekeep plan`

use std::io::Write;
use std::process::ExitCode;

use lakekeep_plan::Plan;
use lakekeep_sandbox::{chain, host};

use crate::args::PlanArgs;
use crate::report::Messages;
use crate::request::{RequestError, check};
use crate::run::OWN_FAILURE;

/// Size of the terminal of a plan that is only printed.
const WINDOW: (u16, u16) = (24, 80);

/// Prints the plan.
pub fn plan(arguments: &PlanArgs) -> ExitCode {
    let messages = Messages {
        json: arguments.json,
    };
    let window = arguments.sandbox.tty.then_some(WINDOW);
    let text = match made(arguments, window) {
        Ok(plan) if arguments.json => format!("{:#}\n", plan.to_json()),
        Ok(plan) => plan.to_text(),
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

fn made(arguments: &PlanArgs, window: Option<(u16, u16)>) -> Result<Plan, RequestError> {
    let checked = check(&arguments.sandbox, window)?;
    checked.plan(&host::probe()?)
}
