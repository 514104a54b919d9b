//! One session: a sandbox, its worker, their end.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_api::v1::{CreateRequest, ExecStart, Kind};
use lakekeep_policy::PolicyDoc;
use lakekeep_store::audit::Event;
use lakekeep_udf_broker::{WORKER, streams};
use lakekeep_udf_packets::{Answer, Counts, Open, Verdict, bounded};
use serde::Deserialize;
use tokio::sync::watch;

use super::Functions;
use crate::fault::Fault;
use crate::gate::now;
use crate::make::about;
use crate::refusals::{Seen, Source};
use crate::sandbox::{SIGKILL, Sandbox, lock};
use crate::task::Task;
use crate::who::{Caller, Claims};

/// What an engine waits for a place in its profile's queue.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest word of an engine's for its query, bytes.
const LONGEST_QUERY: usize = 256;

/// A request for a session, as it came.
#[derive(Debug)]
pub struct Asking {
    pub uid: u32,
    pub open: Open,
    pub given: Vec<OwnedFd>,
    /// What the engine will tell of it.
    pub counts: Arc<Mutex<Counts>>,
}

/// A session that runs.
#[derive(Debug)]
pub struct Session {
    functions: Functions,
    caller: Caller,
    number: u32,
    query: String,
    kind: String,
    code_owner: String,
    sandbox: Arc<Sandbox>,
    task: Arc<Task>,
    counts: Arc<Mutex<Counts>>,
}

/// What a task's outcome says, as far as engines and the log are told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Used {
    memory_peak: u64,
    cpu_us: u64,
    wall_us: u64,
}

impl Functions {
    /// The answer to what was refused, which is noted first.
    pub async fn refused(&self, uid: u32, number: u32, (seen, fault): (Seen, Fault)) -> Answer {
        let from = Source::Uid(uid);
        let noted = self.refusals.fault("open_function", from, &seen, &fault);
        // As everywhere: what cannot be noted is not answered otherwise.
        let fault = match noted.await {
            Ok(()) => fault,
            Err(stopped) => stopped,
        };
        let retry = fault.retry().map(|after| after.as_millis());
        Answer::Failed {
            number,
            message: bounded(fault.to_string()),
            code: Some(fault.reason().name().to_owned()),
            retry_after_ms: retry.and_then(|ms| u64::try_from(ms).ok()),
        }
    }
}

impl Session {
    /// Makes a sandbox and starts the worker in it. What fails is noted, and told.
    pub async fn start(functions: &Functions, asking: Asking) -> Result<Self, Answer> {
        let (uid, number) = (asking.uid, asking.open.number);
        let claims = Claims {
            delegation: asking.open.delegation.as_deref(),
            on_behalf_of: asking.open.user.as_deref(),
        };
        let seen = Seen::default();
        let authentication = &functions.sandboxes.gate.authentication;
        let started = match authentication.peer(uid, claims, &seen) {
            Ok(caller) => Self::start_for(functions, &caller, asking).await,
            Err(fault) => Err(fault),
        };
        match started {
            Ok(session) => Ok(session),
            Err(fault) => Err(functions.refused(uid, number, (seen, fault)).await),
        }
    }

    async fn start_for(
        functions: &Functions,
        caller: &Caller,
        asking: Asking,
    ) -> Result<Self, Fault> {
        let Asking {
            open,
            given,
            counts,
            ..
        } = asking;
        let given = streams::check(given)
            .map_err(|error| Fault::new(Reason::BadRequest, lakekeep_sandbox::chain(&error)))?;
        let (create, start) = requests(&open)?;
        let (query, kind) = (start.query_id.clone(), open.kind.unwrap_or_default());
        let code_owner = create.code_owner.clone();
        let started = functions
            .sandboxes
            .start_given(caller, create, start, given);
        let (sandbox, task) = started.await?;
        Ok(Self {
            functions: functions.clone(),
            caller: caller.clone(),
            number: open.number,
            query,
            kind,
            code_owner,
            sandbox,
            task,
            counts,
        })
    }

    /// The worker runs.
    pub fn opened(&self) -> Answer {
        Answer::Opened {
            number: self.number,
            sandbox: self.sandbox.id().to_owned(),
            warning: None,
        }
    }

    /// Waits for its end, or ends it when told, and notes what it was used for.
    pub async fn until_its_end(self, mut ending: watch::Receiver<bool>) -> Answer {
        // Told, or its connection has ended.
        let told = async { drop(ending.wait_for(|end| *end).await) };
        let ended = tokio::select! {
            ended = self.task.wait() => ended,
            () = told => {
                if self.sandbox.signal(self.task.number, SIGKILL).is_err() {
                    // Its init is gone, and the worker with it.
                }
                self.task.wait().await
            }
        };
        // Its place in the quotas is free when the engine hears of it.
        self.sandbox.over_with_its_task().await;
        let used: Used = serde_json::from_str(&ended.outcome).unwrap_or_default();
        let verdict = serde_json::from_str(&ended.verdict);
        let verdict = verdict.unwrap_or_else(|_| Verdict {
            kind: "lost".to_owned(),
            exit_code: ended.exit_code,
            signal: None,
            limit: None,
            peak: None,
            explanation: "its end is not known".to_owned(),
            remedy: "open another session".to_owned(),
        });
        let event = self.story(&verdict, &used);
        let gate = &self.functions.sandboxes.gate;
        if gate.note(&self.caller, event).await.is_err() {
            // The log says itself that it has stopped, to everybody who acts next.
        }
        Answer::Ended {
            number: self.number,
            verdict,
            memory_peak: used.memory_peak,
            cpu_us: used.cpu_us,
        }
    }

    /// What the log tells of it: what the kernel counted, and what the engine did.
    fn story(&self, verdict: &Verdict, used: &Used) -> Event {
        let counts = *lock(&self.counts);
        let event = Event::allowed(now(), self.caller.user(), "end_function")
            .with_task(u64::from(self.task.number))
            .with_query(&self.query)
            .with_extra("kind", &self.kind)
            .with_extra("code_owner", &self.code_owner)
            .with_extra("ended", &verdict.kind);
        let numbers = [
            ("memory_peak", used.memory_peak),
            ("cpu_us", used.cpu_us),
            ("wall_us", used.wall_us),
            ("calls", counts.calls),
            ("failed", counts.failed),
            ("rows_in", counts.rows_in),
            ("rows_out", counts.rows_out),
            ("bytes_in", counts.bytes_in),
            ("bytes_out", counts.bytes_out),
            ("waited_us", counts.waited_us),
        ];
        let event = numbers.iter().fold(event, |event, (name, value)| {
            event.with_extra(name, &value.to_string())
        });
        about(event, &self.sandbox.meta)
    }
}

/// What a manager is asked for, in the words of its interface.
fn requests(open: &Open) -> Result<(CreateRequest, ExecStart), Fault> {
    let bad = |message: String| Fault::new(Reason::BadRequest, message);
    let interpreter = open
        .interpreter
        .to_str()
        .filter(|path| path.starts_with('/'));
    let interpreter =
        interpreter.ok_or_else(|| bad("interpreter: not an absolute path of UTF-8".to_owned()))?;
    let query = open.query.clone().unwrap_or_default();
    if query.len() > LONGEST_QUERY {
        return Err(bad(format!("query is longer than {LONGEST_QUERY} bytes")));
    }
    let environment = open.environment.clone();
    if environment.as_ref().is_some_and(String::is_empty) {
        return Err(bad(
            "environment: an empty digest; leave it out, or capture one: lakekeep env push"
                .to_owned(),
        ));
    }
    let policy =
        lakekeep_udf_broker::policy(&open.limits).map_err(|error| bad(error.to_string()))?;
    let create = CreateRequest {
        profile: open.profile.clone().unwrap_or_default(),
        policy: text(&policy)?,
        kind: Kind::Udf.into(),
        code_owner: open.code_owner.clone().unwrap_or_default(),
        deadline: prost_types::Duration::try_from(DEADLINE).ok(),
        environment: environment.unwrap_or_default(),
        ..CreateRequest::default()
    };
    let arguments = [interpreter, "-c", WORKER];
    let start = ExecStart {
        arguments: arguments.map(|word| word.as_bytes().to_vec()).into(),
        // The connection ends it.
        detach: true,
        no_stdin: true,
        query_id: query,
        ..ExecStart::default()
    };
    Ok((create, start))
}

fn text(policy: &PolicyDoc) -> Result<String, Fault> {
    toml::to_string(policy).map_err(|error| Fault::internal("write a policy", &error))
}

#[cfg(test)]
mod tests {
    use lakekeep_udf_packets::Limits;

    use super::*;

    fn open(interpreter: &str) -> Open {
        Open {
            number: 1,
            interpreter: interpreter.into(),
            ..Open::default()
        }
    }

    #[test]
    fn what_is_asked_for_is_one_task_of_the_preset_udf() {
        let asked = Open {
            limits: Limits {
                memory: Some(64 << 20),
                cpu: Some(0.5),
                wall_time_ms: None,
            },
            profile: Some("team".to_owned()),
            code_owner: Some("bob".to_owned()),
            query: Some("q-1".to_owned()),
            environment: Some("aa".to_owned()),
            ..open("/usr/bin/python3")
        };
        let (create, start) = requests(&asked).unwrap();
        assert_eq!(create.environment, "aa");
        assert_eq!(create.kind(), Kind::Udf);
        assert_eq!(
            (create.profile.as_str(), create.code_owner.as_str()),
            ("team", "bob")
        );
        let policy = PolicyDoc::from_toml("policy", &create.policy).unwrap();
        assert_eq!(policy, lakekeep_udf_broker::policy(&asked.limits).unwrap());
        assert_eq!(
            start.arguments[..2],
            [b"/usr/bin/python3".to_vec(), b"-c".to_vec()]
        );
        assert_eq!(start.query_id, "q-1");
    }

    #[test]
    fn what_cannot_be_started_is_refused_with_its_field() {
        for (asked, field) in [
            (open("python3"), "interpreter"),
            (open(""), "interpreter"),
            (
                Open {
                    environment: Some(String::new()),
                    ..open("/p")
                },
                "environment",
            ),
            (
                Open {
                    query: Some("q".repeat(LONGEST_QUERY + 1)),
                    ..open("/p")
                },
                "query",
            ),
            (
                Open {
                    limits: Limits {
                        cpu: Some(-1.0),
                        ..Limits::default()
                    },
                    ..open("/p")
                },
                "limits.cpu",
            ),
        ] {
            let fault = requests(&asked).unwrap_err();
            assert!(fault.to_string().contains(field), "{fault}");
        }
    }
}
