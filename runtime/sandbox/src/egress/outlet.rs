//! What leaves one sandbox of a pool.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
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
    way: Arc<Way>,
    carriers: Arc<Carriers>,
}

/// What a relay is given to serve, and which one does.
#[derive(Debug)]
pub(super) struct Way {
    pub sandbox: String,
    pub rules: Vec<RuleDocument>,
    /// Kept for another relay, where the one that serves them dies.
    pub sockets: [OwnedFd; 2],
    pub tally: Tally,
    served: Mutex<Served>,
}

#[derive(Debug, Default)]
struct Served {
    /// By this relay, which may have died.
    by: Option<Arc<Carrier>>,
    /// Never again: its sandbox is gone.
    over: bool,
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
            way: Arc::new(Way {
                sandbox: sandbox.to_owned(),
                rules: egress.documents(),
                sockets,
                tally: Tally::default(),
                served: Mutex::default(),
            }),
            carriers: Arc::clone(carriers),
        }
    }

    /// Has a relay serve it that lives, if none does. Nothing leaves before.
    ///
    /// # Errors
    /// `Relay`; of starting one.
    pub fn open(&self) -> Result<(), SandboxError> {
        self.way.open(&self.carriers)
    }

    /// A task is about to start: what is sent from now on may be its.
    pub fn enter(&self, task: u32) {
        lock(&self.way.tally.0)
            .tasks
            .insert(task, Traffic::default());
    }

    /// What was sent since a task was about to start, as far as the relay has told it by now.
    /// A flow that ends later counts with those that run then.
    pub fn leave(&self, task: u32) -> Traffic {
        if let Some(carrier) = self.way.carrier() {
            carrier.hear_all(SOON);
        }
        let traffic = lock(&self.way.tally.0).tasks.remove(&task);
        traffic.unwrap_or_default()
    }

    /// Has it served no longer, once the sandbox has ended, and tells all that it sent, without
    /// receipts.
    pub fn close(&self) -> Traffic {
        if let Some(carrier) = self.way.carrier() {
            carrier.stop(&self.way.sandbox, Some(PATIENCE));
        }
        std::mem::take(&mut lock(&self.way.tally.0).all)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut served = lock(&self.way.served);
        served.over = true;
        if let Some(carrier) = &served.by {
            carrier.stop(&self.way.sandbox, None);
        }
    }
}

impl Way {
    /// Has a relay serve it that lives, if none does.
    ///
    /// # Errors
    /// As [`Outlet::open`].
    pub fn open(self: &Arc<Self>, carriers: &Arc<Carriers>) -> Result<(), SandboxError> {
        let mut served = lock(&self.served);
        if served.over || served.by.as_ref().is_some_and(|by| by.lives()) {
            return Ok(());
        }
        let mut reason = String::new();
        for _ in 0..TRIES {
            let carrier = carriers.current()?;
            let serves = carrier.serve(self)?;
            if !serves {
                reason = format!(": {}", carrier.last_words());
            }
            served.by = Some(carrier);
            if serves {
                return Ok(());
            }
        }
        Err(SandboxError::Relay { reason })
    }

    fn carrier(&self) -> Option<Arc<Carrier>> {
        lock(&self.served).by.clone()
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

    /// What is known is not all: the relay has ended, with these words.
    pub fn lose(&self, words: &str) {
        let mut counts = lock(&self.0);
        let counts = &mut *counts;
        for traffic in counts.tasks.values_mut().chain([&mut counts.all]) {
            let lost = || format!("the relay ended: {words}");
            traffic.lost.get_or_insert_with(lost);
        }
    }
}
