//! Pseudo-terminals.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::process::last_errno;

/// A new terminal: the side that programs see, and the side that drives it.
#[derive(Debug)]
pub struct Pty {
    /// Driven by the manager.
    pub controller: OwnedFd,
    /// A task's stdin, stdout and stderr.
    pub terminal: OwnedFd,
}

/// Opens a pseudo-terminal in the caller's devpts, without a path race
/// (`TIOCGPTPEER`, ioctl_tty(2)), of the given size.
pub fn open(rows: u16, columns: u16) -> Result<Pty, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&controller)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&controller, flags)?;
    resize(&controller, rows, columns)?;
    Ok(Pty {
        controller,
        terminal,
    })
}

/// Tells the terminal its size, as TIOCSWINSZ: programs get a SIGWINCH.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)
}

/// Makes `terminal` the controlling terminal of the caller's new session.
pub fn control(terminal: impl AsFd) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer, 0: do not steal it from a session.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}
