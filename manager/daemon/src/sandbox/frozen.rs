//! Sandboxes that stand still, also over the death of their manager.
//!
//! The init stands still with the rest: it answers nothing until the sandbox goes on. So
//! whether one is frozen is kept with its launcher, as a slot of its own, and a manager
//! that takes such a sandbox over asks its init and does not wait. The answer comes when
//! it is thawed, before all others.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakekeep_protocol::launch::HeldSandbox;
use lakekeep_protocol::task::Exited;
use lakekeep_protocol::{InitReply, InitRequest};
use lakekeep_sandbox::service::{Held, Service};
use lakekeep_sandbox::{Kind as VerdictKind, SandboxError, Verdict};

use super::{Phase, SIGKILL, Sandbox, lock};
use crate::events::What;
use crate::fault::Fault;

/// The slot that says that a sandbox is frozen.
const SLOT: &str = "frozen";

/// Whether a sandbox was frozen by an earlier manager.
pub fn is_frozen(found: &HeldSandbox) -> bool {
    found.slots.iter().any(|slot| slot == SLOT)
}

/// Takes over a sandbox that was frozen, and asks its init for its tasks with this word.
///
/// # Errors
/// Of the launcher; when the init is gone.
pub fn adopt(service: &Service, id: &str, nonce: u64) -> Result<Held, SandboxError> {
    let held = service.adopt(id)?;
    // The manager that died may have noted it and not done it.
    service.freeze(id, true)?;
    held.init.send(&InitRequest::List { nonce }, &[])?;
    Ok(held)
}

impl Sandbox {
    /// Stops all its processes where they are, or lets them go on.
    ///
    /// # Errors
    /// `Ended`; of the launcher.
    pub async fn freeze(&self, frozen: bool) -> Result<(), Fault> {
        // Of two callers who want the opposite, one after the other.
        let _turn = self.turning.lock().await;
        match frozen {
            true => self.stop().await?,
            false => self.go_on().await?,
        }
        let what = if frozen { What::Frozen } else { What::Thawed };
        self.events.tell(&self.meta, 0, what, "");
        Ok(())
    }

    /// In this order: nothing more is sent to its init, which would fill a socket that
    /// nobody reads; it is noted, so that no successor waits for an answer; it is done.
    async fn stop(&self) -> Result<(), Fault> {
        if self.turn(Phase::Frozen)? == Phase::Frozen {
            return Ok(());
        }
        let stopped = async {
            let line = self.line()?;
            let mark = rustix::io::fcntl_dupfd_cloexec(line.init.as_fd(), 3);
            let mark = mark.map_err(|errno| Fault::internal("dup", &errno))?;
            self.keep_in(SLOT.to_owned(), &[&mark]).await?;
            self.ask_freezer(true).await
        };
        let stopped = stopped.await;
        if stopped.is_err() {
            self.forget(SLOT.to_owned()).await;
            // It goes on as before, or has ended meanwhile.
            drop(self.turn(Phase::Running));
        }
        stopped
    }

    /// The reverse.
    async fn go_on(&self) -> Result<(), Fault> {
        self.ask_freezer(false).await?;
        if self.phase() == Phase::Frozen {
            self.forget(SLOT.to_owned()).await;
        }
        self.turn(Phase::Running).map(drop)
    }

    async fn ask_freezer(&self, frozen: bool) -> Result<(), Fault> {
        if let Phase::Ended(verdict, _) = self.phase() {
            return Err(self.has_ended(&verdict));
        }
        let id = self.meta.id.clone();
        let done = self
            .launcher
            .ask("freeze", move |service| service.freeze(&id, frozen));
        Ok(done.await?)
    }

    /// Changes what it is doing, and says what it did before.
    fn turn(&self, next: Phase) -> Result<Phase, Fault> {
        let mut before = next.clone();
        self.phase.send_if_modified(|now| {
            before = now.clone();
            let changes = !matches!(now, Phase::Ended(..)) && *now != next;
            if changes {
                *now = next;
            }
            changes
        });
        match before {
            Phase::Ended(verdict, _) => Err(self.has_ended(&verdict)),
            before => Ok(before),
        }
    }

    /// Waits until it goes on, or ends: what is sent before would not be read.
    pub async fn thawed(&self) {
        let mut phase = self.follow();
        if phase.wait_for(|now| *now != Phase::Frozen).await.is_err() {
            // It is gone.
        }
    }

    /// Sends a signal that a caller asks for now.
    ///
    /// # Errors
    /// `Frozen`, `Ended`; when the init is gone.
    pub fn signal_now(&self, task: u32, signal: i32) -> Result<(), Fault> {
        self.check_running()?;
        self.signal(task, signal)
    }

    /// Whether a reply was meant for the manager that died: everything before the answer to
    /// our own question.
    pub(super) fn is_for_another(&self, reply: &InitReply) -> bool {
        let mut awaited = lock(&self.awaited);
        let Some(ours) = *awaited else {
            return false;
        };
        let answers = matches!(reply, InitReply::Tasks { nonce, .. } if *nonce == ours);
        if answers {
            *awaited = None;
        }
        !answers
    }

    /// Holds the tasks that were taken up against those that the init has.
    ///
    /// # Errors
    /// When the init is gone.
    pub fn take_over(
        self: &Arc<Self>,
        running: &[u32],
        ended: impl IntoIterator<Item = Exited>,
    ) -> Result<(), Fault> {
        let ended: Vec<Exited> = ended.into_iter().collect();
        if let Some(last) = running.iter().max() {
            self.next.fetch_max(last + 1, Ordering::Relaxed);
        }
        let taken = self.tasks();
        // Its record was not yet written, or its streams were not yet kept: nobody was told
        // that it started.
        let is_taken = |number: &u32| taken.iter().any(|task| task.number == *number);
        for number in running.iter().filter(|number| !is_taken(number)) {
            self.signal(*number, SIGKILL)?;
        }
        for task in taken {
            let number = task.number;
            if !running.contains(&number) && ended.iter().all(|end| end.task != number) {
                let why = "its end was told to a manager that died".to_owned();
                let verdict = Verdict::of_sandbox(VerdictKind::Lost, why, "start it again");
                self.lost(&task, &verdict);
            }
        }
        for end in ended {
            tokio::spawn(Arc::clone(self).exited(end));
        }
        Ok(())
    }
}
