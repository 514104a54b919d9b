//! `lakekeep udf-broker`, for engines.

use std::process::ExitCode;
use std::time::Duration;

use lakekeep_sandbox::{chain, host};

use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// Keeps sessions until the engine closes its end.
pub fn broker(control: i32, zygote_timeout: Duration) -> ExitCode {
    match attempt(control, zygote_timeout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            Messages { json: false }.say("error", &text);
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn attempt(control: i32, zygote_timeout: Duration) -> Result<(), String> {
    let control = match control {
        1 | 2 => Err("--control: 1 and 2 are for messages; give a socket".to_owned()),
        other => lakekeep_sys::process::inherited(other).map_err(|errno| {
            format!("--control: descriptor {other}: {errno}; engines start this program")
        }),
    }?;
    let host = host::probe().map_err(|error| chain(&error))?;
    let ground = lakekeep_udf_broker::Ground {
        host,
        zygote_timeout,
        // Said to whoever asks for an environment: most functions need none.
        environments: crate::environment::store_folder().ok(),
    };
    lakekeep_udf_broker::serve(control, ground).map_err(|error| chain(&error))
}
