//! What may leave the sandboxes of this manager: which rules hold, the relay that carries it,
//! and what the relay tells.
//!
//! The relay is a process of its own, started by the supervisor and not by this one: it goes
//! on when a manager dies. What it serves is written down with the sandboxes, so the next
//! manager finds both again and brings them together.

mod bound;
mod documents;
mod flows;
mod relay;
mod reload;
mod tally;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_plan::EgressPlan;
use lakekeep_sandbox::Traffic;
use lakekeep_sandbox::service::EGRESS_SLOT;

use crate::fault::Fault;
use crate::launchers::Launcher;
use crate::meta::Meta;
use crate::sandbox::lock;

pub use bound::Bound;
pub use documents::{plan, ruleset};
pub use flows::{FlowSink, Flows};
pub use relay::{Idle, Relay, Sockets};
pub use reload::{catch_up, refresh};
use tally::Tally;

/// The two sockets at which everything arrives that a sandbox of an earlier manager sends.
///
/// # Errors
/// When they were not kept, or the launcher is gone.
pub async fn kept(launcher: &Launcher, id: &str) -> Result<Sockets, Fault> {
    let id = id.to_owned();
    let kept = launcher.ask("retrieve", move |service| {
        service.retrieve(&id, EGRESS_SLOT)
    });
    let kept: Result<[OwnedFd; 2], _> = kept.await?.try_into();
    let kept = kept.map_err(|_| Fault::new(Reason::Internal, "its ways out were not kept"))?;
    Ok(Arc::new(kept))
}

/// How long the end of a task waits to hear what the relay has told before.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way out of one sandbox.
#[derive(Debug)]
pub struct Outlet {
    whose: Arc<Whose>,
    relay: Relay,
    /// What holds now.
    rules: Mutex<EgressPlan>,
}

/// Of which sandbox a flow is, for whoever keeps its receipt.
#[derive(Debug)]
pub struct Whose {
    /// The sandbox.
    pub sandbox: String,
    /// Who asked for it, as authenticated.
    pub owner: String,
    /// What that user was mapped to.
    pub identity: String,
    /// The profile that it counts against.
    pub profile: String,
    tally: Tally,
}

impl Whose {
    /// Of a sandbox in which nothing runs yet.
    pub fn of(sandbox: &str, owner: &str, identity: &str, profile: &str) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            owner: owner.to_owned(),
            identity: identity.to_owned(),
            profile: profile.to_owned(),
            tally: Tally::default(),
        }
    }

    /// Its only running task and the engine's name for that one's query; `None` when several
    /// run, or none: which of them sent something, nobody can tell.
    pub fn task(&self) -> Option<(u32, String)> {
        self.tally.only()
    }
}

impl Outlet {
    /// For a sandbox with these rules; nobody carries anything yet.
    pub fn new(relay: Relay, meta: &Meta, rules: EgressPlan) -> Arc<Self> {
        Arc::new(Self {
            whose: Arc::new(Whose::of(
                &meta.id,
                &meta.owner,
                &meta.identity.name,
                &meta.profile,
            )),
            relay,
            rules: Mutex::new(rules),
        })
    }

    /// Of which sandbox it is.
    pub fn whose(&self) -> &Arc<Whose> {
        &self.whose
    }

    /// Digest of the rules that hold now.
    pub fn digest(&self) -> String {
        lock(&self.rules).digest.clone()
    }

    /// The rules that hold now.
    pub fn rules(&self) -> EgressPlan {
        lock(&self.rules).clone()
    }

    /// Has the relay carry what arrives at these sockets, and returns when it does.
    ///
    /// # Errors
    /// `Unavailable` when it does not in time; what the relay says of the rules.
    pub async fn open(&self, sockets: Sockets) -> Result<(), Fault> {
        self.relay.serve(&self.whose, self.rules(), sockets).await
    }

    /// The same for a sandbox of an earlier manager, which the relay may be serving already:
    /// nobody waits.
    pub fn open_again(&self, sockets: Sockets) {
        self.relay.take_up(&self.whose, self.rules(), sockets);
    }

    /// Puts other rules in force.
    pub fn update(&self, rules: EgressPlan) {
        lock(&self.rules).clone_from(&rules);
        self.relay.update(&self.whose.sandbox, rules);
    }

    /// Ends all that is carried: the sandbox has ended.
    pub fn close(&self) {
        self.relay.stop(&self.whose.sandbox);
    }

    /// A task is about to start: what is sent from now on may be its.
    pub fn enter(&self, task: u32, query: &str) {
        self.whose.tally.enter(task, query);
    }

    /// What was sent since a task was about to start, once the relay has said all that it
    /// knew; a relay that does not answer is not waited for long.
    pub async fn leave(&self, task: u32) -> Option<Traffic> {
        if tokio::time::timeout(PATIENCE, self.relay.hear_all())
            .await
            .is_err()
        {
            tracing::warn!("the relay does not say what it has carried");
        }
        self.forget(task)
    }

    /// The same, of a task that did not start or was lost.
    pub fn forget(&self, task: u32) -> Option<Traffic> {
        self.whose.tally.leave(task)
    }
}
