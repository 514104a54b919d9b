//! One direction of one stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_sys::Errno;
use rustix::event::PollFlags;
use rustix::fs::FileType;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// POSIX: a pipe that polls as writable takes this much without blocking. The
/// caller's descriptors are shared with other programs, so they cannot be made
/// non-blocking.
const PIPE_BUF: usize = 4096;

/// Reads from one descriptor when it can, writes to another when it can.
#[derive(Debug)]
pub struct Pump {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    buffer: Vec<u8>,
    start: usize,
    chunk: usize,
    over_limit: bool,
}

impl Pump {
    pub fn new(from: OwnedFd, to: OwnedFd) -> Self {
        let regular = |fd: &OwnedFd| {
            rustix::fs::fstat(fd)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        };
        Self {
            // A file never blocks for long; a pipe or a terminal may.
            chunk: if regular(&to) { BUFFER } else { PIPE_BUF },
            from: Some(from),
            to: Some(to),
            buffer: Vec::new(),
            start: 0,
            over_limit: false,
        }
    }

    /// What to poll for: room when there is something to write, else input.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if self.pending().is_empty() {
            self.from.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN))
        } else {
            self.to.as_ref().map(|fd| (fd.as_fd(), PollFlags::OUT))
        }
    }

    /// Whether nothing more will come or go.
    pub fn done(&self) -> bool {
        self.to.is_none() || (self.from.is_none() && self.pending().is_empty())
    }

    /// Whether more came than was allowed.
    pub fn over_limit(&self) -> bool {
        self.over_limit
    }

    /// Does what [`Pump::waits_for`] waited for; returns the bytes read. At
    /// most `allowed` bytes are passed on; more sets [`Pump::over_limit`].
    pub fn turn(&mut self, allowed: u64) -> u64 {
        if self.pending().is_empty() {
            return self.read(allowed);
        }
        self.write();
        0
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn read(&mut self, allowed: u64) -> u64 {
        let Some(from) = &self.from else {
            return 0;
        };
        self.buffer.resize(BUFFER, 0);
        self.start = 0;
        let read = match rustix::io::read(from, self.buffer.as_mut_slice()) {
            Err(Errno::INTR | Errno::AGAIN) => {
                self.buffer.clear();
                return 0;
            }
            // A terminal whose other side is closed reads as EIO: its end.
            Err(_) => 0,
            Ok(read) => read,
        };
        if read == 0 {
            self.from = None;
        }
        let passed = usize::try_from(allowed).unwrap_or(usize::MAX).min(read);
        self.over_limit |= passed < read;
        self.buffer.truncate(passed);
        read as u64
    }

    fn write(&mut self) {
        let Some(to) = &self.to else {
            return;
        };
        let pending = self.pending();
        let chunk = pending
            .get(..self.chunk.min(pending.len()))
            .unwrap_or_default();
        match rustix::io::write(to, chunk) {
            Ok(written) => self.start += written,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads any more. Closing our end of the task's stream lets
            // the task find out, as it would without us.
            Err(_) => {
                self.to = None;
                self.from = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn bytes_arrive_in_order_and_the_end_is_passed_on() {
        let (from, mut source) = std::io::pipe().unwrap();
        let (mut sink, to) = std::io::pipe().unwrap();
        source.write_all(&[7; 10_000]).unwrap();
        drop(source);
        let mut pump = Pump::new(from.into(), to.into());
        while !pump.done() {
            pump.turn(u64::MAX);
        }
        drop(pump);
        let mut got = Vec::new();
        sink.read_to_end(&mut got).unwrap();
        assert_eq!(got, [7; 10_000]);
    }

    #[test]
    fn no_byte_over_the_limit_is_passed() {
        let (from, mut source) = std::io::pipe().unwrap();
        let (mut sink, to) = std::io::pipe().unwrap();
        source.write_all(b"0123456789").unwrap();
        drop(source);
        let mut pump = Pump::new(from.into(), to.into());
        let mut left = 4;
        while !pump.done() {
            left -= pump.turn(left).min(left);
        }
        assert!(pump.over_limit());
        drop(pump);
        let mut got = String::new();
        sink.read_to_string(&mut got).unwrap();
        assert_eq!(got, "0123");
    }

    #[test]
    fn a_reader_that_left_ends_the_stream() {
        let (from, mut source) = std::io::pipe().unwrap();
        let (sink, to) = std::io::pipe().unwrap();
        drop(sink);
        source.write_all(b"x").unwrap();
        let mut pump = Pump::new(from.into(), to.into());
        pump.turn(u64::MAX);
        pump.turn(u64::MAX);
        assert!(pump.done());
        assert_eq!(
            source.write(b"x").unwrap_err().kind(),
            std::io::ErrorKind::BrokenPipe
        );
    }
}
