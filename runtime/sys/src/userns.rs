//! User namespaces: made for an id map, or entered to work without root.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::thread::UnshareFlags;

use crate::error::{Context, Error};
use crate::process::{Cloned, Namespaces, clone_process, exit_now, kill, wait};

/// A range of identifiers: `inside..inside+count` are `outside..outside+count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First identifier as the namespace sees it.
    pub inside: u32,
    /// First identifier as its parent sees it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// A user namespace with the given maps and no process in it, for
/// [`crate::mount::restrict`].
///
/// # Errors
/// Of the clone, of writing the maps (`EPERM` without CAP_SETUID/CAP_SETGID
/// over the outer range), of opening the namespace.
pub fn with_maps(users: &[IdRange], groups: &[IdRange]) -> Result<OwnedFd, Error> {
    let (held, hold) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("pipe2", "id map")?;
    match clone_process(Namespaces::USER).context("clone3", "user namespace")? {
        Cloned::Child => {
            // Stays until the parent closes its end; nothing is allocated here.
            drop(hold);
            let mut byte = [0u8];
            // Whatever read answers, the parent is done with this process.
            let status = u8::from(rustix::io::read(&held, &mut byte).is_err());
            exit_now(status)
        }
        Cloned::Parent { pid, pidfd } => {
            let opened = map_and_open(pid.as_raw_nonzero().get(), users, groups);
            kill(&pidfd).context("pidfd_send_signal", "id map holder")?;
            wait(std::os::fd::AsFd::as_fd(&pidfd)).context("waitid", "id map holder")?;
            opened
        }
    }
}

fn map_and_open(pid: i32, users: &[IdRange], groups: &[IdRange]) -> Result<OwnedFd, Error> {
    write_map(&format!("/proc/{pid}/uid_map"), users)?;
    write_map(&format!("/proc/{pid}/gid_map"), groups)?;
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("open", path)
}

/// Writes a user namespace's `uid_map` or `gid_map`, once for all.
pub fn write_map(path: &str, ranges: &[IdRange]) -> Result<(), Error> {
    let text: String = ranges.iter().map(|range| format!("{range}\n")).collect();
    std::fs::write(path, text).context("write", path)
}

/// Moves the calling process into a new user namespace. Its maps are still to
/// be written, by itself (one own id) or by `newuidmap` from outside.
pub fn unshare() -> Result<(), Errno> {
    // SAFETY: rustix marks unshare unsafe for CLONE_FILES; CLONE_NEWUSER
    // changes credentials alone (the caller is single-threaded, or the kernel
    // answers EINVAL).
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }
}

/// Gives the calling process its own view of the cgroup tree, rooted where it
/// is now.
pub fn unshare_cgroup() -> Result<(), Errno> {
    // SAFETY: as above; CLONE_NEWCGROUP touches no memory and no descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
}
