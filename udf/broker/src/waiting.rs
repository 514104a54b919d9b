//! Sessions that wait for a sandbox.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_udf_packets::Open;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Does not wait.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A session that has no sandbox yet.
#[derive(Debug)]
pub struct Waiting {
    /// What was asked for.
    pub open: Box<Open>,
    /// The worker's standard input, output and error.
    pub streams: [OwnedFd; 3],
}

impl Waiting {
    /// By which the engine calls it.
    pub fn number(&self) -> u32 {
        self.open.number
    }

    /// Where it shows that the engine has closed its end: poll(2) tells POLLHUP there, whatever
    /// it is asked for.
    pub fn end(&self) -> BorrowedFd<'_> {
        let [engine, _, _] = &self.streams;
        engine.as_fd()
    }

    /// Whether nobody waits at the other end any more.
    pub fn is_deserted(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.end(), PollFlags::empty())];
        // A poll that fails tells nothing; its session is served as any other.
        poll(&mut fds, Some(&AT_ONCE)).is_ok_and(|heard| heard > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use lakekeep_sys::socket;

    use super::*;

    #[test]
    fn it_is_deserted_when_the_engine_has_closed_its_end() {
        let (engine, worker) = socket::pair().unwrap();
        let null = || File::open("/dev/null").unwrap().into();
        let waiting = Waiting {
            open: Box::default(),
            streams: [worker, null(), null()],
        };
        assert!(!waiting.is_deserted());
        // What the engine has written ahead is no end.
        socket::send(&engine, b"open", &[]).unwrap();
        assert!(!waiting.is_deserted());
        drop(engine);
        assert!(waiting.is_deserted());
    }
}
