//! The bound of a volume on its disk: a project quota of its file system.
//!
//! The manager names a folder and a number; all else is looked at here. A folder is
//! taken only when it is empty, or is of the project that its inode gives it: nobody's
//! files get a bound that they did not have, whatever a manager asks for.

use std::os::fd::OwnedFd;
use std::path::Path;

use lakekeep_protocol::facts::{QuotaFacts, QuotaObstacle};
use lakekeep_protocol::launch::LaunchStep;
use lakekeep_sys::{Errno, mount, quota};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::error::Failed;

/// Our projects begin here: below are those that administrators give by hand.
const FIRST: u32 = 0x4000_0000;

/// The least bound: less than a block would refuse the folder itself.
const LEAST: u64 = 64 << 10;

/// Unit of limits, bytes.
const UNIT: u64 = 1024;

/// Bounds a folder, in this order:
///
/// 1. opened through no link, and a real directory;
/// 2. the file system must enforce, or a bound that is set means nothing;
/// 3. the folder's project: what is made in it from here on counts;
/// 4. the limit, after the project: no other's is ever changed;
/// 5. both read back.
pub fn bound(folder: &str, bytes: u64) -> Result<QuotaFacts, Failed> {
    if bytes < LEAST {
        let detail = "a quota of less than 64 KiB";
        return Err(Failed::refused(LaunchStep::Quota, detail));
    }
    let failed = |errno| Failed::errno(LaunchStep::Quota, errno);
    let folder = open(folder).map_err(failed)?;
    match quota::is_enforced(&folder) {
        Ok(true) => {}
        Ok(false) => return Ok(QuotaFacts::Missing(QuotaObstacle::NotEnforcing)),
        Err(errno) => return obstacle(errno),
    }
    let ours = number(&folder).map_err(failed)?;
    let found = match quota::project(&folder) {
        Ok(found) => found,
        Err(errno) => return obstacle(errno),
    };
    match found.id {
        0 if !is_empty(&folder).map_err(failed)? => {
            return Ok(QuotaFacts::Missing(QuotaObstacle::HoldsFiles(ours)));
        }
        other if other != 0 && other != ours => {
            return Ok(QuotaFacts::Missing(QuotaObstacle::OtherProject(other)));
        }
        _ => {}
    }
    let set = quota::set_project(&folder, ours);
    if let Err(errno) = set.and_then(|()| quota::set_limit(&folder, ours, bytes)) {
        return obstacle(errno);
    }
    read_back(&folder, ours, bytes)
}

fn read_back(folder: &OwnedFd, project: u32, bytes: u64) -> Result<QuotaFacts, Failed> {
    let failed = |errno| Failed::errno(LaunchStep::Quota, errno);
    let found = quota::project(folder).map_err(failed)?;
    let blocks = quota::blocks(folder, project).map_err(failed)?;
    let whole = bytes.div_ceil(UNIT).saturating_mul(UNIT);
    if found.id != project || !found.inherited || blocks.limit != whole {
        let detail = "the quota that was set is not the one that is there";
        return Err(Failed::refused(LaunchStep::Quota, detail));
    }
    Ok(QuotaFacts::Enforced {
        project,
        limit: blocks.limit,
        used: blocks.used,
    })
}

/// What the kernel's answer means, where it means that there are no quotas.
fn obstacle(errno: Errno) -> Result<QuotaFacts, Failed> {
    match errno {
        Errno::PERM | Errno::ACCESS => Ok(QuotaFacts::Missing(QuotaObstacle::Unprivileged)),
        // Of file systems without projects, without quotas, of kernels without either.
        Errno::NOTTY
        | Errno::OPNOTSUPP
        | Errno::NOSYS
        | Errno::INVAL
        | Errno::SRCH
        | Errno::NODEV => Ok(QuotaFacts::Missing(QuotaObstacle::NoProjects)),
        other => Err(Failed::errno(LaunchStep::Quota, other)),
    }
}

fn open(folder: &str) -> Result<OwnedFd, Errno> {
    let place = mount::host_place(Path::new(folder))?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    // The place itself cannot be asked for its project: it is only a place.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&place, ".", flags, Mode::empty())
}

/// A folder's project: of its inode, so that it is the same after every restart. Of two
/// folders whose long inode numbers share their last bits, both count against one bound.
fn number(folder: &OwnedFd) -> Result<u32, Errno> {
    let inode = rustix::fs::fstat(folder)?.st_ino;
    let low = u32::try_from(inode & u64::from(FIRST - 1)).unwrap_or(0);
    Ok(FIRST | low)
}

fn is_empty(folder: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(folder)? {
        if ![c".", c".."].contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_projects_is_an_answer_and_no_failure() {
        let missing = QuotaFacts::Missing(QuotaObstacle::NoProjects);
        assert_eq!(bound("/proc/self", 1 << 20).err().map(|_| ()), Some(()));
        assert_eq!(bound("/proc/sys", 1 << 20).unwrap(), missing);
    }

    #[test]
    fn what_is_no_folder_or_no_bound_is_refused() {
        assert!(bound("/etc/hostname", 1 << 20).is_err());
        assert!(bound("/nowhere", 1 << 20).is_err());
        assert!(bound("/proc/sys", 0).is_err());
    }
}
