//! A live sandbox: its init's voice, its tasks, its end.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lakekeep_api::Reason;
use lakekeep_plan::Plan;
use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts, TaskFacts};
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::{Exited, TaskFailure};
use lakekeep_protocol::{InitReply, InitRequest};
use lakekeep_sandbox::service::{self, Held, INIT_SLOT, Init};
use lakekeep_sandbox::{Kind as VerdictKind, Outcome, Verdict};
use rustix::pipe::PipeFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::events::{Events, What};
use crate::fault::Fault;
use crate::launchers::Launcher;
use crate::maker::{Maker, Request, without_environment};
use crate::meta::Meta;
use crate::spool::Filled;
use crate::task::{Ended, Files, Record, Streams, Task};

/// How long an init may take to start a task.
const PATIENCE: Duration = Duration::from_secs(60);

const SIGKILL: i32 = 9;

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
    created: Created,
    init: Init,
    pidfd: OwnedFd,
    /// Records and spools.
    folder: PathBuf,
    tasks: Mutex<BTreeMap<u32, Arc<Task>>>,
    next: AtomicU32,
    /// Tasks that the init was asked for and has not answered.
    asked: Mutex<HashMap<u32, oneshot::Sender<Started>>>,
    phase: watch::Sender<Phase>,
    /// The last task that was noted.
    noted: watch::Sender<u32>,
    used: Mutex<SystemTime>,
    /// What its cgroups had counted when the last task was judged.
    judged: Mutex<GroupUsageFacts>,
    events: Events,
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
}

/// What of a sandbox a manager holds when it has made it, or taken it over.
#[derive(Debug)]
pub struct Parts {
    pub meta: Meta,
    pub maker: Maker,
    pub plan: Plan,
    pub launcher: Arc<Launcher>,
    pub held: Held,
    pub folder: PathBuf,
    pub events: Events,
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
            created,
            init,
            pidfd,
            folder: parts.folder,
            tasks: Mutex::new(BTreeMap::new()),
            next: AtomicU32::new(1),
            asked: Mutex::new(HashMap::new()),
            phase: watch::Sender::new(Phase::Running),
            noted: watch::Sender::new(0),
            judged: Mutex::new(GroupUsageFacts::default()),
            events: parts.events,
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

    /// The launcher that made it.
    pub fn launcher(&self) -> &Arc<Launcher> {
        &self.launcher
    }

    /// Where its records and spools are.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Its init's process id; `None` once it ended.
    pub fn pid(&self) -> Option<u32> {
        lakekeep_sys::process::pid_of(self.pidfd.as_fd())
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

    /// Starts a task.
    ///
    /// # Errors
    /// `Ended` and `Frozen`; of the plan; of the init. A command that cannot be executed
    /// is no error: its task has ended.
    pub async fn exec(
        self: &Arc<Self>,
        request: &Request,
        manner: &Manner,
    ) -> Result<Arc<Task>, Fault> {
        self.check_running()?;
        let plan = self.maker.plan(request)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let files = Files::new(&self.folder, number);
        let (given, ours) = pipes(&plan, manner)?;
        if let Some(ours) = &ours {
            // Before the task is: a manager that dies next leaves no task deaf.
            self.keep(number, ours).await?;
        }
        let started = self.ask(number, &plan, given).await?;
        *lock(&self.used) = SystemTime::now();
        let (facts, controller) = match started {
            Started::Running(facts, controller) => (*facts, controller),
            Started::Failed(failure) => {
                return self
                    .not_started(number, &plan, &failure, ours.is_some())
                    .await;
            }
        };
        let record = Record {
            plan: without_environment(&plan),
            facts,
            started: SystemTime::now(),
            detached: manner.detached,
            linger: manner.linger,
            query: manner.query.clone(),
        };
        let noted = self.note(record, controller, ours, &files).await;
        if noted.is_err() {
            // Nobody could hear it or end it.
            self.signal(number, SIGKILL)?;
        }
        noted
    }

    /// Writes a started task down and takes up its streams.
    async fn note(
        self: &Arc<Self>,
        record: Record,
        controller: Option<OwnedFd>,
        ours: Option<Streams>,
        files: &Files,
    ) -> Result<Arc<Task>, Fault> {
        let number = files.number();
        let written = files.write_record(&record);
        written.map_err(|error| Fault::internal("write a task's record", &error))?;
        let streams = match (controller, ours) {
            (None, Some(ours)) => ours,
            (Some(controller), None) => {
                let streams = Streams::Terminal(controller);
                self.keep(number, &streams).await?;
                streams
            }
            _ => {
                return Err(Fault::new(
                    Reason::Internal,
                    "the init answered out of turn",
                ));
            }
        };
        self.attend(number, record, streams, files)
    }

    /// Takes a running task up, as another manager left it.
    ///
    /// # Errors
    /// When its record or its streams are gone.
    pub async fn adopt(self: &Arc<Self>, number: u32) -> Result<Arc<Task>, Fault> {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
        let files = Files::new(&self.folder, number);
        let record = files.read_record();
        let record = record.map_err(|error| Fault::internal("read a task's record", &error))?;
        let (id, slot) = (self.meta.id.clone(), slot(number));
        let kept = self
            .launcher
            .ask(move |service| service.retrieve(&id, &slot))
            .await?;
        let (id, slot) = (self.meta.id.clone(), input_slot(number));
        let input = self
            .launcher
            .ask(move |service| service.retrieve(&id, &slot))
            .await;
        // None where it had ended.
        let input = input.ok().and_then(|mut kept| kept.pop());
        let streams = streams(kept, input, &record)?;
        self.attend(number, record, streams, &files)
    }

    fn attend(
        self: &Arc<Self>,
        number: u32,
        record: Record,
        streams: Streams,
        files: &Files,
    ) -> Result<Arc<Task>, Fault> {
        let made = Task::new(number, record, streams, files);
        let (task, sources) = made.map_err(|error| Fault::internal("open a spool", &error))?;
        lock(&self.tasks).insert(number, Arc::clone(&task));
        self.noted.send_replace(number);
        self.events
            .tell(&self.meta, number, What::Started, &task.program());
        let (this, attended) = (Arc::clone(self), Arc::clone(&task));
        tokio::spawn(async move {
            tokio::select! {
                () = this.bound(&attended, sources) => {}
                _ = attended.wait() => {}
            }
        });
        Ok(task)
    }

    /// Holds a task to its limits while it runs.
    async fn bound(&self, task: &Arc<Task>, sources: crate::task::Sources) {
        let output = async {
            match task.carry(sources).await {
                Ok(Filled::ToTheEnd) => std::future::pending().await,
                Ok(Filled::OverLimit) => task.interfere(|with| with.too_much_output = true),
                // What it prints can be kept no longer: it must not go on unheard.
                Err(_) => {}
            }
        };
        let time = async {
            match task.record.plan.wall_time {
                Some(limit) => {
                    let gone = task.record.started.elapsed().unwrap_or_default();
                    tokio::time::sleep(limit.saturating_sub(gone)).await;
                    task.interfere(|with| with.timed_out = true);
                }
                None => std::future::pending().await,
            }
        };
        let caller = async {
            match task.record.detached {
                true => std::future::pending().await,
                false => task.abandoned().await,
            }
        };
        tokio::select! {
            () = output => {}
            () = time => {}
            () = caller => {}
        }
        if self.signal(task.number, SIGKILL).is_err() {
            // The init is gone, and the task with it.
        }
        std::future::pending().await
    }

    /// Sends a signal to a task's command; 9 ends the whole task.
    ///
    /// # Errors
    /// When the init is gone.
    pub fn signal(&self, task: u32, signal: i32) -> Result<(), Fault> {
        let sent = self.init.send(&InitRequest::Signal { task, signal }, &[]);
        sent.map_err(|error| Fault::internal("signal a task", &error))
    }

    /// What it uses now.
    ///
    /// # Errors
    /// Of the launcher.
    pub async fn usage(&self) -> Result<GroupUsageFacts, Fault> {
        let id = self.meta.id.clone();
        Ok(self.launcher.ask(move |service| service.usage(&id)).await?)
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
        Ok(service::receipt_of(&self.plan, &self.created, None)?)
    }

    /// Stops all its processes where they are, or lets them go on.
    ///
    /// # Errors
    /// `Ended`; of the launcher.
    pub async fn freeze(&self, frozen: bool) -> Result<(), Fault> {
        if let Phase::Ended(verdict, _) = self.phase() {
            return Err(self.has_ended(&verdict));
        }
        let id = self.meta.id.clone();
        let done = self
            .launcher
            .ask(move |service| service.freeze(&id, frozen));
        done.await?;
        let (phase, what) = match frozen {
            true => (Phase::Frozen, What::Frozen),
            false => (Phase::Running, What::Thawed),
        };
        self.phase.send_if_modified(|now| {
            let lives = !matches!(now, Phase::Ended(..));
            if lives {
                *now = phase;
            }
            lives
        });
        self.events.tell(&self.meta, 0, what, "");
        Ok(())
    }

    /// Ends it with everything in it, and returns when nothing is left.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub async fn kill(&self, verdict: Verdict) -> Result<(), Fault> {
        if !self.ends(verdict) {
            return Ok(());
        }
        let id = self.meta.id.clone();
        self.launcher
            .ask(move |service| service.destroy(&id))
            .await?;
        Ok(())
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
            for task in self.tasks() {
                self.lost(&task, &verdict);
            }
            lock(&self.asked).clear();
            self.events.tell(&self.meta, 0, What::Ended, &explanation);
        }
        first
    }

    fn lost(&self, task: &Task, verdict: &Verdict) {
        if task.ended().is_some() {
            return;
        }
        let text = serde_json::json!({ "sandbox": self.meta.id, "verdict": verdict });
        task.end(Ended {
            exit_code: verdict.exit_code,
            outcome: text.to_string(),
            verdict: text["verdict"].to_string(),
            receipt: String::new(),
            at: SystemTime::now(),
        });
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

    async fn ask(&self, number: u32, plan: &Plan, given: Vec<OwnedFd>) -> Result<Started, Fault> {
        let (answer, waiting) = oneshot::channel();
        lock(&self.asked).insert(number, answer);
        let request = InitRequest::Spawn {
            task: number,
            spec: Box::new(plan.task.clone()),
        };
        let descriptors: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        if let Err(error) = self.init.send(&request, &descriptors) {
            lock(&self.asked).remove(&number);
            return Err(Fault::internal("ask an init for a task", &error));
        }
        drop(given);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(started)) => Ok(started),
            Ok(Err(_)) => Err(self.check_running().err().unwrap_or_else(|| {
                Fault::new(Reason::Ended, "the sandbox ended before its task started")
            })),
            Err(_) => {
                lock(&self.asked).remove(&number);
                Err(Fault::new(
                    Reason::Unavailable,
                    "the sandbox's init does not answer; kill the sandbox",
                ))
            }
        }
    }

    /// Leaves our ends of a task's streams with the launcher, its input apart: that one
    /// ends while the others go on.
    async fn keep(&self, number: u32, streams: &Streams) -> Result<(), Fault> {
        match streams {
            Streams::Pipes {
                input,
                output,
                errors,
            } => {
                if let Some(input) = input {
                    self.keep_in(input_slot(number), &[input]).await?;
                }
                self.keep_in(slot(number), &[output, errors]).await
            }
            Streams::Terminal(controller) => self.keep_in(slot(number), &[controller]).await,
        }
    }

    async fn keep_in(&self, slot: String, descriptors: &[&OwnedFd]) -> Result<(), Fault> {
        if !self.meta.survives() {
            return Ok(());
        }
        let copy = |fd: &&OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let copies: Result<Vec<OwnedFd>, _> = descriptors.iter().map(copy).collect();
        let copies = copies.map_err(|errno| Fault::internal("dup", &errno))?;
        let id = self.meta.id.clone();
        let done = self.launcher.ask(move |service| {
            let descriptors: Vec<_> = copies.iter().map(AsFd::as_fd).collect();
            service.keep(&id, &slot, &descriptors)
        });
        Ok(done.await?)
    }

    /// A task's input ends here, the kept copy of it too.
    pub async fn end_input(&self, task: &Task) {
        if task.end_input().await {
            self.forget(input_slot(task.number)).await;
        }
    }

    /// Leaves the init's socket with the launcher: from here on the sandbox outlives
    /// this manager, if it is one that does.
    ///
    /// # Errors
    /// Of the launcher.
    pub async fn keep_init(&self) -> Result<(), Fault> {
        if !self.meta.survives() {
            return Ok(());
        }
        let copied = rustix::io::fcntl_dupfd_cloexec(self.init.as_fd(), 3);
        let copy = copied.map_err(|errno| Fault::internal("dup", &errno))?;
        let id = self.meta.id.clone();
        let done = self
            .launcher
            .ask(move |service| service.keep(&id, INIT_SLOT, &[copy.as_fd()]));
        Ok(done.await?)
    }

    async fn not_started(
        self: &Arc<Self>,
        number: u32,
        plan: &Plan,
        failure: &TaskFailure,
        kept: bool,
    ) -> Result<Arc<Task>, Fault> {
        if kept {
            self.forget(slot(number)).await;
            self.forget(input_slot(number)).await;
        }
        let outcome = service::failed_outcome(plan, &self.created, failure)?;
        let record = Record {
            plan: without_environment(plan),
            facts: TaskFacts::default(),
            started: SystemTime::now(),
            detached: true,
            linger: Duration::ZERO,
            query: String::new(),
        };
        let null =
            || -> std::io::Result<OwnedFd> { Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?.0) };
        let failed = |error: std::io::Error| Fault::internal("make a pipe", &error);
        let streams = Streams::Pipes {
            input: None,
            output: null().map_err(failed)?,
            errors: null().map_err(failed)?,
        };
        let made = Task::new(number, record, streams, &Files::new(&self.folder, number));
        let (task, _) = made.map_err(|error| Fault::internal("open a spool", &error))?;
        task.stdout.close();
        task.stderr.close();
        task.end(ended(&outcome));
        lock(&self.tasks).insert(number, Arc::clone(&task));
        self.events.tell(
            &self.meta,
            number,
            What::Exited,
            &outcome.verdict.explanation,
        );
        Ok(task)
    }

    async fn forget(&self, slot: String) {
        if !self.meta.survives() {
            return;
        }
        let id = self.meta.id.clone();
        let done = self.launcher.ask(move |service| service.forget(&id, &slot));
        if done.await.is_err() {
            // The sandbox is gone, and what was kept for it.
        }
    }

    /// Hears its init until it ends.
    async fn listen(self: Arc<Self>, voice: AsyncFd<OwnedFd>) {
        loop {
            let Ok(mut ready) = voice.readable().await else {
                break;
            };
            match self.hear_all() {
                Ok(()) => ready.clear_ready(),
                Err(()) => break,
            }
        }
        self.ends(Verdict::of_sandbox(
            VerdictKind::Lost,
            "the sandbox was lost: its init or its launcher ended".to_owned(),
            "start it again; `lakekeep audit query` tells what the host did",
        ));
    }

    /// Hears all that is there. `Err`: there will be no more.
    fn hear_all(self: &Arc<Self>) -> Result<(), ()> {
        loop {
            if !crate::ready::readable(self.init.as_fd()).map_err(drop)? {
                return Ok(());
            }
            match self.init.receive() {
                Ok(Some((reply, descriptors))) => self.hear(reply, descriptors),
                Ok(None) | Err(_) => return Err(()),
            }
        }
    }

    fn hear(self: &Arc<Self>, reply: InitReply, mut descriptors: Vec<OwnedFd>) {
        match reply {
            InitReply::Spawned { task, facts } => {
                self.answer(task, Started::Running(facts, descriptors.pop()));
            }
            InitReply::SpawnFailed { task, failure } => {
                self.answer(task, Started::Failed(failure));
            }
            InitReply::Exited(exited) => {
                tokio::spawn(Arc::clone(self).exited(exited));
            }
            InitReply::Started | InitReply::Tasks { .. } => {}
        }
    }

    fn answer(&self, task: u32, started: Started) {
        let waiting = lock(&self.asked).remove(&task);
        let unheard = match waiting {
            Some(waiting) => waiting.send(started).is_err(),
            None => true,
        };
        // Nobody waits for it any more: a task that nobody knows must not run.
        if unheard && self.signal(task, SIGKILL).is_err() {
            // Its init is gone, and it with it.
        }
    }

    /// Judges the end of a task.
    pub async fn exited(self: Arc<Self>, exited: Exited) {
        let number = exited.task;
        // The end may be heard before the one who asked for the task has noted it.
        let Some(task) = self.find_started(number).await else {
            return;
        };
        task.over();
        task.drained().await;
        let outcome = self.judge(&task, &exited).await;
        *lock(&self.used) = SystemTime::now();
        match outcome {
            Ok(outcome) => {
                self.events.tell(
                    &self.meta,
                    number,
                    What::Exited,
                    &outcome.verdict.explanation,
                );
                task.end(ended(&outcome));
            }
            Err(fault) => {
                let verdict = Verdict::of_sandbox(VerdictKind::Lost, fault.to_string(), "");
                self.lost(&task, &verdict);
            }
        }
        self.forget(slot(number)).await;
        // Of a task whose input nobody ended.
        self.end_input(&task).await;
        if self
            .init
            .send(&InitRequest::Acknowledge { task: number }, &[])
            .is_err()
        {
            // Its init is gone.
        }
    }

    /// Waits for a task to be noted; `None` when the sandbox ends first.
    async fn find_started(&self, number: u32) -> Option<Arc<Task>> {
        let (mut noted, mut phase) = (self.noted.subscribe(), self.phase.subscribe());
        loop {
            noted.borrow_and_update();
            if let Some(task) = lock(&self.tasks).get(&number).cloned() {
                return Some(task);
            }
            tokio::select! {
                changed = noted.changed() => changed.ok()?,
                _ = phase.wait_for(|phase| matches!(phase, Phase::Ended(..))) => return None,
            }
        }
    }

    async fn judge(&self, task: &Task, exited: &Exited) -> Result<Outcome, Fault> {
        let mut group = GroupUsageFacts::default();
        if exited.ended != EndFacts::Exited(0) {
            // The counters are the sandbox's: what earlier tasks did is not this one's.
            let now = self.usage().await?;
            let mut judged = lock(&self.judged);
            group = GroupUsageFacts {
                oom_kills: now.oom_kills.saturating_sub(judged.oom_kills),
                pids_refused: now.pids_refused.saturating_sub(judged.pids_refused),
                ..now.clone()
            };
            *judged = now;
        }
        let end = service::End {
            plan: &task.record.plan,
            created: &self.created,
            facts: &task.record.facts,
            exited,
            group: &group,
            interference: task.interference(),
            wall: task.record.started.elapsed().unwrap_or_default(),
        };
        Ok(service::outcome(&end)?)
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

fn slot(task: u32) -> String {
    format!("task-{task}")
}

fn input_slot(task: u32) -> String {
    format!("task-{task}-in")
}

/// A task's ends of its pipes, and ours; with a terminal, the init makes it.
fn pipes(plan: &Plan, manner: &Manner) -> Result<(Vec<OwnedFd>, Option<Streams>), Fault> {
    if plan.task.terminal.is_some() {
        return Ok((Vec::new(), None));
    }
    let pipe = || {
        let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        made.map_err(|errno| Fault::internal("make a pipe", &errno))
    };
    let (task_input, input) = pipe()?;
    let (output, task_output) = pipe()?;
    let (errors, task_errors) = pipe()?;
    let ours = Streams::Pipes {
        input: (!manner.no_input).then_some(input),
        output,
        errors,
    };
    Ok((vec![task_input, task_output, task_errors], Some(ours)))
}

/// The reverse of what was kept.
fn streams(kept: Vec<OwnedFd>, input: Option<OwnedFd>, record: &Record) -> Result<Streams, Fault> {
    let gone = || Fault::new(Reason::Internal, "a task's streams were not kept");
    let mut kept = kept.into_iter();
    let first = kept.next().ok_or_else(gone)?;
    if record.plan.task.terminal.is_some() {
        return Ok(Streams::Terminal(first));
    }
    Ok(Streams::Pipes {
        output: first,
        errors: kept.next().ok_or_else(gone)?,
        input,
    })
}

/// Locks plain data, in which nothing is half done when somebody panics.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
