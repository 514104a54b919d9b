//! Sandboxes that show no environment yet, by their limits: one gets its environment when it is
//! claimed, so that one pool serves all environments of which there is no zygote.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use lakekeep_plan::View;
use lakekeep_sandbox::{Additions, Claimed, Pool, SandboxError};
use lakekeep_udf_packets::Limits;

use crate::claim::ClaimError;
use crate::kind::{Ground, READY, checked, plan};
use crate::pools::KINDS;

/// What a blank one is planned with; a session says what is executed.
const COMMAND: &str = "/bin/true";

/// All of them; those that were asked for last come last.
#[derive(Debug, Default)]
pub struct Blanks(Vec<Blank>);

#[derive(Debug)]
struct Blank {
    limits: Limits,
    pool: Pool,
    /// Why the last one did not get ready, for who asks next.
    failed: Option<SandboxError>,
}

impl Blanks {
    /// One that is ready, with the environment of `view`; `None`: one is being made.
    ///
    /// # Errors
    /// Of the limits, of starting a launcher, of the environment. After another one of a sandbox
    /// those that are ready are of no use: [`Blanks::discard`] them.
    pub fn claim(
        &mut self,
        ground: &Ground,
        limits: &Limits,
        view: &View,
    ) -> Result<Option<Claimed>, ClaimError> {
        let blank = self.of(ground, limits)?;
        if let Some(error) = blank.failed.take() {
            return Err(error.into());
        }
        let Some(mut sandbox) = blank.pool.claim_ready()? else {
            blank.pool.begin()?;
            return Ok(None);
        };
        sandbox.show(view)?;
        Ok(Some(sandbox))
    }

    /// Those with these limits are ended, and who asks next has others made.
    pub fn discard(&mut self, limits: &Limits) {
        self.0.retain(|blank| blank.limits != *limits);
    }

    /// Hears of those that are being made; `true`: one is ready now. That one failed is told to
    /// whoever asks next.
    pub fn hear(&mut self) -> bool {
        let mut ready = false;
        let making = self.0.iter_mut();
        for blank in making.filter(|blank| blank.pool.voice().is_some()) {
            match blank.pool.hear() {
                Ok(done) => ready |= done,
                Err(error) => blank.failed = Some(error),
            }
        }
        ready
    }

    /// Begins one that is kept ready for whoever comes; `false` when none is lacking.
    pub fn refill(&mut self) -> bool {
        for index in (0..self.0.len()).rev() {
            let whole = self.0.get_mut(index).filter(|blank| blank.failed.is_none());
            match whole.map(|blank| blank.pool.begin()) {
                Some(Ok(true)) => return true,
                None | Some(Ok(false)) => {}
                // Nobody waits for it; who asks next begins anew.
                Some(Err(_)) => drop(self.0.remove(index)),
            }
        }
        false
    }

    /// Readable when there is something to hear.
    pub fn voices(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter_map(|blank| blank.pool.voice())
    }

    /// When one that is being made has had its time.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|blank| blank.pool.due()).min()
    }

    fn of(&mut self, ground: &Ground, limits: &Limits) -> Result<&mut Blank, ClaimError> {
        let known = self.0.iter().position(|blank| blank.limits == *limits);
        let blank = match known {
            Some(index) => self.0.remove(index),
            None => Blank {
                limits: limits.clone(),
                pool: start(ground, limits)?,
                failed: None,
            },
        };
        if self.0.len() >= KINDS {
            drop(self.0.remove(0));
        }
        self.0.push(blank);
        Ok(self.0.last_mut().ok_or(SandboxError::SandboxEnded)?)
    }
}

fn start(ground: &Ground, limits: &Limits) -> Result<Pool, ClaimError> {
    let plan = plan(
        &checked(limits)?,
        &ground.host,
        (COMMAND, &Additions::default()),
    )?;
    Ok(Pool::start(&ground.host, plan, READY)?)
}
