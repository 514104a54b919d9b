//! Starting tasks, and taking up those that another manager started.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use lakekeep_api::Reason;
use lakekeep_plan::Plan;
use lakekeep_protocol::InitRequest;
use lakekeep_protocol::facts::TaskFacts;
use lakekeep_protocol::task::TaskFailure;
use lakekeep_sandbox::service;
use rustix::pipe::PipeFlags;
use tokio::sync::{Notify, oneshot};

use super::{Claim, Manner, SIGKILL, Sandbox, Started, ended, lock, unsent};
use crate::events::What;
use crate::fault::Fault;
use crate::maker::{Request, without_environment};
use crate::metrics::{self, Stage};
use crate::task::{Files, Record, Sources, Streams, Task};

/// How long an init may take to start a task.
const PATIENCE: Duration = Duration::from_secs(60);

impl Sandbox {
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
        match self.starts.claim(manner.asked.clone())? {
            Claim::Before(number) => self.task(number),
            Claim::New(starting) => {
                let task = self.exec_new(request, manner).await?;
                starting.done(task.number);
                Ok(task)
            }
        }
    }

    async fn exec_new(
        self: &Arc<Self>,
        request: &Request,
        manner: &Manner,
    ) -> Result<Arc<Task>, Fault> {
        self.check_running()?;
        let metrics = &self.metrics;
        let plan = metrics.stage(Stage::TaskPlan, async { self.maker.plan(request) });
        let plan = plan.await?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(outlet) = &self.outlet {
            outlet.enter(number, &manner.query);
        }
        let begun = self.begin(number, &plan, manner).await;
        if let (Err(_), Some(outlet)) = (&begun, &self.outlet) {
            drop(outlet.forget(number));
        }
        begun
    }

    async fn begin(
        self: &Arc<Self>,
        number: u32,
        plan: &Plan,
        manner: &Manner,
    ) -> Result<Arc<Task>, Fault> {
        let metrics = &self.metrics;
        let files = Files::new(&self.folder, number);
        let (given, ours) = pipes(plan, manner)?;
        // Both at once: a manager that dies in between leaves a task without a record, which
        // its successor ends.
        let kept = async {
            match &ours {
                Some(ours) => self.keep(number, ours).await,
                None => Ok(()),
            }
        };
        let kept = metrics.stage(Stage::KeepStreams, kept);
        let started = self.ask(number, plan, given, !manner.last);
        let started = metrics.stage(Stage::TaskStart, started);
        let (kept, started) = tokio::join!(kept, started);
        let started = started?;
        if let Err(fault) = kept {
            // Nobody could take it up later.
            if matches!(started, Started::Running(..)) && self.signal(number, SIGKILL).is_err() {
                // Its init is gone, and it with it.
            }
            return Err(fault);
        }
        *lock(&self.used) = SystemTime::now();
        let (facts, controller) = match started {
            Started::Running(facts, controller) => (*facts, controller),
            Started::Failed(failure) => {
                return self
                    .not_started(number, plan, &failure, ours.is_some())
                    .await;
            }
        };
        let record = Record {
            plan: without_environment(plan),
            facts,
            started: SystemTime::now(),
            detached: manner.detached,
            linger: manner.linger,
            query: manner.query.clone(),
            asked: manner.asked.clone(),
        };
        let noted = self.note(record, controller, ours, &files);
        let noted = metrics.stage(Stage::TaskNote, noted).await;
        if noted.is_err() {
            // Nobody could hear it or end it.
            self.signal(number, SIGKILL)?;
        }
        noted
    }

    /// Writes a started task down and takes up its streams.
    pub(super) async fn note(
        self: &Arc<Self>,
        record: Record,
        controller: Option<OwnedFd>,
        ours: Option<Streams>,
        files: &Files,
    ) -> Result<Arc<Task>, Fault> {
        let number = files.number();
        self.write_record(&record, files)?;
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

    /// For a successor, before anybody is told of the task. Where there will be none, only
    /// for whoever asks later what was lost: nobody waits for that.
    fn write_record(&self, record: &Record, files: &Files) -> Result<(), Fault> {
        if self.meta.survives() {
            let written = files.write_record(record);
            return written.map_err(|error| Fault::internal("write a task's record", &error));
        }
        let (mut record, files) = (record.clone(), files.clone());
        tokio::task::spawn_blocking(move || {
            // Who tells of it needs none.
            record.plan.task.filter = Vec::new();
            if files.write_record(&record).is_err() {
                // Its sandbox has ended meanwhile, or the disk is full: then its own spools
                // will say so.
            }
        });
        Ok(())
    }

    /// Gives no new task of an adopted sandbox the number of one that it had: what that one
    /// printed and was given is still there.
    pub fn recall_numbers(&self) {
        if let Some(last) = Files::numbers(&self.folder).last() {
            self.next.fetch_max(last + 1, Ordering::Relaxed);
        }
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
        if let Some(asked) = &record.asked {
            self.starts.restore(asked, number);
        }
        let (id, slot) = (self.meta.id.clone(), slot(number));
        let kept = self
            .launcher
            .ask("retrieve", move |service| service.retrieve(&id, &slot))
            .await?;
        let (id, slot) = (self.meta.id.clone(), input_slot(number));
        let input = self
            .launcher
            .ask("retrieve", move |service| service.retrieve(&id, &slot))
            .await;
        // None where it had ended.
        let input = input.ok().and_then(|mut kept| kept.pop());
        let streams = streams(kept, input, &record)?;
        if let Some(outlet) = &self.outlet {
            outlet.enter(number, &record.query);
        }
        self.attend(number, record, streams, &files)
    }

    pub(super) fn attend(
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
        self.metrics.tasks.started(metrics::kind(self.meta.kind));
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
    pub(super) async fn bound(&self, task: &Arc<Task>, sources: Sources) {
        let over_limit = Arc::new(Notify::new());
        // Goes on whatever ends this: a spool is closed when nothing follows, not before.
        let (carrier, told) = (Arc::clone(task), Arc::clone(&over_limit));
        let spooled = self.metrics.output.clone();
        let carried = tokio::spawn(async move { carrier.carry(sources, &told, &spooled).await });
        let output = async {
            tokio::select! {
                biased;
                () = over_limit.notified() => task.interfere(|with| with.too_much_output = true),
                carried = carried => {
                    // Else what it prints can be kept no longer: it must not go on unheard.
                    if let Ok(Ok(())) = carried {
                        std::future::pending().await
                    }
                }
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
        self.thawed().await;
        if self.signal(task.number, SIGKILL).is_err() {
            // The init is gone, and the task with it.
        }
        std::future::pending().await
    }

    /// Has its init get a task ready, for whoever asks for the first.
    pub fn get_ready(&self) {
        let line = self.line();
        let asked = line.map(|line| service::get_ready(&line.init, &self.plan));
        if !matches!(asked, Ok(Ok(()))) {
            // It has ended, which whoever uses it is told.
        }
    }

    pub(super) async fn ask(
        &self,
        number: u32,
        plan: &Plan,
        given: Vec<OwnedFd>,
        again: bool,
    ) -> Result<Started, Fault> {
        let line = self.line()?;
        let (answer, waiting) = oneshot::channel();
        lock(&self.asked).insert(number, answer);
        let request = InitRequest::Spawn {
            task: number,
            again,
            spec: Box::new(plan.task.clone()),
        };
        let descriptors: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        if let Err(error) = line.init.send(&request, &descriptors) {
            lock(&self.asked).remove(&number);
            return Err(unsent("ask an init for a task", &error));
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
    pub(super) async fn keep(&self, number: u32, streams: &Streams) -> Result<(), Fault> {
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

    pub(super) async fn keep_in(
        &self,
        slot: String,
        descriptors: &[&OwnedFd],
    ) -> Result<(), Fault> {
        if !self.meta.survives() {
            return Ok(());
        }
        let copy = |fd: &&OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let copies: Result<Vec<OwnedFd>, _> = descriptors.iter().map(copy).collect();
        let copies = copies.map_err(|errno| Fault::internal("dup", &errno))?;
        let id = self.meta.id.clone();
        let done = self.launcher.ask("keep", move |service| {
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

    pub(super) async fn not_started(
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
            asked: None,
        };
        let streams = unheard()?;
        let made = Task::new(number, record, streams, &Files::new(&self.folder, number));
        let (task, _) = made.map_err(|error| Fault::internal("open a spool", &error))?;
        task.stdout.close();
        task.stderr.close();
        self.end_task(&task, ended(&outcome), &outcome.verdict);
        lock(&self.tasks).insert(number, Arc::clone(&task));
        self.events.tell(
            &self.meta,
            number,
            What::Exited,
            &outcome.verdict.explanation,
        );
        Ok(task)
    }
}

pub(super) fn slot(task: u32) -> String {
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
    if let Some(given) = &manner.given {
        let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let copies: Result<Vec<OwnedFd>, _> = given.iter().map(copy).collect();
        let copies = copies.map_err(|errno| Fault::internal("dup", &errno))?;
        return Ok((copies, Some(unheard()?)));
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

/// Streams that have ended.
fn unheard() -> Result<Streams, Fault> {
    let ended = || {
        let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        made.map(|(read, _)| read)
            .map_err(|errno| Fault::internal("make a pipe", &errno))
    };
    Ok(Streams::Pipes {
        input: None,
        output: ended()?,
        errors: ended()?,
    })
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
