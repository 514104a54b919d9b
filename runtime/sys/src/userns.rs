//! User namespaces: made for an id map, or entered to work without root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use crate::error::{Context, Error};
use crate::process::{
    Cloned, ExitGuard, Namespaces, clone_process, close_from, exit_now, kill, place_at, wait,
};
use crate::{net, socket};

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

/// Whose a user namespace is: a user of the namespace `within`, who has every capability
/// over it from there (user_namespaces(7)).
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The parent.
    pub within: BorrowedFd<'a>,
    /// As the parent numbers it; user and group.
    pub user: u32,
}

/// A user namespace, and a network namespace that it owns, in which loopback is up. Nobody
/// is in them.
#[derive(Debug)]
pub struct Nested {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace.
    pub network: OwnedFd,
}

/// Makes a user namespace within another, with one map for users and groups: `outside` as
/// the parent numbers it.
///
/// The caller must have the parent's capabilities, and be single-threaded.
///
/// # Errors
/// Of clone3, setns, unshare, of writing the map, of the network namespace.
pub fn nested(owner: Owner<'_>, map: IdRange) -> Result<Nested, Error> {
    let object = "nested user namespace";
    let (ours, theirs) = socket::pair().context("socketpair", object)?;
    match clone_process(Namespaces::NONE).context("clone3", object)? {
        Cloned::Child => {
            drop(ours);
            let _guard = ExitGuard(1);
            let errno = match parent_of_nested(owner, map, &theirs) {
                Ok(()) => exit_now(0),
                Err(errno) => errno,
            };
            let told = socket::send(&theirs, &errno.raw_os_error().to_le_bytes(), &[]);
            exit_now(1 + u8::from(told.is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            let mut word = [0; 4];
            let received = socket::receive(&ours, &mut word);
            // It ends by itself when it has reaped its own child, whom nobody else would.
            wait(pidfd.as_fd()).context("waitid", object)?;
            let received = received.context("recvmsg", object)?;
            let failed = |errno| Error::new("make", object, errno);
            match i32::from_le_bytes(word) {
                0 => {
                    let made: Result<[OwnedFd; 2], _> = received.descriptors.try_into();
                    let [user, network] = made.map_err(|_| failed(Errno::CHILD))?;
                    Ok(Nested { user, network })
                }
                errno => Err(failed(Errno::from_raw_os_error(errno))),
            }
        }
    }
}

/// In a child: enters the parent namespace as its root, has a child of its own make the
/// nested one, and writes that one's map: which only somebody in the parent may.
fn parent_of_nested(owner: Owner<'_>, map: IdRange, to: &OwnedFd) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(owner.within, Some(LinkNameSpaceType::User))?;
    become_one(0)?;
    let (here, there) = socket::pair()?;
    match clone_process(Namespaces::NONE)? {
        Cloned::Child => {
            drop(here);
            let _guard = ExitGuard(1);
            let made = make_nested(owner.user, &there, to);
            exit_now(u8::from(made.is_err()))
        }
        Cloned::Parent { pid, pidfd } => {
            drop(there);
            // Its end is told by the closed socket.
            let unshared = socket::receive(&here, &mut [0]);
            let mapped = unshared.and_then(|received| match received.length {
                0 => Err(Errno::CHILD),
                _ => map_one(pid.as_raw_nonzero().get(), map),
            });
            if mapped.is_ok() {
                socket::send(&here, &[1], &[])?;
            } else {
                kill(&pidfd)?;
            }
            wait(pidfd.as_fd())?;
            mapped
        }
    }
}

/// In the child's child: becomes the owner, makes the namespaces, and sends them away.
fn make_nested(owner: u32, parent: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    const PARENT: i32 = 3;
    const TO: i32 = 4;
    // As the owner this process could be looked at by whoever else is that user: of its
    // maker's descriptors it keeps none.
    let to = rustix::io::fcntl_dupfd_cloexec(to, 16)?;
    place_at(parent.as_fd(), PARENT)?;
    place_at(to.as_fd(), TO)?;
    close_from(5)?;
    let at = |number| crate::process::inherited(number);
    let (parent, to) = (at(PARENT)?, at(TO)?);
    become_one(owner)?;
    unshare()?;
    // Or the map would be the host root's to write alone (proc_pid_uid_map(5)).
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    socket::send(&parent, &[1], &[])?;
    if socket::receive(&parent, &mut [0])?.length == 0 {
        return Err(Errno::CHILD);
    }
    net::unshare()?;
    let open = |path: &str| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (user, network) = (open("/proc/self/ns/user")?, open("/proc/self/ns/net")?);
    socket::send(&to, &0i32.to_le_bytes(), &[user.as_fd(), network.as_fd()])
}

/// Becomes user and group `id` of the present user namespace, with no other group.
fn become_one(id: u32) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(&[])?;
    let group = Gid::from_raw(id);
    rustix::thread::set_thread_res_gid(group, group, group)?;
    let user = Uid::from_raw(id);
    rustix::thread::set_thread_res_uid(user, user, user)
}

fn map_one(pid: i32, map: IdRange) -> Result<(), Errno> {
    let write =
        |file: &str| write_map(&format!("/proc/{pid}/{file}"), &[map]).map_err(|error| error.errno);
    write("uid_map")?;
    write("gid_map")
}

/// Enters all namespaces of the process behind `pidfd` but its pid namespace, and becomes
/// the root of its user namespace.
///
/// # Errors
/// Of setns (`EPERM` without capabilities over them) and of the change of identity.
pub fn enter_all_but_pid(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let all = ThreadNameSpaceType::USER
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    rustix::thread::move_into_thread_name_spaces(pidfd, all)?;
    become_one(0)
}
