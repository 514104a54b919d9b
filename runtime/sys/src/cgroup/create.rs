//! Making groups and putting processes into them.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::{self, SHORT, failed};
use super::group::Dir;
use super::{CgroupError, Controller, Group, Operation, Version};

/// Losing a race this often in a row means that it is none.
const TRIES: u32 = 5;

impl Group {
    /// Makes the group in each hierarchy that holds one of these controllers. On
    /// failure what was made is removed again.
    ///
    /// The group must be new: one that exists may hold limits and processes of another.
    ///
    /// # Errors
    /// [`CgroupError::NoController`] if one is in no hierarchy; otherwise what the
    /// kernel refused, with the remedy.
    pub fn create(&self, controllers: &[Controller]) -> Result<(), CgroupError> {
        let mut made = Vec::new();
        let result = self.create_each(controllers, &mut made);
        if result.is_err() {
            // Ours and empty: if this fails too, the first failure is the one to report.
            made.iter().rev().for_each(|path| {
                rustix::fs::rmdir(path).ok();
            });
        }
        result
    }

    /// Moves a process into the group, in every hierarchy where the group was made.
    ///
    /// # Errors
    /// If the group is in no hierarchy, or the process is gone or not the caller's.
    pub fn attach(&self, pid: Pid) -> Result<(), CgroupError> {
        self.require()?;
        let text = pid.as_raw_nonzero().to_string();
        for dir in self.dirs.iter().filter(|dir| dir.exists()) {
            file::write_as(Operation::Attach, &dir.file("cgroup.procs"), &text)?;
        }
        Ok(())
    }

    fn create_each(
        &self,
        controllers: &[Controller],
        made: &mut Vec<PathBuf>,
    ) -> Result<(), CgroupError> {
        for &controller in controllers {
            self.dir_of(controller)
                .ok_or(CgroupError::NoController { controller })?;
        }
        for dir in &self.dirs {
            let wanted: Vec<Controller> = held(dir, controllers);
            if !wanted.is_empty() {
                create_in(dir, &wanted, made)?;
            }
        }
        Ok(())
    }
}

/// Another launcher may prune an empty `lakekeep` between our two mkdirs.
fn create_in(dir: &Dir, wanted: &[Controller], made: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
    for _ in 1..TRIES {
        match create_levels(dir, wanted, made) {
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            other => return other,
        }
    }
    create_levels(dir, wanted, made)
}

fn held(dir: &Dir, controllers: &[Controller]) -> Vec<Controller> {
    controllers
        .iter()
        .copied()
        .filter(|c| dir.controllers.contains(c))
        .collect()
}

/// From `lakekeep` down. On version 2 a controller must be enabled in a group before
/// its children have it; on version 1 a cpuset must be filled before it can be used.
fn create_levels(
    dir: &Dir,
    wanted: &[Controller],
    made: &mut Vec<PathBuf>,
) -> Result<(), CgroupError> {
    let levels: Vec<&Path> = dir
        .path
        .ancestors()
        .take_while(|level| *level != dir.base)
        .collect();
    let mut parent = dir.base.as_path();
    for level in levels.into_iter().rev() {
        if dir.version == Version::V2 {
            enable(parent, wanted)?;
        }
        let last = level == dir.path;
        match rustix::fs::mkdir(level, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.push(level.to_owned()),
            Err(Errno::EXIST) if !last => {}
            Err(errno) => return Err(failed(Operation::Create, level, errno)),
        }
        if dir.version == Version::V1 && wanted.contains(&Controller::Cpuset) {
            fill_cpuset(parent, level)?;
        }
        parent = level;
    }
    Ok(())
}

/// Enables in one write what is not enabled yet.
fn enable(group: &Path, wanted: &[Controller]) -> Result<(), CgroupError> {
    let path = group.join("cgroup.subtree_control");
    let now = file::require(&path, SHORT)?;
    let lacking: Vec<String> = wanted
        .iter()
        .filter(|c| !c.built_into_v2() && now.split_whitespace().all(|name| name != c.name()))
        .map(|c| format!("+{c}"))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    file::write_as(Operation::Enable, &path, &lacking.join(" "))
}

/// A new version 1 cpuset is empty, and refuses every process until both are set.
fn fill_cpuset(parent: &Path, group: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(name);
        if file::require(&own, SHORT)?.trim().is_empty() {
            let inherited = file::require(&parent.join(name), SHORT)?;
            file::write(&own, inherited.trim())?;
        }
    }
    Ok(())
}
