//! Mounts by descriptor: cloned, restricted while still detached, then placed.
//!
//! No function here takes a destination by a path that a sandbox could swap:
//! targets are opened beneath a root first, without following links.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use crate::process::last_errno;

bitflags_lite! {
    /// What a mount must not be good for (`mount_setattr(2)`).
    Restrict {
        /// Nothing on it can be changed.
        READ_ONLY = libc::MOUNT_ATTR_RDONLY,
        /// Set-user-ID bits and file capabilities have no effect.
        NO_SUID = libc::MOUNT_ATTR_NOSUID,
        /// Device nodes cannot be opened.
        NO_DEVICES = libc::MOUNT_ATTR_NODEV,
        /// Nothing on it can be executed.
        NO_EXEC = libc::MOUNT_ATTR_NOEXEC,
        /// Symbolic links on it are not followed.
        NO_SYMLINKS = libc::MOUNT_ATTR_NOSYMFOLLOW,
    }
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Gives the calling thread its own mount table, in which nothing that is
/// mounted or unmounted from now on reaches the host, nor the reverse.
pub fn unshare() -> Result<(), Errno> {
    // SAFETY: rustix marks unshare unsafe for CLONE_FILES; CLONE_NEWNS touches
    // no memory and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)
}

/// The caller's own mount table, for [`enter`] to come back to.
pub fn own_table() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())
}

/// Moves the calling process into the mount table `table`; its root and its working directory
/// are then that table's root (setns(2)).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the table's user namespace and CAP_SYS_CHROOT in the
/// caller's own; `EINVAL` when the process has several threads.
pub fn enter(table: impl AsFd) -> Result<(), Errno> {
    let table = table.as_fd();
    rustix::thread::move_into_link_name_space(table, Some(LinkNameSpaceType::Mount))
}

/// The same for the table of the process behind `pidfd` (Linux 5.8).
///
/// # Errors
/// As of [`enter`]; `ESRCH` when it has ended; `EPERM` without the right to look at it.
pub fn enter_table_of(pidfd: impl AsFd) -> Result<(), Errno> {
    rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::MOUNT)
}

/// A detached copy of the mount at `path`, with all that is mounted below it.
pub fn clone_tree(directory: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    rustix::mount::open_tree(directory, path, flags)
}

/// Restricts a detached tree and all mounts of it, and, with `id_map` (a user
/// namespace), shows its owners through that map.
///
/// # Errors
/// `EINVAL` when the file system cannot be id-mapped; `EPERM` without
/// CAP_SYS_ADMIN over the file system's own user namespace.
pub fn restrict(
    tree: impl AsFd,
    what: Restrict,
    id_map: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    set_attributes(tree, what, id_map, libc::AT_RECURSIVE)
}

/// Restricts one mount and none below it.
pub fn restrict_one(place: impl AsFd, what: Restrict) -> Result<(), Errno> {
    set_attributes(place, what, None, 0)
}

fn set_attributes(
    tree: impl AsFd,
    what: Restrict,
    id_map: Option<BorrowedFd<'_>>,
    depth: libc::c_int,
) -> Result<(), Errno> {
    let mut attributes = MountAttr {
        attr_set: what.bits(),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    if let Some(map) = id_map {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = u64::try_from(map.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    // SAFETY: mount_setattr has no safe wrapper. The path is a literal, the
    // structure is live, of the published layout and size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Places a detached tree on the open directory or file `target`.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// Places a detached tree at `target`, a path of the caller's own making.
pub fn attach_at(tree: impl AsFd, target: &CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", CWD, target, flags)
}

/// A new file system of type `kind`, mounted nowhere yet. Options are
/// `(key, value)`; an empty value sets a flag.
pub fn new_detached(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    what: Restrict,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let bits = u32::try_from(what.bits()).map_err(|_| Errno::OVERFLOW)?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(bits),
    )
}

/// Unmounts what is at `target`, at once for new look-ups.
pub fn detach(target: &CStr) -> Result<(), Errno> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// Opens what `path` names beneath `root`, following no symbolic link and no
/// magic link and never leaving the root, as a place (`O_PATH`).
///
/// # Errors
/// `ELOOP` when a component is a symbolic link; `EXDEV` when the path leaves
/// the root; `ENOENT`, `ENOTDIR` as usual.
pub fn beneath(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() {
        return rustix::io::fcntl_dupfd_cloexec(root, 0);
    }
    rustix::fs::openat2(
        root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens the host path `path` as a place, following no symbolic link.
pub fn host_place(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}
