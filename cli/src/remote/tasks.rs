//! Commands in sandboxes: exec, attach, logs, and how they ended.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use lakekeep_client::{Attach, Client, Command, Ending};
use serde_json::json;

use super::carry::{self, End, Manner, Signals};
use super::error::RemoteError;
use super::{Answer, parse, print, show};
use crate::args::remote::{AttachArgs, ExecArgs, LogsArgs, TaskArgs};
use crate::report::{Ended, Messages};
use crate::request::variable;
use crate::run::{RunError, exit_code, input};
use crate::terminal;

/// Variables that name places and accounts of this host.
const OF_THIS_HOST: [&str; 14] = [
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "SHELL",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "MAIL",
    "SHLVL",
    "_",
    "TERM",
    "HOSTNAME",
    "LD_PRELOAD",
];

/// `lakekeep exec`
pub async fn exec(client: Client, arguments: ExecArgs) -> Answer {
    let window = match arguments.tty {
        true => Some(terminal::size().ok_or(RunError::NoTerminal)?),
        false => None,
    };
    let mut command = command(&arguments)?;
    if arguments.detach {
        let session = client.exec(command.detach().no_stdin()).await?;
        print(&started(&session.sandbox, session.task, arguments.via.json))?;
        return Ok(ExitCode::SUCCESS);
    }
    let input = input(&arguments.stdin)?;
    if input.is_none() {
        command = command.no_stdin();
    }
    if let Some((rows, columns)) = window {
        command = command.terminal(rows, columns, std::env::var("TERM").unwrap_or_default());
    }
    let signals = Signals::listen()?;
    let session = client.exec(command).await?;
    let manner = Manner {
        input,
        terminal: arguments.tty,
        can_leave: false,
    };
    let end = carried(session, manner, signals).await?;
    finish(arguments.via.json, end)
}

/// Carries a task's streams, with our terminal raw where it has one.
pub async fn carried(
    session: lakekeep_client::Session,
    manner: Manner,
    signals: Signals,
) -> Result<End, RemoteError> {
    let _raw = manner.terminal.then(carry::raw).transpose()?;
    carry::carry(session, manner, signals).await
}

fn started(sandbox: &str, task: u32, as_json: bool) -> String {
    match as_json {
        true => format!("{}\n", json!({ "sandbox": sandbox, "task": task })),
        false => format!("{sandbox}/{task}\n"),
    }
}

fn command(arguments: &ExecArgs) -> Result<Command, RemoteError> {
    let words = arguments.command.iter().cloned().map(OsStringExt::into_vec);
    let mut command = Command::new(&arguments.sandbox, words);
    if arguments.command.is_empty() {
        command = command.entrypoint();
    }
    if arguments.user_env {
        // What is no text cannot be passed on.
        let all = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        for (name, value) in all.filter(|(name, _)| is_passed_on(name)) {
            command = command.variable(name, value);
        }
    }
    for flag in &arguments.variables {
        let (name, value) = variable(flag)?;
        command = command.variable(name, value);
    }
    for secret in &arguments.secrets {
        command = command.secret(secret);
    }
    if let Some(folder) = &arguments.workdir {
        command = command.working_directory(folder);
    }
    if arguments.explain_syscalls {
        command = command.explain_syscalls();
    }
    if let Some(word) = &arguments.query_id {
        command = command.query_id(word);
    }
    Ok(command)
}

/// Whether `--user-env` passes a variable on.
fn is_passed_on(name: &str) -> bool {
    !OF_THIS_HOST.contains(&name)
        && !["LAKEKEEP_", "LD_", "XDG_", "SSH_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Reports how a task ended, and exits as it did.
fn finish(as_json: bool, end: End) -> Answer {
    let messages = Messages { json: as_json };
    match end {
        End::Ended(ending) => {
            messages.outcome(&outcome(&ending)?);
            Ok(exit_code(ending.exit_code))
        }
        End::Left => {
            messages.say("info", "left; the task goes on");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A task's end as it is reported.
pub fn outcome(ending: &Ending) -> Result<Ended, RemoteError> {
    parse("outcome", &ending.outcome).map(Ended::There)
}

/// `lakekeep attach`
pub async fn attach(client: Client, arguments: AttachArgs) -> Answer {
    let name = &arguments.task;
    let sandbox = client.get(&name.sandbox).await?;
    let task = match name.task {
        0 => sandbox.tasks.last(),
        number => sandbox.tasks.iter().find(|task| task.task == number),
    };
    let has_terminal = task.is_some_and(|task| task.tty);
    let window = terminal::size();
    if has_terminal && window.is_none() {
        return Err(RunError::NoTerminal.into());
    }
    let number = task.map_or(name.task, |task| task.task);
    let signals = Signals::listen()?;
    let session = client.attach(Attach::new(&name.sandbox, number)).await?;
    if let Some((rows, columns)) = window.filter(|_| has_terminal) {
        session.control.resize(rows, columns).await?;
    }
    let manner = Manner {
        input: input("inherit".as_ref())?,
        terminal: has_terminal,
        can_leave: window.is_some(),
    };
    let end = carried(session, manner, signals).await?;
    finish(arguments.via.json, end)
}

/// `lakekeep logs`
pub async fn logs(client: Client, arguments: LogsArgs) -> Answer {
    let mut attach = Attach::new(&arguments.task.sandbox, arguments.task.task).read_only();
    if !arguments.follow {
        attach = attach.no_follow();
    }
    let session = client.attach(attach).await?;
    carry::print(session, arguments.stderr).await?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep receipt`
pub async fn receipt(client: Client, arguments: TaskArgs) -> Answer {
    let name = &arguments.task;
    let receipt = parse("receipt", &client.receipt(&name.sandbox, name.task).await?)?;
    print(&match arguments.via.json {
        true => format!("{receipt}\n"),
        false => format!("{receipt:#}\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep verdict`
pub async fn verdict(client: Client, arguments: TaskArgs) -> Answer {
    let name = &arguments.task;
    let answer = client.verdict(&name.sandbox, name.task).await?;
    let verdict = parse("verdict", &answer.verdict)?;
    print(&match arguments.via.json {
        true => format!("{verdict}\n"),
        false => verdict_text(&verdict),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verdict_text(verdict: &serde_json::Value) -> String {
    let word = |name: &str| verdict[name].as_str().unwrap_or_default().to_owned();
    show::pairs(&[
        ("kind", word("kind")),
        ("exit code", verdict["exit_code"].to_string()),
        ("what", word("explanation")),
        ("remedy", word("remedy")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_this_host_is_not_passed_on() {
        for name in [
            "PATH",
            "HOME",
            "LAKEKEEP_TOKEN_FILE",
            "LD_LIBRARY_PATH",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!is_passed_on(name), "{name}");
        }
        assert!(is_passed_on("LANG") && is_passed_on("MY_FLAG"));
    }

    #[test]
    fn a_verdict_is_short() {
        let verdict = json!({
            "kind": "out_of_memory", "exit_code": 137,
            "explanation": "it used 64MiB", "remedy": "raise --memory",
        });
        assert_eq!(
            verdict_text(&verdict),
            "kind       out_of_memory\nexit code  137\nwhat       it used 64MiB\nremedy     raise --memory\n"
        );
    }

    #[test]
    fn a_started_task_is_named_so_that_other_commands_take_it() {
        assert_eq!(started("ab", 2, false), "ab/2\n");
        assert_eq!(started("ab", 2, true), "{\"sandbox\":\"ab\",\"task\":2}\n");
    }
}
