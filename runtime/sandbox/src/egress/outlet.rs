//! What leaves one sandbox of a pool.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_plan::EgressPlan;
use lakekeep_protocol::relay::{FlowReceipt, RuleDocument};

use super::carrier::{Carrier, Carriers, lock};
use super::{PATIENCE, Traffic};
use crate::error::SandboxError;

/// How long the end of a task waits to hear what the relay has told before.
const SOON: Duration = Duration::from_secs(1);

/// A relay that died a moment ago is not known to be dead: another is asked once.
const TRIES: u32 = 2;

/// The way out of one sandbox. Dropped, it is closed; the sandbox should have ended before.
#[derive(Debug)]
pub(crate) struct Outlet {
    sandbox: String,
    rules: Vec<RuleDocument>,
    /// Kept for another relay, where the one that serves them dies.
    sockets: [OwnedFd; 2],
    carriers: Arc<Carriers>,
    /// Which of them serves it.
    by: Option<Arc<Carrier>>,
    tally: Arc<Tally>,
}

/// What one sandbox sent: all of it, and while each of its tasks ran. A flow is of the sandbox:
/// where several tasks run it counts for each of them.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Without receipts: a sandbox may live for long.
    all: Traffic,
    tasks: BTreeMap<u32, Traffic>,
}

impl Outlet {
    /// Of a sandbox that nobody serves yet, at whose two sockets arrives what it sends.
    pub fn new(
        sandbox: &str,
        egress: &EgressPlan,
        sockets: [OwnedFd; 2],
        carriers: &Arc<Carriers>,
    ) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            rules: egress.documents(),
            sockets,
            carriers: Arc::clone(carriers),
            by: None,
            tally: Arc::default(),
        }
    }

    /// Has a relay serve it that lives, if none does. Nothing leaves before.
    ///
    /// # Errors
    /// `Relay`; of starting one.
    pub fn open(&mut self) -> Result<(), SandboxError> {
        if self.by.as_ref().is_some_and(|carrier| carrier.lives()) {
            return Ok(());
        }
        for _ in 0..TRIES {
            let carrier = self.carriers.current()?;
            let sockets = self.sockets.each_ref().map(AsFd::as_fd);
            let what = (self.sandbox.as_str(), self.rules.as_slice());
            let serves = carrier.serve(what, sockets, &self.tally)?;
            self.by = Some(carrier);
            if serves {
                return Ok(());
            }
        }
        Err(SandboxError::Relay {
            reason: self.last_words(),
        })
    }

    /// A task is about to start: what is sent from now on may be its.
    pub fn enter(&self, task: u32) {
        lock(&self.tally.0).tasks.insert(task, Traffic::default());
    }

    /// What was sent since a task was about to start, as far as the relay has told it by now.
    /// A flow that ends later counts with those that run then.
    pub fn leave(&self, task: u32) -> Traffic {
        if let Some(carrier) = &self.by {
            carrier.hear_all(SOON);
        }
        let traffic = lock(&self.tally.0).tasks.remove(&task);
        self.explained(traffic.unwrap_or_default())
    }

    /// Has it served no longer, once the sandbox has ended, and tells all that it sent, without
    /// receipts.
    pub fn close(&self) -> Traffic {
        if let Some(carrier) = &self.by {
            carrier.stop(&self.sandbox, Some(PATIENCE));
        }
        let traffic = std::mem::take(&mut lock(&self.tally.0).all);
        self.explained(traffic)
    }

    /// With what the relay said before it ended, where it did.
    fn explained(&self, mut traffic: Traffic) -> Traffic {
        if traffic.lost.is_some() {
            traffic.lost = Some(format!("the relay ended{}", self.last_words()));
        }
        traffic
    }

    fn last_words(&self) -> String {
        let dead = self.by.as_ref().filter(|carrier| !carrier.lives());
        dead.map_or_else(String::new, |carrier| format!(": {}", carrier.last_words()))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(carrier) = &self.by {
            carrier.stop(&self.sandbox, None);
        }
    }
}

impl Tally {
    /// A flow has ended, or was refused.
    pub fn note(&self, receipt: &FlowReceipt) {
        let mut counts = lock(&self.0);
        counts.all.count(receipt);
        for traffic in counts.tasks.values_mut() {
            traffic.note(receipt.clone());
        }
    }

    /// What is known is not all: the relay has ended.
    pub fn lose(&self) {
        let mut counts = lock(&self.0);
        let counts = &mut *counts;
        for traffic in counts.tasks.values_mut().chain([&mut counts.all]) {
            traffic.lost.get_or_insert_with(String::new);
        }
    }
}
