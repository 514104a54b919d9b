//! Stopping everything that runs in a group where it is.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::file::{self, SHORT};
use super::wait::{self, Deadline, Pause};
use super::{CgroupError, Controller, Group, Version, tree};

impl Group {
    /// Freezes the group with all below it, and returns when nothing in it runs any
    /// more; or thaws it, which needs no waiting.
    ///
    /// # Errors
    /// [`CgroupError::NoController`] where version 1 has no freezer for the group;
    /// [`CgroupError::StillRunning`] after `timeout`: the group is thawed again.
    pub fn freeze(&self, frozen: bool, timeout: Duration) -> Result<(), CgroupError> {
        let controller = Controller::Freezer;
        let dir = self
            .made(controller)
            .ok_or(CgroupError::NoController { controller })?;
        let (name, on, off) = match dir.version {
            Version::V1 => ("freezer.state", "FROZEN", "THAWED"),
            Version::V2 => ("cgroup.freeze", "1", "0"),
        };
        let file = dir.file(name);
        if !frozen {
            return file::write(&file, off);
        }
        file::write(&file, on)?;
        let deadline = Deadline::after(timeout);
        let stopped = match dir.version {
            Version::V1 => until_frozen_v1(&file, deadline),
            Version::V2 => wait::until_event(&dir.path, "frozen 1", deadline),
        };
        if stopped.is_err() {
            file::write(&file, off)?;
        }
        stopped
    }

    /// Lets frozen groups of version 1 go on, this one and all below it, each of which can
    /// have been frozen by itself: there a killed process does not end before it runs
    /// again. Version 2 ends frozen processes as any other.
    pub(super) fn thaw_to_end(&self) -> Result<(), CgroupError> {
        let freezer = self.made(Controller::Freezer);
        let Some(dir) = freezer.filter(|dir| dir.version == Version::V1) else {
            return Ok(());
        };
        for group in tree::subtree(&dir.path)? {
            match file::write(&group.join("freezer.state"), "THAWED") {
                // Another sweeper was faster.
                Err(error) if error.errno() == Some(Errno::NOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Version 1 announces the end of freezing nowhere.
fn until_frozen_v1(file: &Path, deadline: Deadline) -> Result<(), CgroupError> {
    let mut pause = Pause::default();
    loop {
        if file::require(file, SHORT)?.trim() == "FROZEN" {
            return Ok(());
        }
        if deadline.passed() {
            return Err(deadline.still_running(file));
        }
        // A process that was forked meanwhile is caught by writing again
        // (cgroup-v1/freezer-subsystem.rst).
        file::write(file, "FROZEN")?;
        pause.take(deadline);
    }
}
