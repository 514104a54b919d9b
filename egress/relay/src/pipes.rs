//! Pipes that bytes go through (splice(2)), lent for one step and given back.
//!
//! A flow that says nothing holds none: two pipes for each would be four more descriptors, and of
//! all pipes of a user the kernel lets 64 MiB be larger than a page or two (pipe(7),
//! `pipe-user-pages-soft`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// Most bytes of one step, and of a large pipe: as much as an ordinary user's may have (pipe(7),
/// `pipe-max-size`).
pub const STEP: usize = 1 << 20;

/// Bytes of the other pipes. The 64 KiB that a pipe has at first would be one small segment of the
/// loopback's.
const SMALL: usize = 256 << 10;

/// Most large pipes: half of what the kernel lets a user's pipes have. Flows whose receivers read no
/// further hold one each, and were all of them large, those of everybody else would have two pages.
const MOST_LARGE: usize = 32;

/// Most pipes that are kept while nobody uses them.
const KEPT: usize = 64;

/// Those that are kept, all of them empty.
static IDLE: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

/// How many large ones there are.
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    source: OwnedFd,
    sink: OwnedFd,
    /// Bytes that are in it.
    full: usize,
    /// Whether it is one of the [`MOST_LARGE`].
    large: bool,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.large {
            LARGE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Pipe {
    /// An empty one; `None` where the process may have no more of them.
    pub fn lend() -> Option<Self> {
        let kept = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.or_else(|| Self::make().ok())
    }

    fn make() -> Result<Self, Errno> {
        let (source, sink) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let mut pipe = Self {
            source,
            sink,
            full: 0,
            large: one_more_large(),
        };
        if pipe.large && rustix::pipe::fcntl_setpipe_size(&pipe.sink, STEP).is_err() {
            LARGE.fetch_sub(1, Ordering::Relaxed);
            pipe.large = false;
        }
        if !pipe.large && rustix::pipe::fcntl_setpipe_size(&pipe.sink, SMALL).is_err() {
            // The user has too many pages in pipes already: it stays smaller.
        }
        Ok(pipe)
    }

    /// Gives it back. One that is not empty is closed, as is one that is dropped.
    pub fn give_back(self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if self.full == 0 && idle.len() < KEPT {
            idle.push(self);
        }
    }

    /// Bytes that are in it.
    pub fn full(&self) -> usize {
        self.full
    }

    /// Fills it with at most so many bytes of `from`, without waiting; 0 is their end.
    ///
    /// # Errors
    /// `WouldBlock` when there are none now.
    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = splice(from, &self.sink, most.min(STEP))?;
        self.full += moved;
        Ok(moved)
    }

    /// Empties it as far as `to` takes it, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now.
    pub fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.source, to, self.full)?;
        self.full = self.full.saturating_sub(moved);
        Ok(moved)
    }
}

/// Counts one more, if there may be one.
fn one_more_large() -> bool {
    let more = |large: usize| (large < MOST_LARGE).then_some(large + 1);
    let counted = LARGE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    counted.is_ok()
}

/// Without `SPLICE_F_MORE`: with it the kernel holds the end of a small message back for
/// 200 ms.
fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test that makes as many: others' few pipes are small or large as it goes.
    #[test]
    fn a_crowd_of_pipes_leaves_room_for_others_and_large_ones_come_back() {
        let size = |pipe: &Pipe| rustix::pipe::fcntl_getpipe_size(&pipe.sink).unwrap();
        let crowd: Vec<Pipe> = (0..3 * MOST_LARGE).map(|_| Pipe::make().unwrap()).collect();
        let large = crowd.iter().filter(|pipe| size(pipe) == STEP).count();
        let small = crowd.iter().filter(|pipe| size(pipe) == SMALL).count();
        assert!(0 < large && large <= MOST_LARGE, "{large}");
        assert_eq!(large + small, crowd.len());
        drop(crowd);
        assert_eq!(size(&Pipe::make().unwrap()), STEP);
    }
}
