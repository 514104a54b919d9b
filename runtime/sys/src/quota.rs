//! Project quotas of a file system: ext4 and xfs count the blocks of all files of one
//! project, and refuse to give it more than its limit.
//!
//! A folder's project is inherited by what is made in it. Only the initial user namespace
//! may change a file's project (`fileattr_set_prepare` in the kernel), so nobody in a
//! sandbox can take a file out of its count.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Getter, Setter, opcode};

use crate::process::last_errno;

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_XFLAG_PROJINHERIT`: what is made in the folder is of its project.
const INHERITS: u32 = 0x200;

const GET_XATTR: rustix::ioctl::Opcode = opcode::read::<FsXattr>(b'X', 31);
const SET_XATTR: rustix::ioctl::Opcode = opcode::write::<FsXattr>(b'X', 32);

/// `PRJQUOTA`.
const PROJECT: u32 = 2;

/// `Q_GETQUOTA`, `Q_SETQUOTA` and `Q_XGETQSTAT` of linux/quota.h and linux/dqblk_xfs.h.
const GET: u32 = 0x80_0007;
const SET: u32 = 0x80_0008;
const STATE: u32 = 0x5805;

/// `QIF_BLIMITS`: the limits of blocks are to be set.
const BLOCK_LIMITS: u32 = 1;

/// Unit of limits in [`Block`], bytes (`QIF_DQBLKSIZE`).
const UNIT: u64 = 1024;

/// `FS_QUOTA_PDQ_ENFD`: limits of projects are enforced.
const ENFORCED: u16 = 1 << 5;

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    hard: u64,
    soft: u64,
    used: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// `struct fs_quota_stat` of linux/dqblk_xfs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct State {
    version: i8,
    flags: u16,
    padding: i8,
    /// `struct fs_qfilestat`, of users and of groups: inode, blocks, extents.
    files: [(u64, u64, u32); 2],
    dquots: u32,
    limits: [i32; 3],
    warnings: [u16; 2],
}

/// A folder's project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Project {
    /// Its number; 0: none.
    pub id: u32,
    /// What is made in the folder is of it.
    pub inherited: bool,
}

/// What a project may use and uses, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The limit; 0: none.
    pub limit: u64,
    /// In use.
    pub used: u64,
}

/// The project of an open folder.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` of a file system that has no projects.
pub fn project(folder: impl AsFd) -> Result<Project, Errno> {
    let found = attributes(folder.as_fd())?;
    Ok(Project {
        id: found.project,
        inherited: found.flags & INHERITS != 0,
    })
}

fn attributes(folder: BorrowedFd<'_>) -> Result<FsXattr, Errno> {
    // SAFETY: FS_IOC_FSGETXATTR writes one `struct fsxattr`, whose layout this is.
    let get = unsafe { Getter::<GET_XATTR, FsXattr>::new() };
    // SAFETY: any descriptor may be asked; one that knows no projects refuses.
    unsafe { rustix::ioctl::ioctl(folder, get) }
}

/// Gives an open folder a project, which what is made in it from now on has too.
///
/// # Errors
/// As of [`project`]; `EPERM` and `EINVAL` outside of the initial user namespace.
pub fn set_project(folder: impl AsFd, id: u32) -> Result<(), Errno> {
    let mut changed = attributes(folder.as_fd())?;
    changed.project = id;
    changed.flags |= INHERITS;
    // SAFETY: FS_IOC_FSSETXATTR reads one `struct fsxattr`, whose layout this is.
    let set = unsafe { Setter::<SET_XATTR, FsXattr>::new(changed) };
    // SAFETY: it changes the file's attributes, and nothing in this process.
    unsafe { rustix::ioctl::ioctl(folder, set) }
}

/// Whether the file system of an open folder enforces limits of projects.
///
/// # Errors
/// `ENOSYS` of a file system without quotas, and before Linux 5.14.
pub fn is_enforced(folder: impl AsFd) -> Result<bool, Errno> {
    let mut state = State {
        version: 1,
        ..State::default()
    };
    // SAFETY: Q_XGETQSTAT writes one `struct fs_quota_stat`, whose layout this is, and
    // which lives until the call has returned.
    unsafe { quotactl(folder.as_fd(), STATE, 0, (&raw mut state).cast())? };
    Ok(state.flags & ENFORCED != 0)
}

/// What a project may use and uses.
///
/// # Errors
/// `ESRCH` where the file system counts nothing.
pub fn blocks(folder: impl AsFd, project: u32) -> Result<Blocks, Errno> {
    let mut block = Block::default();
    // SAFETY: Q_GETQUOTA writes one `struct if_dqblk`, whose layout this is, and which
    // lives until the call has returned.
    unsafe { quotactl(folder.as_fd(), GET, project, (&raw mut block).cast())? };
    Ok(Blocks {
        limit: block.hard.saturating_mul(UNIT),
        used: block.used,
    })
}

/// Sets what a project may use, rounded up to whole KiB.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; `ESRCH` where the file system counts nothing.
pub fn set_limit(folder: impl AsFd, project: u32, bytes: u64) -> Result<(), Errno> {
    let units = bytes.div_ceil(UNIT);
    let mut block = Block {
        hard: units,
        soft: units,
        valid: BLOCK_LIMITS,
        ..Block::default()
    };
    // SAFETY: Q_SETQUOTA reads one `struct if_dqblk`, whose layout this is, and which
    // lives until the call has returned.
    unsafe { quotactl(folder.as_fd(), SET, project, (&raw mut block).cast()) }
}

/// quotactl_fd(2): by descriptor, where quotactl(2) wants the path of a device.
///
/// # Safety
/// `address` is of what `command` reads or writes.
unsafe fn quotactl(
    folder: BorrowedFd<'_>,
    command: u32,
    project: u32,
    address: *mut libc::c_void,
) -> Result<(), Errno> {
    // `QCMD` of linux/quota.h.
    let command = (command << 8) | PROJECT;
    // SAFETY: the descriptor is open for the call; the caller answers for the address.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            folder.as_raw_fd(),
            command,
            project,
            address,
        )
    };
    match answer {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<FsXattr>(), 28);
        assert_eq!(size_of::<Block>(), 72);
        assert_eq!(size_of::<State>(), 80);
        assert_eq!(GET_XATTR, 0x801c_581f);
        assert_eq!(SET_XATTR, 0x401c_5820);
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(project(&proc).is_err());
        assert!(is_enforced(&proc).is_err());
        assert!(blocks(&proc, 1).is_err());
    }
}
