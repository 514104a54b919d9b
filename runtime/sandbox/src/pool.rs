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
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_plan::{HostFacts, Plan};
use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts, TaskFacts};
use lakekeep_protocol::task::{Exited, TaskFailure};
use lakekeep_protocol::{InitReply, InitRequest};

use crate::error::SandboxError;
use crate::launcher::{Launcher, readable};
use crate::planning::identifier;
use crate::service::{self, End, Held, Service};
use crate::task::{Interference, Outcome, Stdio};

/// An init that has not been heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// signal(7)
const SIGKILL: i32 = 9;

/// Sandboxes of one plan, made ahead. Dropped, it ends those that nobody claimed.
#[derive(Debug)]
pub struct Pool {
    keeper: Arc<Keeper>,
    plan: Plan,
    size: usize,
    ready: VecDeque<Claimed>,
}

/// A launcher. It ends when no sandbox of it is left. One that is killed takes its
/// sandboxes with it; what it leaves, the next launcher's start sweeps.
#[derive(Debug)]
struct Keeper {
    /// Absent only while it is dropped: its end is what tells the launcher to end.
    service: Mutex<Option<Service>>,
    launcher: Child,
}

/// A sandbox that is somebody's. Dropped, it is ended with everything in it.
#[derive(Debug)]
pub struct Claimed {
    keeper: Arc<Keeper>,
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
    fn ask<T>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = || SandboxError::LauncherEnded {
            words: String::new(),
        };
        work(service.as_ref().ok_or_else(ended)?)
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
        let (socket, child) = Launcher::start_service(host)?;
        plan.allow_ready();
        Ok(Self {
            keeper: Arc::new(Keeper {
                service: Mutex::new(Some(Service::over(socket))),
                launcher: child,
            }),
            plan,
            size,
            ready: VecDeque::new(),
        })
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
    /// Of the step that failed.
    pub fn refill(&mut self) -> Result<bool, SandboxError> {
        if self.ready.len() >= self.size {
            return Ok(false);
        }
        let mut made = self.make()?;
        made.make_ready()?;
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

    fn make(&self) -> Result<Claimed, SandboxError> {
        let mut plan = self.plan.clone();
        plan.rename(&identifier().map_err(SandboxError::kernel("getrandom"))?);
        let held = self.keeper.ask(|service| service.create(&plan))?;
        let made = Claimed {
            keeper: Arc::clone(&self.keeper),
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
        loop {
            match self.hear(PATIENCE)? {
                Some((InitReply::Ready, _)) => return Ok(()),
                Some((other, _)) => self.note(other)?,
                None => return Err(SandboxError::SandboxEnded),
            }
        }
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
            InitReply::Ready => {}
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
