//! Removing groups, also those that a dead launcher left behind.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::file::failed;
use super::group::ROOT;
use super::wait::{self, Deadline, Pause};
use super::{CgroupError, Group, Hierarchy, Operation, Version, tree};

/// What a sweep found and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Processes that were still running.
    pub processes: usize,
    /// Directories, over all hierarchies.
    pub groups: usize,
}

impl Group {
    /// Removes the group and all below it from every hierarchy, and returns how many
    /// directories that were. Waits for what is ending; kills nothing.
    ///
    /// # Errors
    /// [`CgroupError::StillPopulated`] if something runs in it after `timeout`.
    pub fn remove(&self, timeout: Duration) -> Result<usize, CgroupError> {
        self.remove_by(Deadline::after(timeout))
    }

    fn remove_by(&self, deadline: Deadline) -> Result<usize, CgroupError> {
        let mut removed = 0;
        for dir in &self.dirs {
            removed += remove_tree(&dir.path, dir.version, deadline)?;
        }
        Ok(removed)
    }
}

impl Hierarchy {
    /// Kills what is left in a group of ours and removes it: `lakekeep/<launcher>` after
    /// that launcher died. Safe to repeat, and where nothing is left.
    ///
    /// # Errors
    /// As [`Group::new`], [`Group::kill_all`] and [`Group::remove`].
    pub fn sweep(&self, prefix: &str, timeout: Duration) -> Result<Swept, CgroupError> {
        let group = Group::new(self, prefix)?;
        let deadline = Deadline::after(timeout);
        let processes = group.kill_by(deadline)?;
        let groups = group.remove_by(deadline)?;
        Ok(Swept { processes, groups })
    }

    /// The names directly below `lakekeep/`, in any hierarchy: one for each launcher
    /// that lives, or died without cleaning up.
    ///
    /// # Errors
    /// If a directory cannot be listed.
    pub fn launchers(&self) -> Result<BTreeSet<String>, CgroupError> {
        let mut names = BTreeSet::new();
        for mount in self.mounts() {
            for child in tree::children(&self.base(mount).join(ROOT))? {
                names.extend(child.file_name().map(|n| n.to_string_lossy().into_owned()));
            }
        }
        Ok(names)
    }

    /// Removes `lakekeep` itself from every hierarchy where nothing is in it.
    ///
    /// # Errors
    /// If the kernel refuses for another reason than its being in use, gone, or
    /// another user's.
    pub fn prune(&self) -> Result<(), CgroupError> {
        for mount in self.mounts() {
            let root = self.base(mount).join(ROOT);
            match rustix::fs::rmdir(&root) {
                Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => {}
                // Root's, where this caller may make none.
                Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(failed(Operation::Remove, &root, errno)),
            }
        }
        Ok(())
    }
}

/// Mostly there is nothing below, and one call does it.
fn remove_tree(top: &Path, version: Version, deadline: Deadline) -> Result<usize, CgroupError> {
    match try_remove(top)? {
        Removal::Done => return Ok(1),
        Removal::Gone => return Ok(0),
        Removal::InUse => {}
    }
    let mut removed = 0;
    for group in tree::subtree(top)?.iter().rev() {
        removed += remove_one(group, version, deadline)?;
    }
    Ok(removed)
}

fn remove_one(group: &Path, version: Version, deadline: Deadline) -> Result<usize, CgroupError> {
    let mut pause = Pause::default();
    loop {
        match try_remove(group)? {
            Removal::Done => return Ok(1),
            Removal::Gone => return Ok(0),
            Removal::InUse if deadline.passed() => return Err(deadline.still_populated(group)),
            Removal::InUse => wait_for_end(group, version, &mut pause, deadline)?,
        }
    }
}

enum Removal {
    Done,
    Gone,
    InUse,
}

fn try_remove(group: &Path) -> Result<Removal, CgroupError> {
    match rustix::fs::rmdir(group) {
        Ok(()) => Ok(Removal::Done),
        Err(Errno::NOENT) => Ok(Removal::Gone),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(Removal::InUse),
        Err(errno) => Err(failed(Operation::Remove, group, errno)),
    }
}

/// Version 2 announces the end of the last process; version 1 lists who is there, and
/// for those who are ending but listed no more there is only looking again.
fn wait_for_end(
    group: &Path,
    version: Version,
    pause: &mut Pause,
    deadline: Deadline,
) -> Result<(), CgroupError> {
    if version == Version::V2 {
        wait::until_unpopulated(group, deadline)?;
    }
    let pidfds: Vec<OwnedFd> = tree::procs(group)?
        .into_iter()
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    if !pidfds.is_empty() {
        wait::for_exits(pidfds, group, deadline)?;
    }
    pause.take(deadline);
    Ok(())
}
