//! Tasks for callers: in a sandbox of theirs, or in one that is made for it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_api::v1::{CreateRequest, ExecStart};
use lakekeep_profiles::Action;
use lakekeep_sandbox::{Kind as VerdictKind, Verdict};
use lakekeep_store::audit::Event;
use tracing::Instrument;

use crate::fault::Fault;
use crate::gate::now;
use crate::make::{Use, about};
use crate::meta::Meta;
use crate::sandbox::{Asked, Manner, SIGKILL, Sandbox};
use crate::sandboxes::Service;
use crate::task::Task;
use crate::who::Caller;
use crate::{maker, wire};

/// How long an undetached task waits for its caller to come back, where none is said.
const LINGER: Duration = Duration::from_secs(10);

/// The longest that a caller may ask for.
const LONGEST_LINGER: Duration = Duration::from_secs(3600);

/// What is particular to a task that is its sandbox's only one.
#[derive(Debug, Default)]
struct Alone<'e> {
    /// What is to be noted of the sandbox before; `None`: others may follow.
    made: Option<&'e mut Option<Event>>,
    /// Streams of its caller's.
    given: Option<Arc<[OwnedFd; 3]>>,
}

impl Service {
    /// Starts a task, in the sandbox that is named or in one of its own.
    pub async fn start(
        &self,
        caller: &Caller,
        mut start: ExecStart,
    ) -> Result<(Arc<Sandbox>, Arc<Task>), Fault> {
        let Some(create) = start.once.take() else {
            let sandbox = self.find(caller, &start.sandbox, Action::Exec).await?;
            return self
                .start_in(caller, sandbox, start, Alone::default())
                .await;
        };
        if !start.sandbox.is_empty() {
            return Err(Fault::new(
                Reason::BadRequest,
                "sandbox, once: name a sandbox or ask for one, not both",
            ));
        }
        self.start_alone(caller, create, start, None).await
    }

    /// Starts a task in a sandbox of its own, with streams that are its caller's.
    pub async fn start_given(
        &self,
        caller: &Caller,
        create: CreateRequest,
        start: ExecStart,
        given: [OwnedFd; 3],
    ) -> Result<(Arc<Sandbox>, Arc<Task>), Fault> {
        let given = Some(Arc::new(given));
        self.start_alone(caller, create, start, given).await
    }

    async fn start_alone(
        &self,
        caller: &Caller,
        create: CreateRequest,
        start: ExecStart,
        given: Option<Arc<[OwnedFd; 3]>>,
    ) -> Result<(Arc<Sandbox>, Arc<Task>), Fault> {
        // To its end, also when the caller goes meanwhile: nothing else would end it.
        let (this, caller) = (self.clone(), caller.clone());
        let started = async move { this.start_once(&caller, create, start, given).await };
        let started = tokio::spawn(started.in_current_span()).await;
        started.map_err(|error| Fault::internal("start a task", &error))?
    }

    async fn start_once(
        &self,
        caller: &Caller,
        create: CreateRequest,
        mut start: ExecStart,
        given: Option<Arc<[OwnedFd; 3]>>,
    ) -> Result<(Arc<Sandbox>, Arc<Task>), Fault> {
        let how = match given {
            Some(_) => Use::Function,
            None => Use::Once,
        };
        let (sandbox, mut made) = self.making.create_unnoted(caller, create, how).await?;
        if let (Use::Function, Some(found), Some(interpreter)) =
            (how, &sandbox.meta.environment, start.arguments.first_mut())
        {
            *interpreter = found.python.clone().into_bytes();
        }
        let checked = self.gate.check_sandbox(caller, Action::Exec, &sandbox.meta);
        let started = match checked {
            Ok(()) => {
                let sandbox = Arc::clone(&sandbox);
                let alone = Alone {
                    made: Some(&mut made),
                    given,
                };
                self.start_in(caller, sandbox, start, alone).await
            }
            Err(fault) => Err(fault),
        };
        match &started {
            Ok((_, task)) => self.making.end_with(&sandbox, task),
            Err(_) => {
                // That it was made is true, whatever became of its task.
                if let Some(event) = made {
                    self.gate.note(caller, event).await?;
                }
                let why = "its only task did not start".to_owned();
                let verdict = Verdict::of_sandbox(VerdictKind::Lost, why, "");
                if sandbox.kill(verdict).await.is_err() {
                    // Its launcher is gone, and it with it: the reason is what failed before.
                }
            }
        }
        started
    }

    /// Starts a task in a sandbox.
    async fn start_in(
        &self,
        caller: &Caller,
        sandbox: Arc<Sandbox>,
        mut start: ExecStart,
        alone: Alone<'_>,
    ) -> Result<(Arc<Sandbox>, Arc<Task>), Fault> {
        start.arguments = words(&sandbox.meta, start.arguments, start.entrypoint)?;
        let query = start.query_id.clone();
        let words = (start.arguments.as_slice(), start.working_directory.as_str());
        let asked = Asked::new(caller.user(), &start.request_id, words)?;
        // What is asked for again has its place.
        let permit = match sandbox.answered(asked.as_ref()) {
            true => None,
            false => self.making.admit_task(&sandbox)?,
        };
        let (request, mut manner) = self.asked(&sandbox, start, asked)?;
        manner.last = alone.made.is_some();
        manner.given = alone.given;
        let program = request.arguments.first().cloned().unwrap_or_default();
        let event = Event::allowed(now(), caller.user(), "exec")
            .with_extra("program", &String::from_utf8_lossy(&program))
            .with_query(&query);
        // Noted before it runs: what is not noted is not done.
        let made = alone.made.and_then(Option::take);
        let events = made.into_iter().chain([about(event, &sandbox.meta)]);
        let noted = events.map(|event| self.gate.note_in_steps(caller, event));
        let mut noted = noted.collect::<Result<Vec<_>, _>>()?;
        for one in &mut noted {
            one.written().await?;
        }
        // To its end, also when the caller goes meanwhile: it may ask for it again.
        let started = Arc::clone(&sandbox);
        let started = async move {
            let task = started.exec(&request, &manner).await;
            let on_disk = async {
                for one in noted {
                    one.on_disk().await?;
                }
                Ok(())
            };
            if let Err(fault) = on_disk.await {
                if let Ok(task) = task
                    && started.signal(task.number, SIGKILL).is_err()
                {
                    // Its init is gone, and it with it.
                }
                return Err(fault);
            }
            let task = task?;
            if let Some(permit) = permit {
                task.hold(permit);
            }
            Ok::<_, Fault>(task)
        };
        let task = tokio::spawn(started.in_current_span()).await;
        let task = task.map_err(|error| Fault::internal("start a task", &error))?;
        Ok((sandbox, task?))
    }

    fn asked(
        &self,
        sandbox: &Sandbox,
        start: ExecStart,
        asked: Option<Asked>,
    ) -> Result<(maker::Request, Manner), Fault> {
        let (secrets, secret_variables) = self.gate.open_secrets(&sandbox.meta, &start.secrets)?;
        let mut environment = self.gate.variables(&sandbox.meta, start.environment)?;
        environment.extend(secret_variables);
        let size = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        let request = maker::Request {
            arguments: start.arguments,
            environment,
            secrets,
            working_directory: start.working_directory,
            terminal: start
                .terminal
                .map(|window| (size(window.rows), size(window.columns))),
            term: start.term,
            explain: start.explain_syscalls,
            file_service: false,
        };
        let linger = wire::duration(start.linger.as_ref()).unwrap_or(LINGER);
        let manner = Manner {
            detached: start.detach,
            linger: linger.min(LONGEST_LINGER),
            query: start.query_id,
            no_input: start.no_stdin,
            asked,
            last: false,
            given: None,
        };
        Ok((request, manner))
    }
}

/// A task's words; `own`: with those of its sandbox's image.
fn words(meta: &Meta, given: Vec<Vec<u8>>, own: bool) -> Result<Vec<Vec<u8>>, Fault> {
    let bad = |message: &str| Err(Fault::new(Reason::BadRequest, message));
    let words = match &meta.stored_image {
        Some(image) if own => image.startup.words(given),
        _ => given,
    };
    if words.is_empty() {
        return bad(match own {
            true => "arguments: name a program; the sandbox's image has no command of its own",
            false => "arguments: name a program",
        });
    }
    if words.iter().any(|word| word.contains(&0)) {
        return bad("arguments: one holds a NUL");
    }
    Ok(words)
}
