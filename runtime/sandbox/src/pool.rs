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
use std::io::Read;
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, PoisonError};

use lakekeep_plan::{HostFacts, Plan, ZygotePlan};

use crate::claimed::Claimed;
use crate::error::SandboxError;
use crate::launcher::Launcher;
use crate::planning::identifier;
use crate::service::Service;
use crate::zygote::Zygotes;

/// Most of a launcher's last words that are kept, bytes.
const WORDS: u64 = 4096;

/// Sandboxes of one plan, made ahead. Dropped, it ends those that nobody claimed.
#[derive(Debug)]
pub struct Pool {
    keeper: Arc<Keeper>,
    plan: Plan,
    size: usize,
    ready: VecDeque<Claimed>,
    zygotes: Option<Zygotes>,
}

/// A launcher. It ends when no sandbox of it is left. One that is killed takes its
/// sandboxes with it; what it leaves, the next launcher's start sweeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Absent only while it is dropped: its end is what tells the launcher to end.
    service: Mutex<Option<Service>>,
    /// What it says before it ends by itself.
    words: Mutex<Option<ChildStderr>>,
    launcher: Child,
}

impl Keeper {
    pub fn ask<T>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = || SandboxError::LauncherEnded {
            words: String::new(),
        };
        match work(service.as_ref().ok_or_else(ended)?) {
            Err(SandboxError::LauncherEnded { .. }) => Err(SandboxError::LauncherEnded {
                words: self.last_words(),
            }),
            other => other,
        }
    }

    /// Of a launcher that has closed its socket.
    fn last_words(&self) -> String {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = Vec::new();
        let read = words
            .take()
            .map(|words| words.take(WORDS).read_to_end(&mut said));
        match read {
            Some(Err(error)) => format!("(its last words cannot be read: {error})"),
            _ => String::from_utf8_lossy(&said).into_owned(),
        }
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
        let (socket, mut child) = Launcher::start_service(host)?;
        plan.allow_ready();
        Ok(Self {
            keeper: Arc::new(Keeper {
                service: Mutex::new(Some(Service::over(socket))),
                words: Mutex::new(child.stderr.take()),
                launcher: child,
            }),
            plan,
            size,
            ready: VecDeque::new(),
            zygotes: None,
        })
    }

    /// The same, where tasks that are ready are forked from a zygote: an interpreter that
    /// has made its imports. Other tasks are executed, with the same seal.
    ///
    /// # Errors
    /// As [`Pool::start`]; of a zygote [`Pool::refill`] tells.
    pub fn start_with_zygote(
        host: &HostFacts,
        plan: Plan,
        size: usize,
        zygote: ZygotePlan,
    ) -> Result<Self, SandboxError> {
        let mut pool = Self::start(host, plan, size)?;
        pool.zygotes = Some(Zygotes::new(zygote));
        Ok(pool)
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
    /// Of the step that failed; `Zygote` when the pool has one that does not serve.
    pub fn refill(&mut self) -> Result<bool, SandboxError> {
        if self.ready.len() >= self.size {
            return Ok(false);
        }
        let mut made = self.make()?;
        made.make_ready()?;
        if let Some(words) = made.missed_zygote() {
            if let Some(zygotes) = &mut self.zygotes {
                zygotes.discard();
            }
            return Err(SandboxError::Zygote { words });
        }
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

    fn make(&mut self) -> Result<Claimed, SandboxError> {
        let mut plan = self.plan.clone();
        plan.rename(&identifier().map_err(SandboxError::kernel("getrandom"))?);
        let keeper = &self.keeper;
        let zygote = self.zygotes.as_mut();
        let zygote = zygote.map(|zygotes| zygotes.serve(keeper, &mut plan));
        let zygote = zygote.transpose()?;
        let created = keeper.ask(|service| service.create(&plan));
        let held = match created {
            Ok(held) => held,
            Err(error) => {
                // Were it to blame, the next one would not be.
                if let Some(zygotes) = &mut self.zygotes {
                    zygotes.discard();
                }
                let said = zygote.and_then(|zygote| zygote.words());
                return Err(said.map_or(error, |words| SandboxError::Zygote { words }));
            }
        };
        Claimed::begin(Arc::clone(&self.keeper), zygote, plan, held)
    }
}
