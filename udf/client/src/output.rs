//! What a function prints: the first part is kept, the rest read and forgotten.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::channel::timespec;

/// Most bytes that are kept.
const LIMIT: usize = 64 * 1024;

/// The engine's ends of a worker's standard output and error.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pipes: Vec<File>,
    kept: Vec<u8>,
    dropped: u64,
}

impl Output {
    /// A pipe that is read here; the worker's end of it.
    pub(crate) fn pipe(&mut self) -> rustix::io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Of this end alone: the worker's waits while the pipe is full.
        rustix::io::ioctl_fionbio(&read, true)?;
        self.pipes.push(read.into());
        Ok(write)
    }

    /// Those that have not ended.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(AsFd::as_fd)
    }

    /// Reads what there is, up to a buffer's worth of each pipe, without waiting.
    pub(crate) fn take_in(&mut self) {
        let (kept, dropped) = (&mut self.kept, &mut self.dropped);
        self.pipes.retain_mut(|pipe| {
            let mut words = [0; 16 * 1024];
            match pipe.read(&mut words) {
                Ok(0) => false,
                Ok(size) => {
                    let room = size.min(LIMIT - kept.len());
                    kept.extend(words.get(..room).unwrap_or_default());
                    *dropped += (size - room) as u64;
                    true
                }
                Err(error) => {
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                }
            }
        });
    }

    /// Takes in what is printed until that ends.
    pub(crate) fn settle(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.pipes.is_empty() {
            let left = timespec(until.saturating_duration_since(Instant::now()));
            let pipes = self.pipes.iter();
            let mut fds: Vec<_> = pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => self.take_in(),
                Err(_) => return,
            }
            if Instant::now() > until {
                return;
            }
        }
    }

    /// What was printed, as text, and how many bytes more there were.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!("\n[{} more bytes]", self.dropped));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_flood_is_read_and_its_beginning_kept() {
        let mut output = Output::default();
        let mut writer = File::from(output.pipe().unwrap());
        let flood = std::thread::spawn(move || writer.write_all(&[b'x'; 1 << 20]));
        while output.pipes().next().is_some() {
            output.take_in();
        }
        flood.join().unwrap().unwrap();
        let text = output.text();
        let kept = text.bytes().filter(|it| *it == b'x').count();
        assert_eq!(kept, LIMIT);
        assert!(text.ends_with("[983040 more bytes]"), "{}", &text[LIMIT..]);
    }
}
