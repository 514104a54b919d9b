//! Waiting for the kernel, never longer than was agreed.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::file::{self, failed};
use super::{CgroupError, Operation, tree};

/// Where the kernel has no event to wait for, the first look again is after this.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// And no two looks are further apart than this.
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// The moment after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            timeout,
        }
    }

    pub(super) fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The error for a group that outlived the deadline.
    pub(super) fn still_populated(self, group: &Path) -> CgroupError {
        CgroupError::StillPopulated {
            path: group.to_owned(),
            pids: tree::all_procs(group).unwrap_or_default(),
            waited: self.started.elapsed(),
        }
    }

    /// The error for a group that could not be frozen in time.
    pub(super) fn still_running(self, path: &Path) -> CgroupError {
        CgroupError::StillRunning {
            path: path.to_owned(),
            waited: self.started.elapsed(),
        }
    }

    fn remaining(self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}

/// Growing pauses, for what the kernel announces nowhere.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    pub(super) fn take(&mut self, deadline: Deadline) {
        std::thread::sleep(self.0.min(deadline.remaining()));
        self.0 = (self.0 * 2).min(LAST_PAUSE);
    }
}

/// Waits until all these processes have ended, or the deadline.
pub(super) fn for_exits(
    mut pidfds: Vec<OwnedFd>,
    group: &Path,
    deadline: Deadline,
) -> Result<(), CgroupError> {
    while !pidfds.is_empty() && !deadline.passed() {
        let mut fds: Vec<PollFd<'_>> = pidfds
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        poll_until(&mut fds, deadline).map_err(|e| failed(Operation::Wait, group, e))?;
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        pidfds.retain(|_| !ended.next().unwrap_or(false));
    }
    Ok(())
}

/// Waits until version 2 says that nothing is left in a group or below it. The file
/// is opened once: poll(2) reports changes since the last read of the same descriptor.
pub(super) fn until_unpopulated(group: &Path, deadline: Deadline) -> Result<(), CgroupError> {
    let path = group.join("cgroup.events");
    let file = match file::open(&path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(Operation::Wait, &path, errno)),
    };
    while populated(&file, &path)? {
        if deadline.passed() {
            return Err(deadline.still_populated(group));
        }
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        poll_until(&mut fds, deadline).map_err(|e| failed(Operation::Wait, &path, e))?;
    }
    Ok(())
}

/// Waits until a line stands in version 2's `cgroup.events`.
pub(super) fn until_event(group: &Path, line: &str, deadline: Deadline) -> Result<(), CgroupError> {
    let path = group.join("cgroup.events");
    let file = file::open(&path, OFlags::RDONLY).map_err(|e| failed(Operation::Wait, &path, e))?;
    while !event(&file, &path, line)? {
        if deadline.passed() {
            return Err(deadline.still_running(group));
        }
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        poll_until(&mut fds, deadline).map_err(|e| failed(Operation::Wait, &path, e))?;
    }
    Ok(())
}

fn populated(file: &OwnedFd, path: &Path) -> Result<bool, CgroupError> {
    event(file, path, "populated 1")
}

fn event(file: &OwnedFd, path: &Path, wanted: &str) -> Result<bool, CgroupError> {
    let mut text = [0; 256];
    match rustix::io::pread(file, &mut text, 0) {
        Ok(length) => Ok(text[..length]
            .split(|byte| *byte == b'\n')
            .any(|line| line == wanted.as_bytes())),
        // Removed meanwhile.
        Err(Errno::NODEV) => Ok(false),
        Err(errno) => Err(failed(Operation::Wait, path, errno)),
    }
}

/// An interrupted wait counts as one: the callers look again anyway.
fn poll_until(fds: &mut [PollFd<'_>], deadline: Deadline) -> Result<(), Errno> {
    let timeout = Timespec::try_from(deadline.remaining()).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_never_pass_the_deadline() {
        let mut pause = Pause::default();
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.passed());
        (0..20).for_each(|_| pause.take(deadline));
        assert_eq!(pause.0, LAST_PAUSE);
    }

    #[test]
    fn a_group_that_is_gone_is_not_populated() {
        let gone = Path::new("/sys/fs/cgroup/lakekeep-was-never-here");
        until_unpopulated(gone, Deadline::after(Duration::ZERO)).unwrap();
    }
}
