//! Sandboxes that wait for sessions, and sessions that wait for sandboxes, by what they are
//! like. Nothing here waits for what an environment imports.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use lakekeep_udf_packets::Open;

use crate::blank::Blanks;
use crate::claim::{ClaimError, Served};
use crate::kind::{Ground, Kind, Like};
use crate::waiting::Waiting;

/// Kinds of sandboxes that are kept. Beyond, those that were asked for least lately go, if
/// nobody waits for them.
pub const KINDS: usize = 8;

/// All of them; those that were asked for last come last.
#[derive(Debug)]
pub struct Pools {
    ground: Ground,
    kinds: Vec<Kind>,
    blanks: Blanks,
    /// Sandboxes that are kept ready may be lacking.
    lacking: bool,
}

impl Pools {
    /// None yet.
    pub fn new(ground: Ground) -> Self {
        Self {
            ground,
            kinds: Vec::new(),
            blanks: Blanks::default(),
            lacking: false,
        }
    }

    /// Takes a session to those who wait: [`Pools::serve`] tells what becomes of it.
    ///
    /// # Errors
    /// Of what is asked for, of starting a launcher, and when too many wait.
    pub fn ask(&mut self, waiting: Waiting) -> Result<(), ClaimError> {
        let like = Like::of(&waiting.open);
        let mut kind = match self.take(&like) {
            Some(kind) => kind,
            None => {
                self.make_room()?;
                Kind::start(&self.ground, like)?
            }
        };
        let enqueued = kind.enqueue(waiting);
        self.kinds.push(kind);
        enqueued
    }

    fn make_room(&mut self) -> Result<(), ClaimError> {
        if self.kinds.len() < KINDS {
            return Ok(());
        }
        let idle = self.kinds.iter().position(|it| it.waiting().is_empty());
        self.kinds.remove(idle.ok_or(ClaimError::Busy)?);
        Ok(())
    }

    /// Hears of sandboxes that are being made, and hands out those that are ready.
    pub fn serve(&mut self) -> Vec<Served> {
        let mut served = Vec::new();
        self.lacking |= self.blanks.hear();
        for mut kind in std::mem::take(&mut self.kinds) {
            match kind.serve((&self.ground, &mut self.blanks), &mut served) {
                Ok(moved) => {
                    self.lacking |= moved;
                    self.kinds.push(kind);
                }
                Err(error) => kind.fail(error, &mut served),
            }
        }
        served
    }

    /// Begins one sandbox that is lacking. For times when nobody waits for the caller.
    pub fn refill(&mut self) {
        // Once it is ready, another may be lacking.
        self.lacking = false;
        let resting = |kind: &Kind| kind.pool().is_some_and(|pool| pool.voice().is_none());
        for index in (0..self.kinds.len()).rev() {
            match self.kinds.get_mut(index).filter(|kind| resting(kind)) {
                None => {}
                Some(kind) => match kind.refill() {
                    Ok(false) => {}
                    Ok(true) => return,
                    // Nobody waits for it, as nothing is being made; who asks next begins anew.
                    Err(_) => drop(self.kinds.remove(index)),
                },
            }
        }
        self.blanks.refill();
    }

    /// Whether there is use for a quiet time.
    pub fn lacking(&self) -> bool {
        self.lacking
    }

    /// A sandbox has ended, or was given away.
    pub fn lack(&mut self) {
        self.lacking = true;
    }

    /// What is kept of this kind of sandbox is of no use any more.
    pub fn spoil(&mut self, open: &Open) {
        let like = Like::of(open);
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.is(&like)) {
            kind.spoil();
        }
    }

    /// The session of this number waits no more.
    pub fn cancel(&mut self, number: u32) -> Option<Waiting> {
        self.dismiss(|it| it.number() == number).pop()
    }

    /// Those whose engine has closed its end wait no more.
    pub fn deserted(&mut self) -> Vec<Waiting> {
        self.dismiss(Waiting::is_deserted)
    }

    fn dismiss(&mut self, leaves: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let kinds = self.kinds.iter_mut();
        kinds.flat_map(|kind| kind.dismiss(&leaves)).collect()
    }

    /// Who waits.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.kinds.iter().flat_map(Kind::waiting)
    }

    /// Readable when [`Pools::serve`] has something to hear.
    pub fn voices(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let kinds = self.kinds.iter().filter_map(|kind| kind.pool()?.voice());
        kinds.chain(self.blanks.voices())
    }

    /// When [`Pools::serve`] has something to end.
    pub fn due(&self) -> Option<Instant> {
        let due = self.kinds.iter().filter_map(|kind| kind.pool()?.due());
        due.chain(self.blanks.due()).min()
    }

    fn take(&mut self, like: &Like) -> Option<Kind> {
        let found = self.kinds.iter().position(|kind| kind.is(like));
        found.map(|index| self.kinds.remove(index))
    }
}
