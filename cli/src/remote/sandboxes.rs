//! Sandboxes: made, listed, looked at, ended.

use std::process::ExitCode;
use std::time::SystemTime;

use lakekeep_client::{Client, ClientError, Create, v1};

use super::error::RemoteError;
use super::show::{self, Cell, Colour, age, clean, size};
use super::tell::{self, moment, stamp};
use super::{Answer, parse, print};
use crate::args::remote::{CreateArgs, Kind, PsArgs, SandboxesArgs, SignalArgs, Via, VolumeArgs};
use crate::args::{Format, InspectArgs};
use crate::report::Messages;
use crate::request;

/// `lakekeep create`
pub async fn create(client: Client, arguments: CreateArgs) -> Answer {
    let mut create = Create::new()
        .kind(kind(arguments.kind))
        .policy(request::for_sandbox(&arguments.policy)?);
    if let Some(name) = arguments.profile {
        create = create.profile(name);
    }
    if let Some(digest) = arguments.environment {
        create = create.environment(digest.to_string());
    }
    for (name, value) in arguments.labels {
        create = create.label(name, value);
    }
    for volume in arguments.volumes {
        create = create.volume(volume);
    }
    if let Some(time) = arguments.idle_timeout {
        create = create.idle_timeout(time);
    }
    if let Some(time) = arguments.lifetime {
        create = create.lifetime(time);
    }
    if let Some(time) = arguments.deadline {
        create = create.deadline(time);
    }
    if let Some(user) = arguments.code_owner {
        create = create.code_owner(user);
    }
    if let Some(path) = arguments.policy.interpreter {
        let text = path.into_os_string().into_string();
        create = create.interpreter(text.map_err(RemoteError::NotText)?);
    }
    let sandbox = match arguments.claim {
        true => client.claim(create).await?,
        false => client.create(create).await?,
    };
    one(&arguments.via, &sandbox)
}

fn kind(kind: Kind) -> v1::Kind {
    match kind {
        Kind::Interactive => v1::Kind::Interactive,
        Kind::Kernel => v1::Kind::Kernel,
        Kind::Udf => v1::Kind::Udf,
        Kind::Batch => v1::Kind::Batch,
    }
}

/// A sandbox that something was done to: its identifier.
fn one(via: &Via, sandbox: &v1::Sandbox) -> Answer {
    print(&match via.json {
        true => format!("{}\n", tell::sandbox(sandbox)),
        false => format!("{}\n", sandbox.id),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep ps`
pub async fn list(client: Client, arguments: PsArgs) -> Answer {
    let mut all = client
        .list(v1::ListRequest {
            profile: arguments.profile.unwrap_or_default(),
            all_users: arguments.all_users,
            ended: arguments.all,
            labels: arguments.labels.into_iter().collect(),
            ..v1::ListRequest::default()
        })
        .await?;
    all.sort_by_key(|sandbox| moment(sandbox.created.as_ref()));
    if arguments.via.json {
        for sandbox in &all {
            print(&format!("{}\n", tell::sandbox(sandbox)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemTime::now();
    print(&listing(&all, arguments.all_users, now, show::colours()))?;
    Ok(ExitCode::SUCCESS)
}

fn listing(all: &[v1::Sandbox], owners: bool, now: SystemTime, colours: bool) -> String {
    let mut heading = vec![
        "SANDBOX", "PROFILE", "STATE", "KIND", "AGE", "TASKS", "COMMAND",
    ];
    if owners {
        heading.insert(1, "OWNER");
    }
    let rows = all.iter().map(|sandbox| {
        let mut row = line(sandbox, now);
        if owners {
            row.insert(1, sandbox.owner.as_str().into());
        }
        row
    });
    show::table(&heading, &rows.collect::<Vec<_>>(), colours)
}

fn line(sandbox: &v1::Sandbox, now: SystemTime) -> Vec<Cell> {
    let runs = |task: &&v1::Task| task.state() != v1::State::Ended;
    let running = sandbox.tasks.iter().filter(runs).count();
    let shown = sandbox.tasks.iter().rfind(runs).or(sandbox.tasks.last());
    let colour = match sandbox.state() {
        v1::State::Running => Colour::Green,
        v1::State::Frozen => Colour::Yellow,
        v1::State::Ended => Colour::Dim,
        _ => Colour::Plain,
    };
    vec![
        sandbox.id.as_str().into(),
        sandbox.profile.as_str().into(),
        Cell::from(tell::state(sandbox.state())).coloured(colour),
        tell::kind(sandbox.kind()).into(),
        Cell::figure(age(moment(sandbox.created.as_ref()), now)),
        Cell::figure(format!("{running}/{}", sandbox.tasks.len())),
        shown.map_or("", |task| task.program.as_str()).into(),
    ]
}

/// `lakekeep inspect SANDBOX`
pub async fn inspect(client: Client, arguments: &InspectArgs) -> Answer {
    let sandbox = client.get(&arguments.subject).await?;
    if arguments.format == Format::Json {
        print(&format!("{:#}\n", tell::sandbox(&sandbox)))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Who may see the sandbox may not always see what was enforced.
    let receipt = match client.receipt(&sandbox.id, 0).await {
        Ok(text) => parse("receipt", &text)?,
        Err(error) => {
            Messages { json: false }.say("warning", &show::clean_lines(error.message()));
            serde_json::Value::Null
        }
    };
    let layers = crate::inspect::text(&receipt["layers"]);
    let now = SystemTime::now();
    print(&format!(
        "{}{}{layers}",
        about(&sandbox),
        tasks(&sandbox, now)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn about(sandbox: &v1::Sandbox) -> String {
    let mut labels: Vec<String> = sandbox
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.sort();
    let verdict: serde_json::Value = serde_json::from_str(&sandbox.verdict).unwrap_or_default();
    let pid = match sandbox.pid {
        0 => String::new(),
        pid => pid.to_string(),
    };
    show::pairs(&[
        ("sandbox", sandbox.id.clone()),
        ("owner", sandbox.owner.clone()),
        ("identity", sandbox.identity.clone()),
        ("profile", sandbox.profile.clone()),
        ("state", tell::state(sandbox.state()).to_owned()),
        ("kind", tell::kind(sandbox.kind()).to_owned()),
        ("image", sandbox.image.clone()),
        ("volumes", sandbox.volumes.join(", ")),
        ("quotas", quotas(sandbox)),
        ("labels", labels.join(", ")),
        ("pid", pid),
        ("created", stamp(sandbox.created.as_ref())),
        ("ended", stamp(sandbox.ended.as_ref())),
        ("last used", stamp(sandbox.last_used.as_ref())),
        (
            "verdict",
            verdict["explanation"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        ),
        ("policy", sandbox.policy_digest.clone()),
        ("trust key", sandbox.trust_key.clone()),
        ("egress", sandbox.egress.clone()),
    ])
}

/// Each volume's quota, and why one is not enforced.
fn quotas(sandbox: &v1::Sandbox) -> String {
    let words = sandbox.quotas.iter().map(|quota| {
        let (volume, bytes) = (&quota.volume, size(quota.bytes));
        match quota.enforced {
            true => format!("{volume} {bytes}"),
            false => format!("{volume} {bytes} (not enforced: {})", clean(&quota.missing)),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

fn tasks(sandbox: &v1::Sandbox, now: SystemTime) -> String {
    if sandbox.tasks.is_empty() {
        return String::new();
    }
    let rows = sandbox.tasks.iter().map(|task| {
        let code = match task.state() {
            v1::State::Ended => task.exit_code.to_string(),
            _ => "-".to_owned(),
        };
        vec![
            Cell::figure(task.task.to_string()),
            tell::state(task.state()).into(),
            Cell::figure(code),
            Cell::figure(age(moment(task.started.as_ref()), now)),
            task.program.as_str().into(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    show::table(&["TASK", "STATE", "EXIT", "AGE", "COMMAND"], &rows, false)
}

/// `lakekeep kill`
pub async fn kill(client: Client, arguments: SandboxesArgs) -> Answer {
    each(&arguments, async |id| client.kill(id).await).await
}

/// `lakekeep freeze`
pub async fn freeze(client: Client, arguments: SandboxesArgs) -> Answer {
    each(&arguments, async |id| client.freeze(id).await).await
}

/// `lakekeep thaw`
pub async fn thaw(client: Client, arguments: SandboxesArgs) -> Answer {
    each(&arguments, async |id| client.thaw(id).await).await
}

/// Does something to each sandbox; one that fails does not keep it from the others.
async fn each(
    arguments: &SandboxesArgs,
    act: impl AsyncFn(&str) -> Result<v1::Sandbox, ClientError>,
) -> Answer {
    let messages = Messages {
        json: arguments.via.json,
    };
    let mut failed = 0;
    for id in &arguments.sandboxes {
        match act(id).await {
            Ok(sandbox) => drop(one(&arguments.via, &sandbox)?),
            Err(error) if arguments.sandboxes.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                let message = show::clean_lines(&format!("{id}: {error}"));
                messages.say("error", &message);
            }
        }
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        failed => Err(RemoteError::Some(failed, arguments.sandboxes.len())),
    }
}

/// `lakekeep signal`
pub async fn signal(client: Client, arguments: SignalArgs) -> Answer {
    let name = &arguments.task;
    let task = match name.task {
        // The last one is named now: another may be started meanwhile.
        0 => {
            let sandbox = client.get(&name.sandbox).await?;
            sandbox.tasks.last().map_or(0, |task| task.task)
        }
        number => number,
    };
    client.signal(&name.sandbox, task, arguments.signal).await?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep volume attach`
pub async fn attach_volume(client: Client, arguments: VolumeArgs) -> Answer {
    let sandbox = client
        .attach_volume(&arguments.sandbox, &arguments.name)
        .await?;
    one(&arguments.via, &sandbox)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn task(number: u32, state: v1::State, program: &str) -> v1::Task {
        v1::Task {
            task: number,
            state: state.into(),
            program: program.to_owned(),
            started: seconds(900),
            exit_code: 3,
            ..v1::Task::default()
        }
    }

    fn sandbox() -> v1::Sandbox {
        v1::Sandbox {
            id: "0a1b2c".to_owned(),
            owner: "ann".to_owned(),
            profile: "churn".to_owned(),
            state: v1::State::Running.into(),
            kind: v1::Kind::Kernel.into(),
            created: seconds(700),
            tasks: vec![
                task(1, v1::State::Running, "python3"),
                task(2, v1::State::Ended, "ls\x1b[2J"),
            ],
            ..v1::Sandbox::default()
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1000)
    }

    #[test]
    fn a_listing_shows_what_runs() {
        assert_eq!(
            listing(&[sandbox()], true, now(), false),
            "SANDBOX  OWNER  PROFILE  STATE    KIND    AGE  TASKS  COMMAND\n\
             0a1b2c   ann    churn    running  kernel   5m    1/2  python3\n"
        );
    }

    #[test]
    fn tasks_show_their_end_and_steer_no_terminal() {
        assert_eq!(
            tasks(&sandbox(), now()),
            "TASK  STATE    EXIT  AGE  COMMAND\n   \
             1  running     -   1m  python3\n   \
             2  ended       3   1m  ls\\u{1b}[2J\n"
        );
    }
}
