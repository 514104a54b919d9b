//! `lakekeep run` through a manager: the same flags, streams, receipt and exit code.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use lakekeep_client::{Cause, Client, ClientError, Command, Create, Ending, Reason, v1};

use super::carry::{End, Manner, Signals};
use super::error::RemoteError;
use super::{Answer, ask, tasks};
use crate::args::RunArgs;
use crate::args::remote::Via;
use crate::environment;
use crate::in_image;
use crate::report::{self, Messages};
use crate::request;
use crate::run::{RunError, exit_code, input, receipt_error};
use crate::terminal;

/// Runs a command in a sandbox that the manager makes for it.
pub fn run(arguments: &RunArgs) -> ExitCode {
    let via = Via {
        json: arguments.json,
        on_behalf_of: arguments.on_behalf_of.clone(),
    };
    ask(&via, |client| through(client, arguments))
}

async fn through(client: Client, arguments: &RunArgs) -> Answer {
    let window = match arguments.sandbox.tty {
        true => Some(terminal::size().ok_or(RunError::NoTerminal)?),
        false => None,
    };
    let (policy, variables) = request::for_task(&arguments.sandbox.policy)?;
    if arguments.sandbox.command.is_empty() && !in_image::has_say(&arguments.sandbox) {
        return Err(RunError::from(request::RequestError::NoCommand).into());
    }
    // Before anything is made: a missing file must not cost a sandbox.
    let input = input(&arguments.stdin)?;
    if let Some(path) = &arguments.receipt {
        report::check_receipt_place(path).map_err(|error| receipt_error(path, error))?;
    }
    let signals = Signals::listen()?;
    let mut command = command(arguments, create(arguments, policy)?);
    for (name, value) in variables {
        command = command.variable(name, value);
    }
    if let Some((rows, columns)) = window {
        command = command.terminal(rows, columns, std::env::var("TERM").unwrap_or_default());
    }
    if input.is_none() {
        command = command.no_stdin();
    }
    let manner = Manner {
        input,
        terminal: arguments.sandbox.tty,
        can_leave: false,
    };
    let messages = Messages {
        json: arguments.json,
    };
    let end = attend(&client, command, (manner, signals), messages).await;
    report(arguments, messages, &end?)
}

fn report(arguments: &RunArgs, messages: Messages, ending: &Ending) -> Answer {
    let ended = tasks::outcome(ending)?;
    if let Some(path) = &arguments.receipt {
        report::write_receipt(path, &ended).map_err(|error| receipt_error(path, error))?;
    }
    messages.outcome(&ended);
    Ok(exit_code(ending.exit_code))
}

/// Runs the command to its end, and its sandbox's. Whatever came of it, nothing stays.
async fn attend(
    client: &Client,
    command: Command,
    (manner, signals): (Manner, Signals),
    messages: Messages,
) -> Result<Ending, RemoteError> {
    let session = client.exec(command).await?;
    let sandbox = session.sandbox.clone();
    match tasks::carried(session, manner, signals).await {
        Ok(End::Ended(ending)) => Ok(ending),
        lost => {
            if let Err(error) = client.kill(&sandbox).await
                && !is_over(&error)
            {
                let text = format!("sandbox {sandbox} was not ended: {error}");
                messages.say("warning", &text);
            }
            // It cannot be left, so its streams ended early.
            lost.and(Err(RemoteError::NoEnd))
        }
    }
}

/// There is nothing to end any more.
fn is_over(error: &ClientError) -> bool {
    matches!(
        error.cause(),
        Cause::Manager(Reason::Ended | Reason::NotFound)
    )
}

fn create(arguments: &RunArgs, policy: String) -> Result<Create, RemoteError> {
    let mut create = Create::new().kind(v1::Kind::Batch).policy(policy);
    if let Some(name) = &arguments.profile {
        create = create.profile(name);
    }
    if let Some(digest) = &arguments.sandbox.environment {
        if let Some(python) = &arguments.sandbox.environment_of {
            environment::check_same(python, digest)?;
        }
        create = create.environment(digest.to_string());
    }
    for volume in &arguments.volumes {
        create = create.volume(volume);
    }
    if let Some(path) = &arguments.sandbox.policy.interpreter {
        let text = path.to_str();
        let text = text.ok_or_else(|| RemoteError::NotText(path.clone().into_os_string()))?;
        create = create.interpreter(text);
    }
    Ok(create)
}

fn command(arguments: &RunArgs, create: Create) -> Command {
    let words = arguments.sandbox.command.iter().cloned();
    let mut command = Command::once(create, words.map(OsStringExt::into_vec));
    for secret in &arguments.secrets {
        command = command.secret(secret);
    }
    if let Some(folder) = &arguments.sandbox.policy.workdir {
        command = command.working_directory(folder);
    }
    if in_image::has_say(&arguments.sandbox) {
        command = command.entrypoint();
    }
    if arguments.sandbox.explain_syscalls {
        command = command.explain_syscalls();
    }
    command
}
