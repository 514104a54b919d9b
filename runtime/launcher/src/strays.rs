//! Children that nobody waits for: what libcontainer leaves of a failed
//! creation, and orphans of its own, which become this process's children
//! because it is PID 1 of its pid namespace.

use lakekeep_protocol::launch::LaunchStep;
use lakekeep_sys::error::Context;
use lakekeep_sys::{Errno, Error, process};
use rustix::process::{Pid, PidfdFlags};

use crate::error::Failed;

/// Ends every child that is not one of `inits`.
pub fn end(inits: &[Pid]) -> Result<(), Failed> {
    end_children(inits).map_err(Failed::kernel(LaunchStep::Container))
}

fn end_children(inits: &[Pid]) -> Result<(), Error> {
    for pid in children()?.into_iter().filter(|pid| !inits.contains(pid)) {
        // A child of ours that we have not waited for: its number is its own.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                process::kill(&pidfd).context("pidfd_send_signal", "stray child")?;
                reap(&pidfd)?;
            }
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(Error::new("pidfd_open", "stray child", errno)),
        }
    }
    Ok(())
}

fn reap(pidfd: &std::os::fd::OwnedFd) -> Result<(), Error> {
    match process::wait(std::os::fd::AsFd::as_fd(pidfd)) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(errno) => Err(Error::new("waitid", "stray child", errno)),
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
