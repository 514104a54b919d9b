//! A live sandbox: its init's voice, its tasks, its end.

pub mod frozen;
mod start;
mod starts;
pub mod variables;
mod voice;
mod volumes;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lakekeep_api::Reason;
use lakekeep_plan::Plan;
use lakekeep_protocol::facts::{GroupUsageFacts, TaskFacts};
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::TaskFailure;
use lakekeep_protocol::{InitRequest, ProtocolError};
use lakekeep_sandbox::service::{self, EGRESS_SLOT, Held, INIT_SLOT, Init};
use lakekeep_sandbox::{Kind as VerdictKind, Outcome, SandboxError, Verdict};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::{oneshot, watch};

use crate::egress::Outlet;
use crate::events::{Events, What};
use crate::fault::Fault;
use crate::history::History;
use crate::launchers::Launcher;
use crate::maker::Maker;
use crate::meta::{Meta, VolumeQuota};
use crate::metrics::{self, Metrics};
use crate::parked::Zygote;
use crate::task::{Ended, Task};

use starts::Starts;

pub use starts::{Asked, Claim};
pub use volumes::Volume;

/// signal(7).
pub const SIGKILL: i32 = 9;

/// A sandbox of this manager.
#[derive(Debug)]
pub struct Sandbox {
    /// Whose it is, and what it is for.
    pub meta: Meta,
    /// Makes the plans of its tasks.
    pub maker: Maker,
    /// The plan that it was made by.
    plan: Plan,
    launcher: Arc<Launcher>,
    /// Its way out, if it has one.
    outlet: Option<Arc<Outlet>>,
    /// What its tasks are forked of: it lives until this sandbox has ended.
    zygote: Mutex<Option<Arc<Zygote>>>,
    created: Created,
    /// Until its end: an ended sandbox that is remembered holds no descriptor.
    line: Mutex<Option<Arc<Line>>>,
    /// Records and spools.
    folder: PathBuf,
    tasks: Mutex<BTreeMap<u32, Arc<Task>>>,
    next: AtomicU32,
    /// Tasks that the init was asked for and has not answered.
    asked: Mutex<HashMap<u32, oneshot::Sender<Started>>>,
    /// Starts that may be asked for again.
    starts: Starts,
    /// Volumes that the init was asked to place, in that order.
    placing: Mutex<VecDeque<oneshot::Sender<i32>>>,
    /// The word with which its init will answer that it was taken over; until then it
    /// answers the manager that died.
    awaited: Mutex<Option<u64>>,
    /// Quotas of volumes that were attached since it was made.
    bounded: Mutex<Vec<VolumeQuota>>,
    phase: watch::Sender<Phase>,
    /// Held while it is frozen or thawed.
    turning: tokio::sync::Mutex<()>,
    /// The last task that was noted.
    noted: watch::Sender<u32>,
    used: Mutex<SystemTime>,
    /// What its cgroups had counted when the last task was judged.
    judged: Mutex<GroupUsageFacts>,
    events: Events,
    metrics: Arc<Metrics>,
    history: History,
}

/// What a manager holds of a live sandbox's init.
#[derive(Debug)]
struct Line {
    init: Init,
    pidfd: OwnedFd,
}

/// What a sandbox is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Taking tasks.
    Running,
    /// Standing still.
    Frozen,
    /// Gone, and why.
    Ended(Box<Verdict>, SystemTime),
}

/// What an init answers to a request for a task.
#[derive(Debug)]
enum Started {
    Running(Box<TaskFacts>, Option<OwnedFd>),
    Failed(TaskFailure),
}

/// How a task shall go on without its caller.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Whatever becomes of its caller.
    pub detached: bool,
    /// How long it waits for its caller to come back.
    pub linger: Duration,
    /// The engine's name for its query.
    pub query: String,
    /// It has no input.
    pub no_input: bool,
    /// The word under which its caller may ask for it again.
    pub asked: Option<Asked>,
    /// No other follows in its sandbox.
    pub last: bool,
    /// Its streams, where they are somebody else's: this manager hears none of them.
    pub given: Option<Arc<[OwnedFd; 3]>>,
}

/// What of a sandbox a manager holds when it has made it, or taken it over.
#[derive(Debug)]
pub struct Parts {
    pub meta: Meta,
    pub maker: Maker,
    pub plan: Plan,
    pub launcher: Arc<Launcher>,
    pub held: Held,
    /// Its way out, if it has one.
    pub outlet: Option<Arc<Outlet>>,
    /// What its tasks are forked of, where there is such.
    pub zygote: Option<Arc<Zygote>>,
    /// Of one that an earlier manager froze: the word that its init was asked with.
    pub frozen: Option<u64>,
    pub folder: PathBuf,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    pub history: History,
}

impl Sandbox {
    /// Takes a sandbox into service.
    ///
    /// # Errors
    /// When its socket cannot be waited for.
    pub fn start(parts: Parts) -> Result<Arc<Self>, Fault> {
        let Held {
            created,
            init,
            pidfd,
            egress: _,
        } = parts.held;
        let voice = rustix::io::fcntl_dupfd_cloexec(init.as_fd(), 3)
            .map_err(std::io::Error::from)
            .and_then(|fd| crate::ready::watch(fd, Interest::READABLE))
            .map_err(|error| Fault::internal("listen to an init", &error))?;
        let sandbox = Arc::new(Self {
            used: Mutex::new(parts.meta.created),
            meta: parts.meta,
            maker: parts.maker,
            plan: parts.plan,
            launcher: parts.launcher,
            outlet: parts.outlet,
            zygote: Mutex::new(parts.zygote),
            created,
            line: Mutex::new(Some(Arc::new(Line { init, pidfd }))),
            folder: parts.folder,
            tasks: Mutex::new(BTreeMap::new()),
            next: AtomicU32::new(1),
            asked: Mutex::new(HashMap::new()),
            starts: Starts::default(),
            placing: Mutex::new(VecDeque::new()),
            bounded: Mutex::default(),
            awaited: Mutex::new(parts.frozen),
            phase: watch::Sender::new(match parts.frozen {
                Some(_) => Phase::Frozen,
                None => Phase::Running,
            }),
            turning: tokio::sync::Mutex::default(),
            noted: watch::Sender::new(0),
            judged: Mutex::new(GroupUsageFacts::default()),
            events: parts.events,
            metrics: parts.metrics,
            history: parts.history,
        });
        tokio::spawn(Arc::clone(&sandbox).listen(voice));
        Ok(sandbox)
    }

    /// Its identifier.
    pub fn id(&self) -> &str {
        &self.meta.id
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Follows what it is doing.
    pub fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Its way out, if rules let anything leave it.
    pub fn outlet(&self) -> Option<&Arc<Outlet>> {
        self.outlet.as_ref()
    }

    /// Where its records and spools are.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Whether a start was asked for before, and answered.
    pub fn answered(&self, asked: Option<&Asked>) -> bool {
        asked.is_some_and(|asked| self.starts.answered(asked))
    }

    /// Of one that ends with its task: waits until it has, when the task has.
    pub async fn over_with_its_task(&self) {
        if !self.meta.once {
            return;
        }
        let mut phase = self.follow();
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(..)));
        if ended.await.is_err() {
            // It is gone.
        }
    }

    /// Where its story is written down.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Its init's process id; `None` once it ended.
    pub fn pid(&self) -> Option<u32> {
        let line = self.line().ok()?;
        lakekeep_sys::process::pid_of(line.pidfd.as_fd())
            .ok()
            .flatten()
    }

    /// When its last task started or ended.
    pub fn last_used(&self) -> SystemTime {
        *lock(&self.used)
    }

    /// Its tasks, in order.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        lock(&self.tasks).values().cloned().collect()
    }

    /// Whether a task runs.
    pub fn is_busy(&self) -> bool {
        let tasks = lock(&self.tasks);
        tasks.values().any(|task| task.ended().is_none()) || !lock(&self.asked).is_empty()
    }

    /// A task by number; 0: the last.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn task(&self, number: u32) -> Result<Arc<Task>, Fault> {
        let tasks = lock(&self.tasks);
        let found = match number {
            0 => tasks.values().next_back(),
            number => tasks.get(&number),
        };
        found.cloned().ok_or_else(|| {
            let id = &self.meta.id;
            Fault::new(
                Reason::NotFound,
                format!("sandbox {id} has no task {number}; `lakekeep inspect {id}` lists them"),
            )
        })
    }

    /// Sends a signal to a task's command; 9 ends the whole task.
    ///
    /// # Errors
    /// When the init is gone.
    pub fn signal(&self, task: u32, signal: i32) -> Result<(), Fault> {
        let line = self.line()?;
        let sent = line.init.send(&InitRequest::Signal { task, signal }, &[]);
        sent.map_err(|error| unsent("signal a task", &error))
    }

    /// What it uses now.
    ///
    /// # Errors
    /// Of the launcher.
    pub async fn usage(&self) -> Result<GroupUsageFacts, Fault> {
        let id = self.meta.id.clone();
        Ok(self
            .launcher
            .ask("usage", move |service| service.usage(&id))
            .await?)
    }

    /// The limits that it was made with.
    pub fn created(&self) -> &Created {
        &self.created
    }

    /// What was enforced for it, without a task.
    ///
    /// # Errors
    /// When this process's own namespaces cannot be read.
    pub fn receipt(&self) -> Result<lakekeep_sandbox::Receipt, Fault> {
        let mut receipt = service::receipt_of(&self.plan, &self.created, None)?;
        self.tell_quotas(&mut receipt);
        Ok(receipt)
    }

    /// Ends it with everything in it, and returns when nothing is left.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub async fn kill(&self, verdict: Verdict) -> Result<(), Fault> {
        match self.ends(verdict) {
            true => self.remove().await,
            false => Ok(()),
        }
    }

    /// Has its launcher remove all that it was; then what its tasks were forked of may go.
    async fn remove(&self) -> Result<(), Fault> {
        let id = self.meta.id.clone();
        let destroyed = self
            .launcher
            .ask("destroy", move |service| service.destroy(&id));
        let destroyed = destroyed.await;
        drop(lock(&self.zygote).take());
        match destroyed {
            // Its launcher ended first, and it with it: the next one sweeps what is left.
            Ok(_) | Err(SandboxError::SandboxEnded) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes its end, once: the first reason stands.
    fn ends(&self, verdict: Verdict) -> bool {
        let explanation = verdict.explanation.clone();
        let first = self.phase.send_if_modified(|phase| {
            if matches!(phase, Phase::Ended(..)) {
                return false;
            }
            *phase = Phase::Ended(Box::new(verdict.clone()), SystemTime::now());
            true
        });
        if first {
            if let Some(outlet) = &self.outlet {
                outlet.close();
            }
            for task in self.tasks() {
                self.lost(&task, &verdict);
            }
            lock(&self.asked).clear();
            lock(&self.placing).clear();
            self.metrics.sandboxes.ended(metrics::verdict(verdict.kind));
            let used = self.last_used();
            self.history.ended(self.id(), &verdict, used);
            *lock(&self.line) = None;
            self.events.tell(&self.meta, 0, What::Ended, &explanation);
        }
        first
    }

    fn lost(&self, task: &Task, verdict: &Verdict) {
        if task.ended().is_some() {
            return;
        }
        let text = serde_json::json!({ "sandbox": self.meta.id, "verdict": verdict });
        let ended = Ended {
            exit_code: verdict.exit_code,
            outcome: text.to_string(),
            verdict: text["verdict"].to_string(),
            receipt: String::new(),
            at: SystemTime::now(),
        };
        self.end_task(task, ended, verdict);
    }

    /// The outcome of a task is known.
    fn end_task(&self, task: &Task, ended: Ended, verdict: &Verdict) {
        if let Some(outlet) = &self.outlet {
            drop(outlet.forget(task.number));
        }
        self.metrics.tasks.ended(metrics::verdict(verdict.kind));
        let lost = verdict.kind == VerdictKind::Lost;
        self.history.task(self.id(), task, &ended, lost);
        task.end(ended);
    }

    /// Its init's line, until its end.
    fn line(&self) -> Result<Arc<Line>, Fault> {
        let line = lock(&self.line).clone();
        line.ok_or_else(|| match self.phase() {
            Phase::Ended(verdict, _) => self.has_ended(&verdict),
            _ => Fault::new(Reason::Ended, "the sandbox is ending"),
        })
    }

    fn check_running(&self) -> Result<(), Fault> {
        match self.phase() {
            Phase::Running => Ok(()),
            Phase::Frozen => Err(Fault::new(
                Reason::Frozen,
                format!(
                    "sandbox {0} is frozen; thaw it first: lakekeep thaw {0}",
                    self.meta.id
                ),
            )),
            Phase::Ended(verdict, _) => Err(self.has_ended(&verdict)),
        }
    }

    fn has_ended(&self, verdict: &Verdict) -> Fault {
        let (id, why) = (&self.meta.id, &verdict.explanation);
        Fault::new(
            Reason::Ended,
            format!("sandbox {id} has ended ({why}); make another"),
        )
    }

    /// Leaves the init's socket with the launcher, and before it what a successor needs beside
    /// the record: from here on the sandbox outlives this manager, if it is one that does.
    ///
    /// # Errors
    /// Of the launcher.
    pub async fn keep_init(&self) -> Result<(), Fault> {
        if !self.meta.survives() {
            return Ok(());
        }
        let line = self.line()?;
        let copied = rustix::io::fcntl_dupfd_cloexec(line.init.as_fd(), 3);
        let copy = copied.map_err(|errno| Fault::internal("dup", &errno))?;
        let variables = variables::seal(self.maker.policy().env())?;
        let id = self.meta.id.clone();
        let done = self.launcher.ask("keep", move |service| {
            if let Some(variables) = &variables {
                service.keep(&id, variables::SLOT, &[variables.as_fd()])?;
            }
            service.keep(&id, INIT_SLOT, &[copy.as_fd()])
        });
        Ok(done.await?)
    }

    /// Has what arrives at these sockets carried out, and leaves them with the launcher for a
    /// successor. Nothing leaves before.
    ///
    /// # Errors
    /// Of the launcher and the relay.
    pub async fn let_out(&self, sockets: [OwnedFd; 2]) -> Result<(), Fault> {
        let Some(outlet) = &self.outlet else {
            return Ok(());
        };
        let sockets = Arc::new(sockets);
        let both = sockets.each_ref();
        let kept = self.keep_in(EGRESS_SLOT.to_owned(), &both);
        let (kept, opened) = tokio::join!(kept, outlet.open(Arc::clone(&sockets)));
        kept.and(opened)
    }

    async fn forget(&self, slot: String) {
        if !self.meta.survives() {
            return;
        }
        let id = self.meta.id.clone();
        let done = self
            .launcher
            .ask("forget", move |service| service.forget(&id, &slot));
        if done.await.is_err() {
            // The sandbox is gone, and what was kept for it.
        }
    }
}

/// Why an init was not asked: most often, it died meanwhile, and this is sooner to know than
/// its watcher.
fn unsent(what: &str, error: &ProtocolError) -> Fault {
    match error {
        ProtocolError::Socket {
            errno: Errno::PIPE | Errno::CONNRESET,
            ..
        } => Fault::new(Reason::Ended, "the sandbox has just ended; make another"),
        other => Fault::internal(what, other),
    }
}

fn ended(outcome: &Outcome) -> Ended {
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    Ended {
        exit_code: outcome.verdict.exit_code,
        outcome: text(serde_json::to_string(outcome)),
        verdict: text(serde_json::to_string(&outcome.verdict)),
        receipt: text(serde_json::to_string(&outcome.receipt)),
        at: SystemTime::now(),
    }
}

/// Locks plain data, in which nothing is half done when somebody panics.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
