//! The groups below a group, and the processes in them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Pid;

use super::file::{self, LONG, failed};
use super::{CgroupError, Operation, parse};

/// No sandbox of ours makes more groups; a walk that finds more gives up.
const MAX_GROUPS: usize = 1 << 16;

/// The group and all below it, each after the one that it is in; empty if it is gone.
pub(super) fn subtree(top: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut groups = vec![top.to_owned()];
    let mut next = 0;
    while let Some(group) = groups.get(next).cloned() {
        groups.extend(children(&group)?);
        if groups.len() > MAX_GROUPS {
            return Err(CgroupError::TooManyGroups {
                path: top.to_owned(),
                limit: MAX_GROUPS,
            });
        }
        next += 1;
    }
    Ok(groups)
}

/// The groups directly below a group.
pub(super) fn children(group: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    if is_leaf(group)? {
        return Ok(Vec::new());
    }
    let list = |error: std::io::Error| {
        failed(
            Operation::List,
            group,
            Errno::from_io_error(&error).unwrap_or(Errno::IO),
        )
    };
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(group) {
        // Removed since it was looked at: the last launcher of a host does that.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        other => other.map_err(list)?,
    };
    for entry in entries {
        let entry = entry.map_err(list)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The processes of one group; none if it is gone. A process of a pid namespace that
/// the caller cannot see is listed as 0 by version 2 and is left out here.
///
/// A threaded group has no such list: the domain above it lists its processes. What
/// runs inside may have made one, so it must not keep us from looking at the others.
pub(super) fn procs(group: &Path) -> Result<Vec<Pid>, CgroupError> {
    let path = group.join("cgroup.procs");
    let text = match file::read(&path, LONG) {
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => None,
        other => other?,
    };
    text.unwrap_or_default()
        .lines()
        .filter(|line| *line != "0")
        .map(|line| pid(line).ok_or_else(|| parse::malformed(&path, line, "a process id")))
        .collect()
}

/// The processes of a group and of all below it.
pub(super) fn all_procs(top: &Path) -> Result<Vec<Pid>, CgroupError> {
    let mut all = Vec::new();
    for group in subtree(top)? {
        all.extend(procs(&group)?);
    }
    Ok(all)
}

/// kernfs counts subdirectories in the link count: one call instead of a listing.
fn is_leaf(group: &Path) -> Result<bool, CgroupError> {
    match rustix::fs::lstat(group) {
        Ok(stat) => Ok(stat.st_nlink <= 2),
        Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(failed(Operation::List, group, errno)),
    }
}

fn pid(line: &str) -> Option<Pid> {
    line.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_has_no_groups_and_no_processes() {
        let gone = Path::new("/sys/fs/cgroup/lakekeep-was-never-here");
        assert!(children(gone).unwrap().is_empty());
        assert!(all_procs(gone).unwrap().is_empty());
    }

    #[test]
    fn a_process_id_is_a_positive_number() {
        assert_eq!(pid("12").map(Pid::as_raw_nonzero).map(i32::from), Some(12));
        assert!(pid("x").is_none());
        assert!(pid("").is_none());
    }
}
