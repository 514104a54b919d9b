//! `lakekeep inspect`: a receipt, or a live process as the kernel has it.

use std::io::Write;
use std::process::ExitCode;

use lakekeep_sandbox::chain;
use lakekeep_sandbox::live;
use serde_json::Value;

use crate::args::{Format, InspectArgs};
use crate::remote;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error(
        "{path} cannot be read; give a process id, a file that `lakekeep run --receipt` wrote, or with LAKEKEEP_SOCKET set a sandbox"
    )]
    Unreadable {
        path: String,
        #[source]
        error: std::io::Error,
    },
    #[error("{path} is not a receipt; give a file that `lakekeep run --receipt` wrote")]
    NotReceipt { path: String },
    #[error(transparent)]
    Live(#[from] live::LiveError),
}

/// Shows what is enforced.
pub fn inspect(arguments: &InspectArgs) -> ExitCode {
    if remote::is_sandbox(&arguments.subject) {
        return remote::inspect(arguments);
    }
    let shown = layers(&arguments.subject).map(|layers| match arguments.format {
        Format::Json => format!("{layers:#}\n"),
        Format::Text => text(&layers),
    });
    match shown {
        Ok(text) if std::io::stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            Messages { json: false }.say("error", &chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn layers(subject: &str) -> Result<Value, InspectError> {
    if let Ok(pid) = subject.parse::<u32>() {
        return Ok(Value::from_iter(
            live::inspect(pid)?
                .into_iter()
                .map(|layer| serde_json::json!(layer)),
        ));
    }
    let text = std::fs::read_to_string(subject).map_err(|error| InspectError::Unreadable {
        path: subject.to_owned(),
        error,
    })?;
    let receipt: Option<Value> = serde_json::from_str(&text).ok();
    let layers = receipt.and_then(|receipt| receipt.pointer("/receipt/layers").cloned());
    layers.ok_or_else(|| InspectError::NotReceipt {
        path: subject.to_owned(),
    })
}

pub fn text(layers: &Value) -> String {
    let mut text = String::new();
    for layer in layers.as_array().into_iter().flatten() {
        let name = layer["layer"].as_str().unwrap_or_default();
        let line = match layer["state"].as_str() {
            Some("enforced") => format!("+ {name:<20} {}\n", layer["value"]),
            _ => format!(
                "- {name:<20} {}\n",
                layer["reason"].as_str().unwrap_or_default()
            ),
        };
        text.push_str(&line);
    }
    text
}
