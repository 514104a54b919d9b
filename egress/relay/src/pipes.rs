//! Pipes that bytes go through (splice(2)), lent for one step and given back.
//!
//! A flow that says nothing holds none: two pipes for each would be four more descriptors, and of
//! all pipes of a user the kernel lets 64 MiB be larger than a page or two (pipe(7),
//! `pipe-user-pages-soft`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags};

/// Most bytes of one step, and of a pipe: each place in it holds one page of a socket's
/// (splice(2)), and the 64 KiB that a pipe has at first would be one segment of the loopback's.
pub const STEP: usize = 256 << 10;

/// Most pipes that are kept while nobody uses them.
const KEPT: usize = 64;

/// Those that are kept, all of them empty.
static IDLE: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    source: OwnedFd,
    sink: OwnedFd,
    /// Bytes that are in it.
    full: usize,
}

impl Pipe {
    /// An empty one; `None` where the process may have no more of them.
    pub fn lend() -> Option<Self> {
        let kept = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.or_else(|| {
            let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
            let (source, sink) = made.ok()?;
            if rustix::pipe::fcntl_setpipe_size(&sink, STEP).is_err() {
                // The user has too many pages in pipes already: it stays smaller.
            }
            Some(Self {
                source,
                sink,
                full: 0,
            })
        })
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

/// Without `SPLICE_F_MORE`: with it the kernel holds the end of a small message back for
/// 200 ms.
fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}
