//! Sandboxes made ahead, in the caller's own process: what an engine needs that has its
//! users' identities and keeps no manager. Blocking, and without a thread of its own; but
//! where something may leave, one that hears the relay which carries it. One relay serves all
//! sandboxes of a pool, each by itself, and ends with the pool. When it dies connections fail at
//! once, and that thread starts another; where it cannot, the next claim or task does.
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
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_plan::{HostFacts, Plan, ZygotePlan};

use crate::claimed::Claimed;
use crate::egress::Carriers;
use crate::error::SandboxError;
use crate::launcher::{Launcher, PATIENCE, readable};
use crate::planning::identifier;
use crate::service::Service;
use crate::zygote::{Said, Zygote, Zygotes};

/// Most of a launcher's last words that are kept, bytes.
const WORDS: u64 = 4096;

/// Sandboxes of one plan, made ahead. Dropped, it ends those that nobody claimed.
#[derive(Debug)]
pub struct Pool {
    keeper: Arc<Keeper>,
    plan: Plan,
    size: usize,
    ready: VecDeque<Claimed>,
    making: Option<Making>,
    /// How long a sandbox may take to get ready: where it needs a new zygote, for its imports.
    patience: Duration,
    zygotes: Option<Zygotes>,
    /// Carry what may leave.
    carriers: Arc<Carriers>,
}

/// A sandbox that is not ready yet.
#[derive(Debug)]
struct Making {
    sandbox: Claimed,
    since: Instant,
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

    /// Why nothing of it lives, where it has ended.
    fn end(&self) -> Option<SandboxError> {
        // It says nothing unasked: what is to be heard there is its end.
        let ended = self.ask(|service| readable(service.as_fd(), Duration::ZERO));
        match ended {
            Ok(false) => None,
            Ok(true) => Some(SandboxError::LauncherEnded {
                words: self.last_words(),
            }),
            Err(error) => Some(error),
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
            making: None,
            patience: PATIENCE,
            zygotes: None,
            carriers: Arc::default(),
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

    /// The same, with another time than a minute in which a sandbox must be ready: with a
    /// zygote, that of its imports.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
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
        if !self.begin()? {
            return Ok(false);
        }
        while !self.hear()? {
            let left = self
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            if let (Some(voice), Some(left)) = (self.voice(), left) {
                readable(voice, left)?;
            }
        }
        Ok(true)
    }

    /// Begins to make one that is lacking; `false` when none is. What is to be waited for then
    /// (a zygote's imports) takes as long as it takes: call [`Pool::hear`] when [`Pool::voice`]
    /// is readable, or at [`Pool::due`]. One is made at a time.
    ///
    /// # Errors
    /// Of the launcher, which answers at once.
    pub fn begin(&mut self) -> Result<bool, SandboxError> {
        if self.making.is_some() {
            return Ok(true);
        }
        if self.ready.len() >= self.size {
            return Ok(false);
        }
        let sandbox = self.make()?;
        sandbox.ask_ready()?;
        self.making = Some(Making {
            sandbox,
            since: Instant::now(),
        });
        Ok(true)
    }

    /// Readable when one that was begun may be ready, or lost; `None` when none was.
    #[must_use]
    pub fn voice(&self) -> Option<BorrowedFd<'_>> {
        self.making.as_ref().map(|making| making.sandbox.voice())
    }

    /// When one that was begun has had its time; `None` when none was.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.making.as_ref()?.since.checked_add(self.patience)
    }

    /// Hears of the one that was begun: `true` when it is ready now, or none was begun. Does
    /// not wait. After an error nothing of it is left, and the next one gets another zygote.
    ///
    /// # Errors
    /// `Zygote` and `ZygoteSilent` of a pool with one; `LauncherEnded` and `SandboxEnded` when
    /// somebody ended them.
    pub fn hear(&mut self) -> Result<bool, SandboxError> {
        let Some(mut making) = self.making.take() else {
            return Ok(true);
        };
        match self.heard(&mut making) {
            Ok(true) => {
                self.ready.push_back(making.sandbox);
                Ok(true)
            }
            Ok(false) => {
                self.making = Some(making);
                Ok(false)
            }
            Err(error) => {
                if let Some(zygotes) = &mut self.zygotes {
                    zygotes.discard();
                }
                Err(error)
            }
        }
    }

    fn heard(&self, making: &mut Making) -> Result<bool, SandboxError> {
        let sandbox = &mut making.sandbox;
        // Its launcher's end, where that is why, tells more.
        let ready = sandbox
            .hear_ready()
            .map_err(|error| self.keeper.end().unwrap_or(error))?;
        let waits = !ready && making.since.elapsed() < self.patience;
        match sandbox.missed_zygote().filter(|_| !waits).map(Zygote::said) {
            Some(Said { words, ended }) if ready => Err(SandboxError::Zygote { words, ended }),
            Some(Said { words, .. }) => Err(SandboxError::ZygoteSilent {
                patience: self.patience,
                words,
            }),
            None if ready || waits => Ok(ready),
            None => Err(SandboxError::SandboxEnded),
        }
    }

    /// One that is ready; or one that is made now, whose tasks are executed where its zygote does
    /// not serve: [`Pool::refill`] tells why.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn claim(&mut self) -> Result<Claimed, SandboxError> {
        if let Some(found) = self.claim_ready()? {
            return Ok(found);
        }
        match self.make() {
            // It had ended before there was anything to fork into.
            Err(SandboxError::Zygote { .. }) => self.create(self.planned()?, None)?.begun(),
            made => made?.begun(),
        }
    }

    /// One that is ready; `None` when none is.
    ///
    /// # Errors
    /// `LauncherEnded`: those that are ready end with it, or have. `Relay`: nobody carries what
    /// may leave it.
    pub fn claim_ready(&mut self) -> Result<Option<Claimed>, SandboxError> {
        // The kernel closes its socket before it kills what is below it, which may seem to live
        // for a moment longer.
        if let Some(error) = self.keeper.end() {
            self.ready.clear();
            return Err(error);
        }
        while let Some(mut found) = self.ready.pop_front() {
            if found.lives()? {
                found.open()?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn make(&mut self) -> Result<Claimed, SandboxError> {
        let mut plan = self.planned()?;
        let keeper = &self.keeper;
        let zygote = self.zygotes.as_mut();
        let zygote = zygote.map(|zygotes| zygotes.serve(keeper, &mut plan));
        let zygote = zygote.transpose()?;
        self.create(plan, zygote.clone()).map_err(|error| {
            // Were it to blame, the next one would not be.
            if let Some(zygotes) = &mut self.zygotes {
                zygotes.discard();
            }
            match zygote.map(|zygote| zygote.said()) {
                Some(Said { words, ended }) if ended || !words.is_empty() => {
                    SandboxError::Zygote { words, ended }
                }
                _ => error,
            }
        })
    }

    fn planned(&self) -> Result<Plan, SandboxError> {
        let mut plan = self.plan.clone();
        plan.rename(&identifier().map_err(SandboxError::kernel("getrandom"))?);
        Ok(plan)
    }

    fn create(&self, plan: Plan, zygote: Option<Arc<Zygote>>) -> Result<Claimed, SandboxError> {
        let held = self.keeper.ask(|service| service.create(&plan))?;
        let parts = (Arc::clone(&self.keeper), zygote);
        let mut sandbox = Claimed::new(parts, plan, held, &self.carriers);
        // Before anybody's code runs in it, and while nobody waits for it.
        sandbox.open()?;
        Ok(sandbox)
    }
}
