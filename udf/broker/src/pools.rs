//! Sandboxes that wait for sessions, by what they are like.

use std::path::PathBuf;
use std::time::Duration;

use lakekeep_plan::{Command, HostFacts, Plan, Preload};
use lakekeep_policy::{Policy, PolicyErrors};
use lakekeep_sandbox::{Claimed, PlanningError, Pool, SandboxError, plan_for, zygote_for};

use lakekeep_udf_packets::{Limits, Open};

use crate::limits::{self, LimitsError};

/// Sandboxes of one kind that are kept ready.
const READY: usize = 2;

/// Kinds of sandboxes that are kept. Beyond, those that were asked for least lately go.
const KINDS: usize = 8;

/// A session without a limit of its own ends after so long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many sandboxes one zygote serves.
const SERVED: u16 = 64;

/// Where programs are looked for, inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why there is no sandbox for a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Of what was asked.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The limits are not to be had.
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
    /// Of the host, or of the interpreter.
    #[error(transparent)]
    Planning(#[from] PlanningError),
    /// Of the sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Sandboxes are alike when they show the same environment and have the same limits. Whose
/// they will be is no part of it: each serves one session.
#[derive(Debug, Clone, PartialEq)]
struct Like {
    interpreter: PathBuf,
    modules: Vec<String>,
    limits: Limits,
}

impl Like {
    fn of(open: &Open) -> Self {
        Self {
            interpreter: open.interpreter.clone(),
            modules: open.modules.clone(),
            limits: open.limits.clone(),
        }
    }
}

#[derive(Debug)]
struct Kind {
    like: Like,
    pool: Pool,
    /// Why its workers are not forked from a zygote.
    warning: Option<String>,
    /// Its last refill failed: the next is a claim's.
    failed: bool,
}

/// All of them; those that were asked for last come last.
#[derive(Debug)]
pub struct Pools {
    host: HostFacts,
    kinds: Vec<Kind>,
}

impl Pools {
    /// None yet.
    pub fn new(host: HostFacts) -> Self {
        Self {
            host,
            kinds: Vec::new(),
        }
    }

    /// A sandbox for this session alone, and what is not as it should be.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn claim(&mut self, open: &Open) -> Result<(Claimed, Option<String>), ClaimError> {
        let like = Like::of(open);
        let kept = self.take(&like).map(|mut kind| {
            let claimed = kind.claim(&self.host);
            (kind, claimed)
        });
        let (kind, claimed) = match kept {
            Some((kind, Ok(claimed))) => (kind, claimed),
            // A pool that fails is most often one whose launcher was killed: another is made.
            Some((_, Err(_))) | None => {
                let mut kind = Kind::start(&self.host, like)?;
                let claimed = kind.claim(&self.host)?;
                (kind, claimed)
            }
        };
        if self.kinds.len() >= KINDS {
            self.kinds.remove(0);
        }
        self.kinds.push(kind);
        Ok(claimed)
    }

    /// What is kept of this kind of sandbox is of no use any more.
    pub fn forget(&mut self, open: &Open) {
        drop(self.take(&Like::of(open)));
    }

    fn take(&mut self, like: &Like) -> Option<Kind> {
        let found = self.kinds.iter().position(|kind| kind.like == *like);
        found.map(|index| self.kinds.remove(index))
    }

    /// Makes one sandbox that is lacking; `false`: none is.
    pub fn refill(&mut self) -> bool {
        for kind in self.kinds.iter_mut().rev().filter(|kind| !kind.failed) {
            match kind.pool.refill() {
                Ok(true) => return true,
                Ok(false) => {}
                // Who claims the next one is told.
                Err(_) => kind.failed = true,
            }
        }
        false
    }
}

impl Kind {
    fn start(host: &HostFacts, like: Like) -> Result<Self, ClaimError> {
        let policy = checked(&like.limits)?;
        let plan = plan(&policy, host, &like)?;
        let preload = Preload {
            interpreter: like.interpreter.display().to_string(),
            modules: like.modules.clone(),
            sandboxes: SERVED,
        };
        let (pool, warning) = match zygote_for(&policy, host, &preload) {
            Ok(zygote) => (Pool::start_with_zygote(host, plan, READY, zygote)?, None),
            Err(error) => {
                let warning = lakekeep_sandbox::chain(&error);
                (Pool::start(host, plan, READY)?, Some(warning))
            }
        };
        Ok(Self {
            like,
            pool,
            warning,
            failed: false,
        })
    }

    fn claim(&mut self, host: &HostFacts) -> Result<(Claimed, Option<String>), ClaimError> {
        self.failed = false;
        if self.pool.ready() == 0 {
            match self.pool.refill() {
                Ok(_) => {}
                Err(error @ SandboxError::Zygote { .. }) => self.go_without_zygote(host, &error)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((self.pool.claim()?, self.warning.clone()))
    }

    /// The worker makes its imports itself, and says what is wrong with them.
    fn go_without_zygote(
        &mut self,
        host: &HostFacts,
        why: &SandboxError,
    ) -> Result<(), ClaimError> {
        let policy = checked(&self.like.limits)?;
        let plan = plan(&policy, host, &self.like)?;
        self.pool = Pool::start(host, plan, READY)?;
        self.warning = Some(lakekeep_sandbox::chain(why));
        Ok(())
    }
}

/// What a session with these limits may do.
fn checked(limits: &Limits) -> Result<Policy, ClaimError> {
    let mut doc = limits::policy(limits)?;
    doc.limits.wall_time.get_or_insert(LONGEST);
    Ok(Policy::check(doc)?)
}

fn plan(policy: &Policy, host: &HostFacts, like: &Like) -> Result<Plan, PlanningError> {
    let command = Command {
        arguments: vec![like.interpreter.display().to_string().into_bytes()],
        path: PATH.to_owned(),
        ..Command::default()
    };
    plan_for(policy, host, &command, Some(&like.interpreter))
}
