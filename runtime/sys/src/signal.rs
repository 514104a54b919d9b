//! Signals as descriptors and as values: no handler is ever installed.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

use crate::error::from_nix;

/// Blocks every signal that can be blocked; they stay pending.
pub fn block_all() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(from_nix)
}

/// Blocks no signal: what a program expects to be started with.
pub fn unblock_all() -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(from_nix)
}

/// Gives every signal its default action again: what a caller ignores stays
/// ignored across exec (signal(7)), and Rust programs ignore SIGPIPE.
pub fn default_actions() -> Result<(), Errno> {
    const LAST: libc::c_int = 64;
    for signal in 1..=LAST {
        // SAFETY: installing SIG_DFL runs no code of ours in signal context. (nix
        // cannot name the real-time signals.)
        let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
        // EINVAL: one that cannot be changed, or that the C library keeps.
        if before == libc::SIG_ERR && crate::process::last_errno() != Errno::INVAL {
            return Err(crate::process::last_errno());
        }
    }
    Ok(())
}

/// Waits for any blocked signal (the mask must be [`block_all`]'s).
pub fn wait() -> Result<i32, Errno> {
    let mut signal: libc::c_int = 0;
    // SAFETY: all-zero is a valid sigset_t to be filled.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: fills the live set. (nix's SigSet::wait cannot name the
    // real-time signals, which a user's program may be sent.)
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both pointers are live; sigwait(3) stores the signal's number.
    match unsafe { libc::sigwait(&raw const all, &raw mut signal) } {
        0 => Ok(signal),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Sends a signal by number; `ESRCH` when the process has ended.
pub fn send(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill(2) takes two integers. rustix's Signal cannot name the
    // real-time signals.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(crate::process::last_errno()),
    }
}

/// A descriptor that becomes readable when one of `signals` arrives; they are
/// blocked from now on.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `signals` (numbers of signal(7)) and opens the descriptor.
    ///
    /// # Errors
    /// `EINVAL` for a number that names no standard signal.
    pub fn open(signals: &[i32]) -> Result<Self, Errno> {
        let mut set = SigSet::empty();
        for number in signals {
            set.add(Signal::try_from(*number).map_err(from_nix)?);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(from_nix)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .map_err(from_nix)
    }

    /// The next signal that arrived, if any.
    pub fn next(&self) -> Result<Option<i32>, Errno> {
        let info = self.0.read_signal().map_err(from_nix)?;
        Ok(info.map(|info| info.ssi_signo.cast_signed()))
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable after `timeout`, once.
pub fn timer(timeout: std::time::Duration) -> Result<OwnedFd, Errno> {
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    // A zero timer would be disarmed: a time-out of nothing ends at once.
    let timeout = timeout.max(std::time::Duration::from_nanos(1));
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec::try_from(timeout).map_err(|_| Errno::OVERFLOW)?,
    };
    rustix::time::timerfd_settime(&fd, TimerfdTimerFlags::empty(), &once)?;
    Ok(fd)
}
