//! Children that nobody waits for: what libcontainer leaves of a failed
//! creation, and orphans of its own, which become this process's children
//! because it is PID 1 of its pid namespace.

use std::os::fd::{AsFd, OwnedFd};

use lakekeep_protocol::launch::LaunchStep;
use lakekeep_sys::error::Context;
use lakekeep_sys::process::{self, Ended};
use lakekeep_sys::{Errno, Error};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::error::Failed;

/// Ends every child that is not one of `inits`, and tells by which signal one of them
/// had ended before.
pub fn end(inits: &[Pid]) -> Result<Option<i32>, Failed> {
    end_children(inits).map_err(Failed::kernel(LaunchStep::Container))
}

fn end_children(inits: &[Pid]) -> Result<Option<i32>, Error> {
    let mut signal = None;
    for pid in children()?.into_iter().filter(|pid| !inits.contains(pid)) {
        // A child of ours that we have not waited for: its number is its own.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => signal = end_one(&pidfd)?.or(signal),
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(Error::new("pidfd_open", "stray child", errno)),
        }
    }
    Ok(signal)
}

fn end_one(pidfd: &OwnedFd) -> Result<Option<i32>, Error> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    let before = rustix::event::poll(&mut ended, Some(&now)).context("poll", "stray child")? > 0;
    process::kill(pidfd).context("pidfd_send_signal", "stray child")?;
    match process::wait(pidfd.as_fd()) {
        Ok(Ended::Signaled(signal)) if before => Ok(Some(signal)),
        Ok(_) | Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(Error::new("waitid", "stray child", errno)),
    }
}

/// How long one that is being ended is waited for before strays are looked for.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Reaps every child that has ended, whosever it was.
pub fn reap() {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Another sandbox's init among them is missed by nobody: its end is told by its pidfd.
    while let Ok(Some(_)) = waitid(WaitId::All, options) {}
}

/// Waits for the end of an init, and reaps others meanwhile. What a zygote forks into a
/// task's pid namespace becomes a child of this process when the zygote is killed in the middle
/// of it, and no process that is the first of its pid namespace ends before all in it were
/// reaped (pid_namespaces(7)): to wait for the one alone could be to wait for ever.
///
/// # Errors
/// Of poll(2) and waitid(2). That it was reaped already is none.
pub fn wait_for(pidfd: &OwnedFd) -> Result<(), Errno> {
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut ended, Some(&PATIENCE)) {
            Ok(0) => reap(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    match process::wait(pidfd.as_fd()) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The numbers of this process's children (proc_pid_task(5)).
fn children() -> Result<Vec<Pid>, Error> {
    let own = rustix::process::getpid().as_raw_nonzero();
    let path = format!("/proc/self/task/{own}/children");
    let text = std::fs::read_to_string(&path).context("read", path)?;
    let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    Ok(numbers.filter_map(Pid::from_raw).collect())
}
