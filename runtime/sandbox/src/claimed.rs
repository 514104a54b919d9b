//! A sandbox of a pool that is somebody's: tasks, their ends, its end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakekeep_plan::{Extension, Plan, View};
use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts, TaskFacts};
use lakekeep_protocol::launch::{MAX_TREES, RootfsStep};
use lakekeep_protocol::task::{Exited, TaskFailure};
use lakekeep_protocol::{InitReply, InitRequest};

use crate::egress::{Carriers, Outlet, Traffic};
use crate::error::SandboxError;
use crate::image;
use crate::launcher::readable;
use crate::pool::Keeper;
use crate::service::{self, End, Held};
use crate::task::{Interference, Outcome, Stdio};
use crate::zygote::Zygote;

/// An init that has not been heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// poll(2) takes no more.
const LONGEST_POLL: Duration = Duration::from_secs(1 << 30);

/// signal(7)
const SIGKILL: i32 = 9;

/// A sandbox that is somebody's. Dropped, it is ended with everything in it.
#[derive(Debug)]
pub struct Claimed {
    keeper: Arc<Keeper>,
    /// Lives for as long as a sandbox that it serves.
    zygote: Option<Arc<Zygote>>,
    /// Its init has said that it has started.
    started: bool,
    /// A task is ready; whether it is one of the zygote's.
    ready: Option<bool>,
    plan: Plan,
    held: Held,
    next: u32,
    running: Vec<Running>,
    ended: VecDeque<Exited>,
    /// What of its groups' counts was told with an earlier task.
    judged: GroupUsageFacts,
    /// Its way out, if rules let anything leave it.
    outlet: Option<Outlet>,
    gone: bool,
}

#[derive(Debug)]
struct Running {
    number: u32,
    plan: Plan,
    started: Result<Box<TaskFacts>, TaskFailure>,
    since: Instant,
    interference: Interference,
    /// When its wall time is over; then, when it must have ended.
    due: Option<Instant>,
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

impl Claimed {
    /// One whose init has not been heard of yet.
    pub(crate) fn new(
        (keeper, zygote): (Arc<Keeper>, Option<Arc<Zygote>>),
        plan: Plan,
        mut held: Held,
        carriers: &Arc<Carriers>,
    ) -> Self {
        let sockets = plan.egress.as_ref().zip(held.egress.take());
        let outlet = sockets
            .map(|(egress, sockets)| Outlet::new(&plan.sandbox.id, egress, sockets, carriers));
        Self {
            outlet,
            keeper,
            zygote,
            started: false,
            ready: None,
            plan,
            held,
            next: 1,
            running: Vec::new(),
            ended: VecDeque::new(),
            judged: GroupUsageFacts::default(),
            gone: false,
        }
    }

    /// Hears that its init has started.
    pub(crate) fn begun(mut self) -> Result<Self, SandboxError> {
        match self.hear(PATIENCE)? {
            Some((InitReply::Started, _)) => self.started = true,
            _ => return Err(SandboxError::OutOfTurn { peer: "init" }),
        }
        Ok(self)
    }

    /// Has what may leave it carried, if that is not so: nothing leaves before.
    pub(crate) fn open(&mut self) -> Result<(), SandboxError> {
        self.outlet.as_ref().map_or(Ok(()), Outlet::open)
    }

    /// Its zygote, if it has one that forked no task of it.
    pub(crate) fn missed_zygote(&self) -> Option<&Zygote> {
        self.zygote.as_deref().filter(|_| !self.forked())
    }

    /// Asks for a task to be made ready, which its init does once it has started.
    pub(crate) fn ask_ready(&self) -> Result<(), SandboxError> {
        service::get_ready(&self.held.init, &self.plan)
    }

    /// Whether a task is ready, by what its init has said so far. Does not wait.
    pub(crate) fn hear_ready(&mut self) -> Result<bool, SandboxError> {
        while self.ready.is_none() {
            match self.hear(Duration::ZERO)? {
                Some((reply, _)) => self.note(reply)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

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

    /// Shows a client's environment, read-only and where it was on the client, to all tasks that
    /// start from now on; one that is ready stays so, unless a part lies below a task's own
    /// writable directories (`/tmp`, the home folder). Once for a sandbox, which then serves
    /// whoever's environment it is, and nobody else.
    ///
    /// # Errors
    /// `Part` and `NoPlace` before anything is done; of the launcher, and `Show`: end the
    /// sandbox then, for some of it may be in sight.
    pub fn show(&mut self, view: &View) -> Result<(), SandboxError> {
        image::parts(&self.plan.sandbox.rootfs, &view.replicas)?;
        let extended = self.plan.extend(view);
        let Extension { mut places, mounts } = extended.map_err(SandboxError::NoPlace)?;
        for some in mounts.chunks(MAX_TREES) {
            let mut steps = std::mem::take(&mut places);
            steps.extend_from_slice(some);
            let id = &self.plan.sandbox.id;
            let trees = self.keeper.ask(|service| service.extend(id, steps))?;
            self.mount(some.iter().filter_map(target).collect(), &trees)?;
        }
        Ok(())
    }

    fn mount(&mut self, targets: Vec<String>, trees: &[OwnedFd]) -> Result<(), SandboxError> {
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        let request = InitRequest::Show {
            targets: targets.clone(),
        };
        self.held.init.send(&request, &trees)?;
        loop {
            match self.hear(PATIENCE)? {
                Some((InitReply::Placed { errno: 0 }, _)) => return Ok(()),
                Some((InitReply::Placed { errno }, _)) => {
                    return Err(SandboxError::Show { targets, errno });
                }
                Some((other, _)) => self.note(other)?,
                None => return Err(SandboxError::SandboxEnded),
            }
        }
    }

    /// Starts a task, and returns its number when it has been sealed, read back, and has
    /// begun to run.
    ///
    /// # Errors
    /// Of the sandbox; `Relay` where something may leave and nobody carries it. A command that
    /// cannot be executed is no error here: it is told by the outcome of the task.
    pub fn spawn(&mut self, job: &Job, stdio: Stdio) -> Result<u32, SandboxError> {
        self.open()?;
        let mut plan = self.plan.clone();
        plan.task.arguments.clone_from(&job.arguments);
        plan.task.environment.extend_from_slice(&job.environment);
        if let Some(folder) = &job.working_directory {
            plan.task.working_directory.clone_from(folder);
        }
        let number = self.next;
        self.next += 1;
        let since = Instant::now();
        if let Some(outlet) = &self.outlet {
            outlet.enter(number);
        }
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
        let wall_time = plan.wall_time.filter(|_| started.is_ok());
        self.running.push(Running {
            number,
            started,
            since,
            interference: Interference::default(),
            due: wall_time.and_then(|time| since.checked_add(time)),
            plan,
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
        loop {
            if let Some(outcome) = self.outcome(task)? {
                return Ok(outcome);
            }
            let left = self.due().map_or(Duration::MAX, until);
            readable(self.held.init.as_fd(), left.min(LONGEST_POLL))?;
        }
    }

    /// The same for who waits for much else too: the outcome of a task that has ended, and
    /// `None` before. Then ask again when [`Claimed::voice`] is readable, or at
    /// [`Claimed::due`].
    ///
    /// # Errors
    /// As [`Claimed::wait`].
    pub fn outcome(&mut self, task: u32) -> Result<Option<Outcome>, SandboxError> {
        while let Some((reply, _)) = self.hear(Duration::ZERO)? {
            self.note(reply)?;
        }
        self.keep_time()?;
        let index = self.running.iter().position(|known| known.number == task);
        let index = index.ok_or(SandboxError::NoTask { task })?;
        let failed = self
            .running
            .get(index)
            .is_some_and(|it| it.started.is_err());
        let ended = self.ended.iter().position(|exited| exited.task == task);
        let exited = ended.and_then(|ended| self.ended.remove(ended));
        if exited.is_none() && !failed {
            return Ok(None);
        }
        let running = self.running.swap_remove(index);
        self.judge(&running, exited).map(Some)
    }

    /// Readable when an end may have come.
    #[must_use]
    pub fn voice(&self) -> BorrowedFd<'_> {
        self.held.init.as_fd()
    }

    /// When the next task's wall time is over.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.running.iter().filter_map(|running| running.due).min()
    }

    /// Ends what has had its time.
    fn keep_time(&mut self) -> Result<(), SandboxError> {
        let now = Instant::now();
        let late = |running: &Running| running.due.is_some_and(|due| due <= now);
        for index in 0..self.running.len() {
            let Some(running) = self.running.get_mut(index).filter(|it| late(it)) else {
                continue;
            };
            if running.interference.timed_out {
                return Err(SandboxError::SandboxEnded);
            }
            running.interference.timed_out = true;
            running.due = now.checked_add(PATIENCE);
            let number = running.number;
            self.signal(number, SIGKILL)?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        running: &Running,
        exited: Option<Exited>,
    ) -> Result<Outcome, SandboxError> {
        let wall = running.since.elapsed();
        let outlet = self.outlet.as_ref();
        let traffic = outlet.map(|outlet| outlet.leave(running.number));
        let (facts, exited) = match (&running.started, exited) {
            (Ok(facts), Some(exited)) => (facts, exited),
            (Ok(_), None) => return Err(SandboxError::SandboxEnded),
            (Err(failure), _) => {
                return service::failed_outcome(&running.plan, &self.held.created, failure);
            }
        };
        let acknowledge = InitRequest::Acknowledge {
            task: running.number,
        };
        self.held.init.send(&acknowledge, &[])?;
        let group = self.counted(&exited)?;
        let mut outcome = service::outcome(&End {
            plan: &running.plan,
            created: &self.held.created,
            facts,
            exited: &exited,
            group: &group,
            interference: running.interference,
            wall,
        })?;
        if let Some(traffic) = traffic {
            service::with_traffic(&mut outcome, traffic);
        }
        Ok(outcome)
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
        self.ask_ready()?;
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

    /// The same, and all that left it, without receipts: also flows that ended after their
    /// tasks. `None` where nothing may leave.
    ///
    /// # Errors
    /// As [`Claimed::end`].
    pub fn end_with_traffic(mut self) -> Result<(GroupUsageFacts, Option<Traffic>), SandboxError> {
        let outlet = self.outlet.take();
        let usage = self.end()?;
        Ok((usage, outlet.map(|outlet| outlet.close())))
    }

    /// Keeps what is said before it is asked for.
    fn note(&mut self, reply: InitReply) -> Result<(), SandboxError> {
        match reply {
            InitReply::Started if !self.started => self.started = true,
            InitReply::Exited(exited) => self.ended.push_back(exited),
            InitReply::Ready { forked } => self.ready = Some(forked),
            _ => return Err(SandboxError::OutOfTurn { peer: "init" }),
        }
        Ok(())
    }

    /// Whether its init has not ended.
    pub(crate) fn lives(&self) -> Result<bool, SandboxError> {
        Ok(!readable(self.held.pidfd.as_fd(), Duration::ZERO)?)
    }

    /// The init's next word; `None` when `patience` is over.
    fn hear(&self, patience: Duration) -> Result<Option<(InitReply, Vec<OwnedFd>)>, SandboxError> {
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

fn target(step: &RootfsStep) -> Option<String> {
    match step {
        RootfsStep::Bind { target, .. } => Some(target.clone()),
        _ => None,
    }
}

/// How long it is until then.
fn until(due: Instant) -> Duration {
    due.saturating_duration_since(Instant::now())
}
