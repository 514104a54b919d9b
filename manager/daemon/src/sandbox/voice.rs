//! What an init says, and the end of its tasks.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts};
use lakekeep_protocol::task::Exited;
use lakekeep_protocol::{InitReply, InitRequest, ProtocolError};
use lakekeep_sandbox::{Kind as VerdictKind, Outcome, Verdict, service};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::start::slot;
use super::{Phase, SIGKILL, Sandbox, Started, ended, lock};
use crate::events::What;
use crate::fault::Fault;
use crate::task::Task;

/// Why an init is heard no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    #[error("the sandbox was ended")]
    Ended,
    #[error("its end of the socket is closed: it or its launcher died")]
    Closed,
    #[error("its socket cannot be watched: {0}")]
    Watch(io::Error),
    #[error("poll: {0}")]
    Poll(#[from] Errno),
    #[error("what it says cannot be believed: {0}")]
    Receive(#[from] ProtocolError),
}

impl Sandbox {
    /// Hears its init until it ends.
    pub(super) async fn listen(self: Arc<Self>, voice: AsyncFd<OwnedFd>) {
        let silence = loop {
            let mut ready = match voice.readable().await {
                Ok(ready) => ready,
                Err(error) => break Silence::Watch(error),
            };
            match self.hear_all() {
                Ok(()) => ready.clear_ready(),
                Err(silence) => break silence,
            }
        };
        let id = self.id();
        match silence {
            Silence::Ended => tracing::debug!("sandbox {id}: its init is heard no more: {silence}"),
            _ => tracing::warn!("sandbox {id}: its init is heard no more: {silence}"),
        }
        let lost = self.ends(Verdict::of_sandbox(
            VerdictKind::Lost,
            "the sandbox was lost: its init or its launcher ended".to_owned(),
            "start it again; `lakekeep audit query` tells what the host did",
        ));
        if lost && self.remove().await.is_err() {
            // Its launcher is gone too, and the next one has swept; or it will.
        }
    }

    /// Hears all that is there. `Err`: there will be no more.
    pub(super) fn hear_all(self: &Arc<Self>) -> Result<(), Silence> {
        let line = self.line().map_err(|_| Silence::Ended)?;
        loop {
            if !crate::ready::readable(line.init.as_fd())? {
                return Ok(());
            }
            match line.init.receive()? {
                Some((reply, descriptors)) => self.hear(reply, descriptors),
                None => return Err(Silence::Closed),
            }
        }
    }

    pub(super) fn hear(self: &Arc<Self>, reply: InitReply, mut descriptors: Vec<OwnedFd>) {
        if self.is_for_another(&reply) {
            return;
        }
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
            InitReply::Placed { errno } => {
                let waiting = lock(&self.placing).pop_front();
                if waiting.is_some_and(|waiting| waiting.send(errno).is_err()) {
                    // Whoever asked has gone; the volume is there all the same.
                }
            }
            InitReply::Tasks { running, ended, .. } => {
                if self.take_over(&running, ended).is_err() {
                    // Its init is gone, which is heard next.
                }
            }
            InitReply::Started | InitReply::Ready { .. } => {}
        }
    }

    pub(super) fn answer(&self, task: u32, started: Started) {
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
                self.end_task(&task, ended(&outcome), &outcome.verdict);
            }
            Err(fault) => {
                let verdict = Verdict::of_sandbox(VerdictKind::Lost, fault.to_string(), "");
                self.lost(&task, &verdict);
            }
        }
        self.forget(slot(number)).await;
        // Of a task whose input nobody ended.
        self.end_input(&task).await;
        let acknowledge = InitRequest::Acknowledge { task: number };
        let line = self.line();
        if line.is_ok_and(|line| line.init.send(&acknowledge, &[]).is_err()) {
            // Its init is gone.
        }
    }

    /// Waits for a task to be noted; `None` when the sandbox ends first.
    pub(super) async fn find_started(&self, number: u32) -> Option<Arc<Task>> {
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

    pub(super) async fn judge(&self, task: &Task, exited: &Exited) -> Result<Outcome, Fault> {
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
        let mut outcome = service::outcome(&end)?;
        if let Some(outlet) = &self.outlet
            && let Some(traffic) = outlet.leave(task.number).await
        {
            service::with_traffic(&mut outcome, traffic);
        }
        self.tell_quotas(&mut outcome.receipt);
        Ok(outcome)
    }
}
