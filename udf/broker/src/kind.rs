//! Sandboxes of one kind, and who waits for them.
//!
//! | what is heard | first time | again, or after it |
//! |---|---|---|
//! | the zygote ended in its imports, and said why | who waits is told | |
//! | it has not made them in its time | who waits is told | |
//! | it ended without a word, or forks nothing | workers make their imports themselves | |
//! | the launcher or the sandbox ended | another is made | who waits is told |
//!
//! Who asks next begins anew.
//!
//! A kind whose workers are forked from a zygote has sandboxes of its own, for a zygote has the
//! imports of one environment. Where there is none (it needs the host's root), a captured
//! environment comes with the claim of a blank sandbox, which any other might have got.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use lakekeep_plan::{Command, HostFacts, Plan, Preload, View};
use lakekeep_policy::Policy;
use lakekeep_sandbox::{
    Additions, Claimed, PlanningError, Pool, SandboxError, plan_with, zygote_with,
};
use lakekeep_udf_packets::{Limits, Open};

use crate::blank::Blanks;
use crate::claim::{Claim, ClaimError, Served};
use crate::environment::Base;
use crate::limits;
use crate::waiting::Waiting;

/// Sandboxes of one kind that are kept ready.
pub const READY: usize = 2;

/// Sessions that may wait for one kind: each has three descriptors of its engine's here.
pub const QUEUE: usize = 64;

/// A session without a limit of its own ends after so long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many sandboxes one zygote serves.
const SERVED: u16 = 64;

/// Where programs are looked for, inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Of what sandboxes are made.
#[derive(Debug)]
pub struct Ground {
    /// What there is here.
    pub host: HostFacts,
    /// How long a zygote may take over its imports.
    pub zygote_timeout: Duration,
    /// The folder of the store that has the user's environments.
    pub environments: Option<PathBuf>,
}

/// Sandboxes are alike when they show the same environment and have the same limits. Whose
/// they will be is no part of it: each serves one session.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    interpreter: PathBuf,
    environment: Option<String>,
    modules: Vec<String>,
    limits: Limits,
}

impl Like {
    /// What a session asks for.
    pub fn of(open: &Open) -> Self {
        Self {
            interpreter: open.interpreter.clone(),
            environment: open.environment.clone(),
            modules: open.modules.clone(),
            limits: open.limits.clone(),
        }
    }
}

/// Sandboxes of one kind.
#[derive(Debug)]
pub struct Kind {
    like: Like,
    base: Base,
    supply: Supply,
    waiting: VecDeque<Waiting>,
    /// Why its workers are not forked from a zygote.
    warning: Option<String>,
    /// One was ready: its imports can be made.
    proven: bool,
    /// It was begun anew, and none was ready since.
    anew: bool,
    /// One that was ready was dead: the others are, too.
    spoilt: bool,
}

/// Where its sandboxes come from.
#[derive(Debug)]
enum Supply {
    /// Made for this kind.
    Own(Box<Pool>),
    /// Of the blank ones; the environment comes with the claim.
    Blank(View),
}

impl Kind {
    /// None is made yet.
    ///
    /// # Errors
    /// Of what was asked for, and of starting a launcher.
    pub fn start(ground: &Ground, like: Like) -> Result<Self, ClaimError> {
        let environment = like.environment.as_deref();
        let store = ground.environments.as_deref();
        let base = Base::find(&like.interpreter, environment, store)?;
        let (supply, warning) = supply(ground, &like, &base)?;
        Ok(Self {
            like,
            base,
            supply,
            waiting: VecDeque::new(),
            warning,
            proven: false,
            anew: false,
            spoilt: false,
        })
    }

    /// Whether its sandboxes are like this.
    pub fn is(&self, like: &Like) -> bool {
        self.like == *like
    }

    /// Who waits, the first one first.
    pub fn waiting(&self) -> &VecDeque<Waiting> {
        &self.waiting
    }

    /// A session waits for one.
    ///
    /// # Errors
    /// `Crowded`: as many wait as may.
    pub fn enqueue(&mut self, waiting: Waiting) -> Result<(), ClaimError> {
        if self.waiting.len() >= QUEUE {
            return Err(ClaimError::Crowded {
                interpreter: self.base.interpreter().to_owned(),
            });
        }
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Those who wait no more.
    pub fn dismiss(&mut self, leaves: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let all = std::mem::take(&mut self.waiting);
        let (left, stays): (Vec<_>, Vec<_>) = all.into_iter().partition(leaves);
        self.waiting = stays.into();
        left
    }

    /// None of those that are ready is of use.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Its own sandboxes, to be listened to.
    pub fn pool(&self) -> Option<&Pool> {
        match &self.supply {
            Supply::Own(pool) => Some(pool),
            Supply::Blank(_) => None,
        }
    }

    /// Hears what there is to be heard, hands out what is ready, and has made what is waited
    /// for; `true`: there is more room for sandboxes that are ready than before.
    ///
    /// # Errors
    /// Why there will be none: [`Kind::fail`] it then.
    pub fn serve(
        &mut self,
        (ground, blanks): (&Ground, &mut Blanks),
        served: &mut Vec<Served>,
    ) -> Result<bool, ClaimError> {
        let mut moved = false;
        if let Err(error) = self.hear(&mut moved) {
            self.recover(ground, error)?;
        }
        if let Err(error) = self.hand_out(served, &mut moved) {
            self.recover(ground, error)?;
        }
        if let Err(error) = self.begin() {
            self.recover(ground, error)?;
        }
        // Also where it has lost its own just now.
        moved |= self.hand_out_blank((ground, blanks), served)?;
        Ok(moved)
    }

    fn hear(&mut self, moved: &mut bool) -> Result<(), SandboxError> {
        let Supply::Own(pool) = &mut self.supply else {
            return Ok(());
        };
        if std::mem::take(&mut self.spoilt) {
            return Err(SandboxError::SandboxEnded);
        }
        if pool.voice().is_some() && pool.hear()? {
            *moved = true;
            self.proven = true;
            self.anew = false;
        }
        Ok(())
    }

    fn hand_out(&mut self, served: &mut Vec<Served>, moved: &mut bool) -> Result<(), SandboxError> {
        while !self.waiting.is_empty()
            && let Supply::Own(pool) = &mut self.supply
            && let Some(sandbox) = pool.claim_ready()?
        {
            self.give(sandbox, served);
            *moved = true;
        }
        Ok(())
    }

    fn give(&mut self, sandbox: Claimed, served: &mut Vec<Served>) {
        let claim = Claim {
            sandbox,
            interpreter: self.base.interpreter().to_owned(),
            warning: self.warning.clone(),
            pinned: self.base.pinned(),
        };
        served.extend(self.waiting.pop_front().map(|it| (it, Ok(claim))));
    }

    /// Shows the environment in blank sandboxes, for as many as wait and are ready.
    fn hand_out_blank(
        &mut self,
        (ground, blanks): (&Ground, &mut Blanks),
        served: &mut Vec<Served>,
    ) -> Result<bool, ClaimError> {
        if std::mem::take(&mut self.spoilt) {
            blanks.discard(&self.like.limits);
        }
        let mut moved = false;
        while !self.waiting.is_empty()
            && let Supply::Blank(view) = &self.supply
        {
            match blanks.claim(ground, &self.like.limits, view) {
                Ok(Some(sandbox)) => {
                    self.give(sandbox, served);
                    (moved, self.anew) = (true, false);
                }
                Ok(None) => break,
                // Most often its launcher was killed.
                Err(ClaimError::Sandbox(error)) if !self.anew && !is_of_view(&error) => {
                    blanks.discard(&self.like.limits);
                    self.anew = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Has one made for those who wait.
    fn begin(&mut self) -> Result<(), SandboxError> {
        match &mut self.supply {
            Supply::Own(pool) if !self.waiting.is_empty() => pool.begin().map(drop),
            _ => Ok(()),
        }
    }

    /// Begins one that is kept ready for whoever comes; `false` when none is lacking.
    ///
    /// # Errors
    /// Nobody waits for it.
    pub fn refill(&mut self) -> Result<bool, SandboxError> {
        match &mut self.supply {
            Supply::Own(pool) => pool.begin(),
            Supply::Blank(_) => Ok(false),
        }
    }

    /// All who wait are told.
    pub fn fail(self, error: ClaimError, served: &mut Vec<Served>) {
        let error = std::sync::Arc::new(error);
        let told = self.waiting.into_iter().map(|it| (it, Err(error.clone())));
        served.extend(told);
    }

    /// What is made instead of what was lost.
    fn recover(&mut self, ground: &Ground, error: SandboxError) -> Result<(), ClaimError> {
        match error {
            SandboxError::Zygote { words, ended: true } if !self.proven && !words.is_empty() => {
                let (interpreter, modules) = self.environment();
                return Err(ClaimError::Imports {
                    interpreter,
                    modules,
                    words: words.trim().to_owned(),
                });
            }
            SandboxError::ZygoteSilent { patience, words } => {
                let (interpreter, modules) = self.environment();
                return Err(ClaimError::Slow {
                    interpreter,
                    modules,
                    patience,
                    words: words.trim().to_owned(),
                });
            }
            // One that ended without a word may have gone with its launcher: tried once more.
            SandboxError::Zygote { ref words, .. }
                if !self.proven && (self.anew || self.waiting.is_empty() || !words.is_empty()) =>
            {
                self.warning = Some(lakekeep_sandbox::chain(&error));
                self.supply = without_zygote(ground, &self.like, &self.base)?;
            }
            // Most often its launcher was killed.
            _ if !self.anew && !self.waiting.is_empty() => {
                (self.supply, self.warning) = supply(ground, &self.like, &self.base)?;
                (self.anew, self.proven) = (true, false);
            }
            _ => return Err(error.into()),
        }
        Ok(self.begin()?)
    }

    fn environment(&self) -> (PathBuf, String) {
        (
            self.base.interpreter().to_owned(),
            self.like.modules.join(", "),
        )
    }
}

/// Where there can be a zygote, with one; else with the reason.
fn supply(
    ground: &Ground,
    like: &Like,
    base: &Base,
) -> Result<(Supply, Option<String>), ClaimError> {
    let policy = checked(&like.limits)?;
    let preload = Preload {
        interpreter: base.interpreter().display().to_string(),
        modules: like.modules.clone(),
        sandboxes: SERVED,
    };
    let host = &ground.host;
    match zygote_with(&policy, host, &preload, &base.additions()) {
        Ok(zygote) => {
            let plan = plan(&policy, host, (&preload.interpreter, &base.additions()))?;
            let pool = Pool::start_with_zygote(host, plan, READY, zygote)?;
            let pool = pool.with_patience(ground.zygote_timeout);
            Ok((Supply::Own(Box::new(pool)), None))
        }
        Err(error) => {
            let warning = lakekeep_sandbox::chain(&error);
            Ok((without_zygote(ground, like, base)?, Some(warning)))
        }
    }
}

/// The worker makes its imports itself, and says what is wrong with them.
fn without_zygote(ground: &Ground, like: &Like, base: &Base) -> Result<Supply, ClaimError> {
    if let Some(view) = base.view() {
        return Ok(Supply::Blank(view.clone()));
    }
    let interpreter = base.interpreter().display().to_string();
    let policy = checked(&like.limits)?;
    let plan = plan(&policy, &ground.host, (&interpreter, &base.additions()))?;
    Ok(Supply::Own(Box::new(Pool::start(
        &ground.host,
        plan,
        READY,
    )?)))
}

/// Whether it is about the environment that was to be shown, and would be the same again.
fn is_of_view(error: &SandboxError) -> bool {
    matches!(error, SandboxError::Part(_) | SandboxError::NoPlace(_))
}

/// What a session with these limits may do.
pub fn checked(limits: &Limits) -> Result<Policy, ClaimError> {
    let mut doc = limits::policy(limits)?;
    doc.limits.wall_time.get_or_insert(LONGEST);
    Ok(Policy::check(doc)?)
}

/// A sandbox for a program, with what is shown for it.
pub fn plan(
    policy: &Policy,
    host: &HostFacts,
    (program, additions): (&str, &Additions<'_>),
) -> Result<Plan, PlanningError> {
    let command = Command {
        arguments: vec![program.as_bytes().to_vec()],
        path: PATH.to_owned(),
        ..Command::default()
    };
    plan_with(policy, host, &command, additions)
}
