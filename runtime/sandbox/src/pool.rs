//! Sandboxes made ahead, in the caller's own process: what an engine needs that has its
//! users' identities and keeps no manager. Blocking, and without a thread of its own.
//!
//! ```no_run
//! use lakekeep_sandbox::{Job, Pool, Stdio};
//! # fn f(facts: &lakekeep_plan::HostFacts, plan: lakekeep_plan::Plan) -> Result<(), lakekeep_sandbox::SandboxError> {
//! let mut pool = Pool::start(facts, plan, 4)?;
//! while pool.refill()? {}
//! let mut sandbox = pool.claim()?;
//! let task = sandbox.spawn(&Job::new(["/usr/bin/id"]), Stdio::null().unwrap())?;
//! let outcome = sandbox.wait(task)?;
//! sandbox.end()?;
//! println!("{:?}", outcome.verdict);
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_plan::{HostFacts, Plan, ZygotePlan};
use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts, TaskFacts};
use lakekeep_protocol::task::{Exited, TaskFailure};
use lakekeep_protocol::{InitReply, InitRequest};

use crate::error::SandboxError;
use crate::launcher::{Launcher, readable};
use crate::planning::identifier;
use crate::service::{self, End, Held, Service};
use crate::task::{Interference, Outcome, Stdio};
use crate::zygote::{Zygote, Zygotes};

/// An init that has not been heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// signal(7)
const SIGKILL: i32 = 9;

/// Most of a launcher's last words that are kept, bytes.
const WORDS: u64 = 4096;

/// Sandboxes of one plan, made ahead. Dropped, it ends those that nobody claimed.
#[derive(Debug)]
pub struct Pool {
    keeper: Arc<Keeper>,
    plan: Plan,
    size: usize,
    ready: VecDeque<Claimed>,
    zygotes: Option<Zygotes>,
}

/// A launcher. It ends when no sandbox of it is left. One that is killed takes its
/// sandboxes with it; what it leaves, the next launcher's start sweeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Absent only while it is dropped: its end is what tells the launcher to end.
    service: Mutex<Option<Service>>,
    /// What it says before it ends by itself.
    words: Mutex<Option<ChildStderr>>,
    launcher: Child,
}

/// A sandbox that is somebody's. Dropped, it is ended with everything in it.
#[derive(Debug)]
pub struct Claimed {
    keeper: Arc<Keeper>,
    /// Lives for as long as a sandbox that it serves.
    zygote: Option<Arc<Zygote>>,
    /// A task is ready; whether it is one of the zygote's.
    ready: Option<bool>,
    plan: Plan,
    held: Held,
    next: u32,
    running: Vec<Running>,
    ended: VecDeque<Exited>,
    /// What of its groups' counts was told with an earlier task.
    judged: GroupUsageFacts,
    gone: bool,
}

#[derive(Debug)]
struct Running {
    number: u32,
    plan: Plan,
    started: Result<Box<TaskFacts>, TaskFailure>,
    since: Instant,
}

/// What a task executes.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The program and its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// `NAME=value`, after those of the plan.
    pub environment: Vec<Vec<u8>>,
    /// Absolute, inside; `None`: the plan's.
    pub working_directory: Option<String>,
    /// Nothing follows in this sandbox: no other task is made ready.
    pub last: bool,
}

impl Job {
    /// A command, and nothing else.
    pub fn new<W: Into<Vec<u8>>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            arguments: words.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl Keeper {
    pub fn ask<T>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = || SandboxError::LauncherEnded {
            words: String::new(),
        };
        match work(service.as_ref().ok_or_else(ended)?) {
            Err(SandboxError::LauncherEnded { .. }) => Err(SandboxError::LauncherEnded {
                words: self.last_words(),
            }),
            other => other,
        }
    }

    /// Of a launcher that has closed its socket.
    fn last_words(&self) -> String {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = Vec::new();
        let read = words
            .take()
            .map(|words| words.take(WORDS).read_to_end(&mut said));
        match read {
            Some(Err(error)) => format!("(its last words cannot be read: {error})"),
            _ => String::from_utf8_lossy(&said).into_owned(),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let service = self.service.get_mut();
        *service.unwrap_or_else(PoisonError::into_inner) = None;
        if self.launcher.wait().is_err() {
            // It was waited for already.
        }
    }
}

impl Pool {
    /// Starts a launcher for `size` sandboxes of this plan. None is made yet.
    ///
    /// # Errors
    /// `NoLauncher`; of starting it.
    pub fn start(host: &HostFacts, mut plan: Plan, size: usize) -> Result<Self, SandboxError> {
        let (socket, mut child) = Launcher::start_service(host)?;
        plan.allow_ready();
        Ok(Self {
            keeper: Arc::new(Keeper {
                service: Mutex::new(Some(Service::over(socket))),
                words: Mutex::new(child.stderr.take()),
                launcher: child,
            }),
            plan,
            size,
            ready: VecDeque::new(),
            zygotes: None,
        })
    }

    /// The same, where tasks that are ready are forked from a zygote: an interpreter that
    /// has made its imports. Other tasks are executed, with the same seal.
    ///
    /// # Errors
    /// As [`Pool::start`]; of a zygote [`Pool::refill`] tells.
    pub fn start_with_zygote(
        host: &HostFacts,
        plan: Plan,
        size: usize,
        zygote: ZygotePlan,
    ) -> Result<Self, SandboxError> {
        let mut pool = Self::start(host, plan, size)?;
        pool.zygotes = Some(Zygotes::new(zygote));
        Ok(pool)
    }

    /// How many are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Makes one that is lacking, with a task that is ready; `false` when none is lacking.
    /// For times when nobody waits.
    ///
    /// # Errors
    /// Of the step that failed; `Zygote` when the pool has one that does not serve.
    pub fn refill(&mut self) -> Result<bool, SandboxError> {
        if self.ready.len() >= self.size {
            return Ok(false);
        }
        let mut made = self.make()?;
        made.make_ready()?;
        if let Some(zygote) = made.zygote.as_ref().filter(|_| !made.forked()) {
            let words = zygote.words().unwrap_or_default();
            if let Some(zygotes) = &mut self.zygotes {
                zygotes.discard();
            }
            return Err(SandboxError::Zygote { words });
        }
        self.ready.push_back(made);
        Ok(true)
    }

    /// One that is ready; or one that is made now.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn claim(&mut self) -> Result<Claimed, SandboxError> {
        while let Some(found) = self.ready.pop_front() {
            if found.lives()? {
                return Ok(found);
            }
        }
        self.make()
    }

    fn make(&mut self) -> Result<Claimed, SandboxError> {
        let mut plan = self.plan.clone();
        plan.rename(&identifier().map_err(SandboxError::kernel("getrandom"))?);
        let keeper = &self.keeper;
        let zygote = self.zygotes.as_mut();
        let zygote = zygote.map(|zygotes| zygotes.serve(keeper, &mut plan));
        let zygote = zygote.transpose()?;
        let created = keeper.ask(|service| service.create(&plan));
        let held = match created {
            Ok(held) => held,
            Err(error) => {
                // Were it to blame, the next one would not be.
                if let Some(zygotes) = &mut self.zygotes {
                    zygotes.discard();
                }
                let said = zygote.and_then(|zygote| zygote.words());
                return Err(said.map_or(error, |words| SandboxError::Zygote { words }));
            }
        };
        let made = Claimed {
            keeper: Arc::clone(&self.keeper),
            zygote,
            ready: None,
            plan,
            held,
            next: 1,
            running: Vec::new(),
            ended: VecDeque::new(),
            judged: GroupUsageFacts::default(),
            gone: false,
        };
        match made.hear(PATIENCE)? {
            Some((InitReply::Started, _)) => Ok(made),
            _ => Err(SandboxError::OutOfTurn { peer: "init" }),
        }
    }
}

impl Claimed {
    /// The sandbox's identifier, which is also the name of its cgroup.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.plan.sandbox.id
    }

    /// The init's process id, as this process sees it; `None` once it ended.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn pid(&self) -> Result<Option<u32>, SandboxError> {
        let pidfd = self.held.pidfd.as_fd();
        lakekeep_sys::process::pid_of(pidfd).map_err(SandboxError::kernel("fdinfo"))
    }

    /// Whether a task is ready that was forked from the pool's zygote.
    #[must_use]
    pub fn forked(&self) -> bool {
        self.ready == Some(true)
    }

    /// Starts a task, and returns its number when it has been sealed, read back, and has
    /// begun to run.
    ///
    /// # Errors
    /// Of the sandbox. A command that cannot be executed is no error here: it is told by
    /// the outcome of the task.
    pub fn spawn(&mut self, job: &Job, stdio: Stdio) -> Result<u32, SandboxError> {
        let mut plan = self.plan.clone();
        plan.task.arguments.clone_from(&job.arguments);
        plan.task.environment.extend_from_slice(&job.environment);
        if let Some(folder) = &job.working_directory {
            plan.task.working_directory.clone_from(folder);
        }
        let number = self.next;
        self.next += 1;
        let since = Instant::now();
        let request = InitRequest::Spawn {
            task: number,
            again: !job.last,
            spec: Box::new(plan.task.clone()),
        };
        self.held.init.send(&request, &stdio.descriptors())?;
        self.ready = None;
        // The task has its copies; ours would keep its pipes from ending.
        drop(stdio);
        let started = self.started()?;
        self.running.push(Running {
            number,
            plan,
            started,
            since,
        });
        Ok(number)
    }

    fn started(&mut self) -> Result<Result<Box<TaskFacts>, TaskFailure>, SandboxError> {
        loop {
            match self.hear(PATIENCE)? {
                Some((InitReply::Spawned { facts, .. }, _)) => return Ok(Ok(facts)),
                Some((InitReply::SpawnFailed { failure, .. }, _)) => return Ok(Err(failure)),
                Some((other, _)) => self.note(other)?,
                None => return Err(SandboxError::SandboxEnded),
            }
        }
    }

    /// Waits for the end of a task, at most for the policy's wall time, and judges it. Its
    /// output is the caller's to read and to bound.
    ///
    /// # Errors
    /// `SandboxEnded`; `NoTask` for a number that no running task has.
    pub fn wait(&mut self, task: u32) -> Result<Outcome, SandboxError> {
        let found = self.running.iter().position(|known| known.number == task);
        let running = found.map(|index| self.running.swap_remove(index));
        let running = running.ok_or(SandboxError::NoTask { task })?;
        let facts = match &running.started {
            Ok(facts) => facts,
            Err(failure) => {
                return service::failed_outcome(&running.plan, &self.held.created, failure);
            }
        };
        let (exited, interference) = self.end_of(&running)?;
        let wall = running.since.elapsed();
        let acknowledge = InitRequest::Acknowledge { task };
        self.held.init.send(&acknowledge, &[])?;
        let group = self.counted(&exited)?;
        service::outcome(&End {
            plan: &running.plan,
            created: &self.held.created,
            facts,
            exited: &exited,
            group: &group,
            interference,
            wall,
        })
    }

    fn end_of(&mut self, running: &Running) -> Result<(Exited, Interference), SandboxError> {
        let limit = running.plan.wall_time.unwrap_or(Duration::MAX);
        let mut interference = Interference::default();
        loop {
            let it = |exited: &Exited| exited.task == running.number;
            let index = self.ended.iter().position(it);
            if let Some(exited) = index.and_then(|index| self.ended.remove(index)) {
                return Ok((exited, interference));
            }
            let left = match interference.timed_out {
                true => PATIENCE,
                false => limit.saturating_sub(running.since.elapsed()),
            };
            match self.hear(left)? {
                Some((reply, _)) => self.note(reply)?,
                None if interference.timed_out => return Err(SandboxError::SandboxEnded),
                None => {
                    self.signal(running.number, SIGKILL)?;
                    interference.timed_out = true;
                }
            }
        }
    }

    /// What the groups counted since the last task that was judged, where it matters.
    fn counted(&mut self, exited: &Exited) -> Result<GroupUsageFacts, SandboxError> {
        if exited.ended == EndFacts::Exited(0) {
            return Ok(GroupUsageFacts::default());
        }
        let id = &self.plan.sandbox.id;
        let now = self.keeper.ask(|service| service.usage(id))?;
        let group = GroupUsageFacts {
            oom_kills: now.oom_kills.saturating_sub(self.judged.oom_kills),
            pids_refused: now.pids_refused.saturating_sub(self.judged.pids_refused),
            ..now.clone()
        };
        self.judged = now;
        Ok(group)
    }

    /// Sends a signal (signal(7)) to a task's command; 9 ends the whole task.
    ///
    /// # Errors
    /// When the sandbox is gone.
    pub fn signal(&self, task: u32, signal: i32) -> Result<(), SandboxError> {
        let request = InitRequest::Signal { task, signal };
        Ok(self.held.init.send(&request, &[])?)
    }

    /// Has a task made ready for the next [`Claimed::spawn`], and returns when it is.
    ///
    /// # Errors
    /// As [`Claimed::settle`].
    pub fn make_ready(&mut self) -> Result<(), SandboxError> {
        service::get_ready(&self.held.init, &self.plan)?;
        self.settle()
    }

    /// Returns when a task is ready for the next [`Claimed::spawn`], which has been asked
    /// for: by whoever parked it, or by a job that was not the last.
    ///
    /// # Errors
    /// `SandboxEnded`, also when it does not get ready.
    pub fn settle(&mut self) -> Result<(), SandboxError> {
        while self.ready.is_none() {
            match self.hear(PATIENCE)? {
                Some((other, _)) => self.note(other)?,
                None => return Err(SandboxError::SandboxEnded),
            }
        }
        Ok(())
    }

    /// Ends it with everything in it, and says what it used.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn end(mut self) -> Result<GroupUsageFacts, SandboxError> {
        self.gone = true;
        let id = &self.plan.sandbox.id;
        self.keeper.ask(|service| service.destroy(id))
    }

    /// Keeps what is said before it is asked for.
    fn note(&mut self, reply: InitReply) -> Result<(), SandboxError> {
        match reply {
            InitReply::Exited(exited) => self.ended.push_back(exited),
            InitReply::Ready { forked } => self.ready = Some(forked),
            _ => return Err(SandboxError::OutOfTurn { peer: "init" }),
        }
        Ok(())
    }

    /// Whether its init has not ended.
    fn lives(&self) -> Result<bool, SandboxError> {
        Ok(!readable(self.held.pidfd.as_fd(), Duration::ZERO)?)
    }

    /// The init's next word; `None` when `patience` is over.
    fn hear(&self, patience: Duration) -> Result<Option<(InitReply, Vec<OwnedFd>)>, SandboxError> {
        // poll(2) takes no more than that.
        let patience = patience.min(Duration::from_secs(1 << 30));
        if !readable(self.held.init.as_fd(), patience)? {
            return Ok(None);
        }
        let heard = self.held.init.receive()?;
        heard.map(Some).ok_or(SandboxError::SandboxEnded)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let id = &self.plan.sandbox.id;
        if !self.gone && self.keeper.ask(|service| service.destroy(id)).is_err() {
            // Its launcher has ended, and it with it.
        }
    }
}
