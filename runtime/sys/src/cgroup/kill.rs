//! Ending everything that runs in a group.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::file::{self, failed};
use super::wait::{self, Deadline, Pause};
use super::{CgroupError, Controller, Group, Operation, Version, tree};

/// Descriptors held at one time; well below any limit of open files.
const BATCH: usize = 256;

impl Group {
    /// Kills everything in the group and below it, waits until it is empty, and returns
    /// how many processes there were.
    ///
    /// Every hierarchy is gone through: who was being moved in when the launcher died
    /// is in some and not yet in others.
    ///
    /// # Errors
    /// [`CgroupError::ContainsCaller`]; [`CgroupError::StillPopulated`] after `timeout`.
    pub fn kill_all(&self, timeout: Duration) -> Result<usize, CgroupError> {
        self.kill_by(Deadline::after(timeout))
    }

    pub(super) fn kill_by(&self, deadline: Deadline) -> Result<usize, CgroupError> {
        let mut known = HashSet::new();
        for dir in &self.dirs {
            look(&dir.path, &mut known)?;
        }
        // Who is not there cannot fork; version 2 may hold some that we cannot see.
        let empty = known.is_empty();
        if !empty {
            self.thaw_to_end()?;
        }
        for dir in &self.dirs {
            if dir.version == Version::V2 && kill_at_once(&dir.path)? {
                wait::until_unpopulated(&dir.path, deadline)?;
            } else if !empty {
                self.kill_in_rounds(&dir.path, &mut known, deadline)?;
            }
        }
        Ok(known.len())
    }

    /// SIGKILL, wait, look again. Somebody new was forked faster than we read: then the
    /// group loses its right to fork, and the rounds come to an end.
    fn kill_in_rounds(
        &self,
        top: &Path,
        known: &mut HashSet<Pid>,
        deadline: Deadline,
    ) -> Result<(), CgroupError> {
        let mut pause = Pause::default();
        loop {
            let before = known.len();
            let pids = look(top, known)?;
            if pids.is_empty() {
                return Ok(());
            }
            if known.len() > before {
                self.forbid_forks();
            }
            for batch in pids.chunks(BATCH) {
                kill_batch(top, batch, deadline)?;
            }
            if deadline.passed() {
                return Err(deadline.still_populated(top));
            }
            // An ended process may be listed for a moment longer.
            if !tree::all_procs(top)?.is_empty() {
                pause.take(deadline);
            }
        }
    }

    fn forbid_forks(&self) {
        if let Some(dir) = self.made(Controller::Pids) {
            // If it fails the rounds only take longer; the deadline holds all the same.
            file::write(&dir.file("pids.max"), "0").ok();
        }
    }
}

/// Who is there; refuses if that includes the caller.
fn look(top: &Path, known: &mut HashSet<Pid>) -> Result<Vec<Pid>, CgroupError> {
    let pids = tree::all_procs(top)?;
    if pids.contains(&getpid()) {
        return Err(CgroupError::ContainsCaller {
            path: top.to_owned(),
        });
    }
    known.extend(pids.iter().copied());
    Ok(pids)
}

/// One write for the whole subtree, forks in progress included; false before Linux
/// 5.14, and where the group does not exist.
fn kill_at_once(top: &Path) -> Result<bool, CgroupError> {
    match file::write_as(Operation::Kill, &top.join("cgroup.kill"), "1") {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Between reading a number and opening it the process may have ended and the number
/// been given to a stranger. So the list is read once more with the descriptors open:
/// who is still listed under a number that we hold is the one that we hold.
fn kill_batch(top: &Path, pids: &[Pid], deadline: Deadline) -> Result<(), CgroupError> {
    let mut opened: Vec<(Pid, OwnedFd)> = Vec::with_capacity(pids.len());
    for &pid in pids {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => opened.push((pid, fd)),
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(Operation::Kill, top, errno)),
        }
    }
    let members: HashSet<Pid> = tree::all_procs(top)?.into_iter().collect();
    opened.retain(|(pid, _)| members.contains(pid));
    for (_, fd) in &opened {
        match pidfd_send_signal(fd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(Operation::Kill, top, errno)),
        }
    }
    let pidfds = opened.into_iter().map(|(_, fd)| fd).collect();
    wait::for_exits(pidfds, top, deadline)
}
