//! The caller's terminal: raw while a task has it, and as it was afterwards.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Size of the caller's terminal: rows, columns.
pub fn size() -> Option<(u16, u16)> {
    let stdin = rustix::stdio::stdin();
    if !isatty(stdin) {
        return None;
    }
    let size = tcgetwinsize(stdin).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Raw mode; dropped, the terminal is as it was.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Makes standard input raw: every key goes to the task, ^C too.
    pub fn enter() -> Result<Self, Errno> {
        let terminal = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if tcsetattr(self.terminal.as_fd(), OptionalActions::Drain, &self.before).is_err() {
            // The terminal is gone: there is nothing to restore.
        }
    }
}

/// A terminal that does not show what is typed; dropped, it is as it was.
#[derive(Debug)]
pub struct Quiet {
    before: Termios,
}

impl Quiet {
    /// Hides what is typed; `None`: standard input is no terminal.
    pub fn enter() -> Result<Option<Self>, Errno> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        let before = tcgetattr(stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The newline alone is shown: somebody waits for it.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(stdin, OptionalActions::Flush, &quiet)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).is_err() {
            // The terminal is gone: there is nothing to restore.
        }
    }
}
