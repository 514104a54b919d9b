//! `lakekeep run`

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use lakekeep_sandbox::chain;
use lakekeep_sandbox::{Console, Launcher, Outcome, SandboxError, Stdio, host};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::args::{Pull, RunArgs};
use crate::in_image;
use crate::report::{self, Ended, Messages};
use crate::request::{RequestError, check};
use crate::terminal::{self, Raw};

/// lakekeep itself failed or refused (env(1)).
pub const OWN_FAILURE: u8 = 125;

/// Why there was no run, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("--tty needs a terminal on standard input; leave it out, or run under script(1)")]
    NoTerminal,
    #[error("--stdin {path:?} cannot be read")]
    Input {
        path: std::ffi::OsString,
        #[source]
        error: std::io::Error,
    },
    #[error(
        "the receipt cannot be written to {path}; name a file in a folder that exists and can be written"
    )]
    Receipt {
        path: String,
        #[source]
        error: std::io::Error,
    },
    #[error("{operation}")]
    Kernel {
        operation: &'static str,
        #[source]
        errno: Errno,
    },
}

/// Runs, reports, and answers with the command's exit code.
pub fn run(arguments: &RunArgs) -> ExitCode {
    let named = std::env::var_os(lakekeep_client::SOCKET_VARIABLE);
    let messages = Messages {
        json: arguments.json,
    };
    if !arguments.embedded && named.is_some_and(|name| !name.is_empty()) {
        if arguments.pull != Pull::Never {
            let refused = RequestError::WithoutManager("--pull");
            messages.say("error", &refused.to_string());
            return ExitCode::from(OWN_FAILURE);
        }
        return crate::remote::run(arguments);
    }
    match attempt(arguments) {
        Ok(outcome) => {
            let code = outcome.verdict.exit_code;
            messages.outcome(&Ended::Here(Box::new(outcome)));
            exit_code(code)
        }
        Err(error) => {
            messages.say("error", &chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

/// The command's own code, as this program's.
pub fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(OWN_FAILURE))
}

/// What only a manager knows cannot be passed over in silence.
fn no_manager(arguments: &RunArgs) -> Result<(), RequestError> {
    let flags = [
        ("--profile", arguments.profile.is_some()),
        ("--secret", !arguments.secrets.is_empty()),
        ("--volume", !arguments.volumes.is_empty()),
        ("--on-behalf-of", arguments.on_behalf_of.is_some()),
    ];
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(RequestError::NeedsManager((*flag).to_owned())),
        None => Ok(()),
    }
}

fn attempt(arguments: &RunArgs) -> Result<Outcome, RunError> {
    no_manager(arguments)?;
    let window = match arguments.sandbox.tty {
        true => Some(terminal::size().ok_or(RunError::NoTerminal)?),
        false => None,
    };
    let policy = &arguments.sandbox.policy;
    in_image::fetch(policy, arguments.pull, arguments.json).map_err(RequestError::from)?;
    let checked = check(&arguments.sandbox, window)?;
    for note in checked.notes() {
        let messages = Messages {
            json: arguments.json,
        };
        messages.say("warning", &format!("warning: {note}"));
    }
    // Before anything is made: a missing file must not cost a sandbox.
    let input = input(&arguments.stdin)?;
    if let Some(path) = &arguments.receipt {
        report::check_receipt_place(path).map_err(|error| receipt_error(path, error))?;
    }
    let host = host::probe().map_err(RequestError::from)?;
    // Gets ready on another processor while this one plans; it makes nothing before it is
    // asked, so that a plan that is refused has made nothing.
    let launcher = Launcher::start(&host)?;
    let mut plan = checked.plan(&host)?;
    if arguments.made_ready {
        plan.allow_ready();
    }
    let sandbox = match &arguments.forked_from {
        None => launcher.create(plan)?,
        Some(interpreter) => {
            let zygote = checked.zygote(&host, interpreter)?;
            launcher.create_forked(plan, &zygote, std::io::stderr().as_fd())?
        }
    };
    let sandbox = match arguments.made_ready {
        true => sandbox.make_ready()?,
        false => sandbox,
    };
    let outcome = if arguments.sandbox.tty {
        let console = terminal_console()?;
        let task = sandbox.spawn(Stdio::Terminal)?;
        let raw = Raw::enter().map_err(kernel("tcsetattr"))?;
        let outcome = task.attend(console)?;
        drop(raw);
        outcome
    } else {
        let (stdio, console) = streams(input)?;
        sandbox.spawn(stdio)?.attend(console)?
    };
    if let Some(path) = &arguments.receipt {
        let ended = Ended::Here(Box::new(outcome.clone()));
        report::write_receipt(path, &ended).map_err(|error| receipt_error(path, error))?;
    }
    Ok(outcome)
}

pub fn receipt_error(path: &std::path::Path, error: std::io::Error) -> RunError {
    RunError::Receipt {
        path: path.display().to_string(),
        error,
    }
}

pub fn kernel(operation: &'static str) -> impl Fn(Errno) -> RunError {
    move |errno| RunError::Kernel { operation, errno }
}

/// What the task reads, as `--stdin` says; `None`: nothing.
pub fn input(said: &OsStr) -> Result<Option<OwnedFd>, RunError> {
    if said == "null" {
        return Ok(None);
    }
    if said == "inherit" {
        return copy(rustix::stdio::stdin()).map(Some);
    }
    match File::open(said) {
        Ok(file) => Ok(Some(file.into())),
        Err(error) => Err(RunError::Input {
            path: said.to_owned(),
            error,
        }),
    }
}

pub fn copy(fd: impl AsFd) -> Result<OwnedFd, RunError> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(kernel("dup"))
}

/// Pipes between the task and this program's streams. The caller's own
/// descriptors never enter a sandbox: it could reopen a file behind one, or
/// push characters into a terminal.
fn streams(input: Option<OwnedFd>) -> Result<(Stdio, Console), RunError> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(kernel("pipe2"));
    let (task_input, feed) = pipe()?;
    // Only our end: the task's is another open file description.
    rustix::io::ioctl_fionbio(&feed, true).map_err(kernel("FIONBIO"))?;
    let (output, task_output) = pipe()?;
    let (errors, task_errors) = pipe()?;
    let console = Console::streams(
        input.map(|from| (from, feed)),
        vec![
            (output, copy(rustix::stdio::stdout())?),
            (errors, copy(rustix::stdio::stderr())?),
        ],
    )?;
    Ok((
        Stdio::Given([task_input, task_output, task_errors]),
        console,
    ))
}

fn terminal_console() -> Result<Console, RunError> {
    let stdin = rustix::stdio::stdin();
    Ok(Console::terminal(
        copy(stdin)?,
        copy(rustix::stdio::stdout())?,
        copy(stdin)?,
    )?)
}
