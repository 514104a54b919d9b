//! What a zygote's sandbox keeps for the sandboxes of its tasks: host ids, one range for each
//! of them, and the zygote.
//!
//! A task is forked from a process outside of its sandbox, and then enters the sandbox. The
//! kernel lets nobody into a user namespace but its parent's root and its owner
//! (user_namespaces(7)). So each such sandbox's user namespace is made within that of the
//! zygote's, whose map has the ids of all of them, and belongs to the zygote's user: a
//! process without a single capability, but over what was made for it.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use lakekeep_protocol::launch::LaunchStep;
use lakekeep_protocol::zygote::ZygoteSpec;
use lakekeep_protocol::{CHANNEL_FD, Channel};
use lakekeep_sys::error::Context;
use lakekeep_sys::process::{self, Cloned, ExitGuard, Namespaces};
use lakekeep_sys::readback::Status;
use lakekeep_sys::userns::{self, IdRange, Nested, Owner};
use lakekeep_sys::{Errno, socket};
use rustix::process::Pid;

use crate::error::Failed;
use crate::ids::{Lease, Leases, SIZE};

/// A byte on the zygote's socket: with it, a connection; or its seal was read back.
const WORD: [u8; 1] = [1];

/// The exit status of a zygote that did not become the interpreter.
const NOT_STARTED: u8 = 72;

/// Ids set aside, and the zygote, if it was started.
#[derive(Debug)]
pub struct Nursery {
    namespace: OwnedFd,
    /// Held until the zygote's sandbox has ended: until then its root has them.
    set_aside: Vec<Rc<Lease>>,
    given: usize,
    zygote: Option<Zygote>,
}

/// What one sandbox gets.
#[derive(Debug)]
pub struct Nest {
    /// Its ids.
    pub lease: Rc<Lease>,
    /// Its namespaces.
    pub nested: Nested,
    /// Its init's end of its connection to the zygote.
    pub connection: OwnedFd,
}

/// A zygote; dropped, it is killed and reaped.
#[derive(Debug)]
struct Zygote {
    pidfd: OwnedFd,
    socket: OwnedFd,
    user: u32,
}

/// Where a zygote is started.
#[derive(Debug)]
pub struct Place<'a> {
    /// The init of its sandbox.
    pub init: &'a OwnedFd,
    /// First host id of its sandbox.
    pub first_id: u32,
    /// The ways into its sandbox's cgroups.
    pub doors: Vec<OwnedFd>,
    /// The init's program.
    pub program: &'a OwnedFd,
}

impl Nursery {
    /// Sets ids aside for `count` sandboxes, beside the zygote's own.
    ///
    /// # Errors
    /// When there are not so many, or the namespace cannot be made.
    pub fn make(own: &Lease, count: u16, leases: &mut Leases) -> Result<Self, Failed> {
        let set_aside = (0..count).map(|_| leases.take().map(Rc::new));
        let set_aside = set_aside.collect::<Result<Vec<_>, _>>()?;
        let all = std::iter::once(own.first()).chain(set_aside.iter().map(|lease| lease.first()));
        let map: Vec<IdRange> = (0u32..)
            .zip(all)
            .map(|(index, outside)| IdRange {
                inside: index * SIZE,
                outside,
                count: SIZE,
            })
            .collect();
        let namespace =
            userns::with_maps(&map, &map).map_err(Failed::kernel(LaunchStep::Zygote))?;
        Ok(Self {
            namespace,
            set_aside,
            given: 0,
            zygote: None,
        })
    }

    /// The zygote's own user namespace.
    pub fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// What the next sandbox gets. Ids are given once: what a zygote's layout in memory tells
    /// of its tasks' is worth the less, the fewer there are.
    ///
    /// # Errors
    /// `Zygote` when all were given, or there is no zygote (any more).
    pub fn nest(&mut self) -> Result<Nest, Failed> {
        let refuse = |detail: &str| Failed::refused(LaunchStep::Zygote, detail);
        let none = || refuse("no zygote was started in this sandbox");
        let zygote = self.zygote.as_ref().ok_or_else(none)?;
        let lease = self.set_aside.get(self.given);
        let lease = lease.ok_or_else(|| refuse("as many sandboxes as ids were set aside for"))?;
        let index = u32::try_from(self.given + 1).map_err(|_| refuse("too many sandboxes"))?;
        let owner = Owner {
            within: self.namespace.as_fd(),
            user: zygote.user,
        };
        let map = IdRange {
            inside: 0,
            outside: index * SIZE,
            count: SIZE,
        };
        let connection = zygote.connect()?;
        let nested = userns::nested(owner, map).map_err(Failed::kernel(LaunchStep::Zygote))?;
        let lease = Rc::clone(lease);
        self.given += 1;
        Ok(Nest {
            lease,
            nested,
            connection,
        })
    }

    /// Starts the zygote. What it imports, and whether it can, is not waited for.
    ///
    /// # Errors
    /// `Zygote`: there is one, or it could not be sealed; `ReadBack`.
    pub fn start(
        &mut self,
        place: &Place<'_>,
        spec: &ZygoteSpec,
        output: &OwnedFd,
    ) -> Result<(), Failed> {
        if self.zygote.is_some() {
            return Err(Failed::refused(LaunchStep::Zygote, "it has one"));
        }
        self.zygote = Some(Zygote::start(place, spec, output)?);
        Ok(())
    }
}

impl Zygote {
    /// In this order:
    ///
    /// 1. a child enters the sandbox: its cgroups, then all namespaces but the pid
    ///    namespace, for a process enters no pid namespace that is not below its own;
    /// 2. there it executes the init's program, which has nothing of the launcher's;
    /// 3. that one is told what it shall be, and seals itself;
    /// 4. it is read back, and then becomes the interpreter.
    fn start(place: &Place<'_>, spec: &ZygoteSpec, output: &OwnedFd) -> Result<Self, Failed> {
        let failed = |errno| Failed::errno(LaunchStep::Zygote, errno);
        let (ours, theirs) = socket::pair().map_err(failed)?;
        match process::clone_process(Namespaces::NONE).map_err(failed)? {
            Cloned::Child => {
                drop(ours);
                let _guard = ExitGuard(NOT_STARTED);
                let errno = match enter(place, &theirs, output) {
                    Ok(never) => match never {},
                    Err(errno) => errno,
                };
                let told = socket::send(&theirs, &errno.raw_os_error().to_le_bytes(), &[]);
                process::exit_now(NOT_STARTED + u8::from(told.is_err()))
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                let zygote = Self {
                    pidfd,
                    socket: ours,
                    user: spec.user,
                };
                zygote.hand_over(place, pid, spec)?;
                Ok(zygote)
            }
        }
    }

    fn hand_over(&self, place: &Place<'_>, pid: Pid, spec: &ZygoteSpec) -> Result<(), Failed> {
        let failed = |errno| Failed::errno(LaunchStep::Zygote, errno);
        let socket = self.socket.try_clone();
        let socket = socket.map_err(|error| Failed::other(LaunchStep::Zygote, &error))?;
        let spec_of: Channel<ZygoteSpec, ()> = Channel::new(socket);
        let sent = spec_of.send(spec, &[]);
        sent.map_err(|error| Failed::other(LaunchStep::Zygote, &error))?;
        let mut word = [0; 4];
        let received = socket::receive(&self.socket, &mut word).map_err(failed)?;
        match (received.length, i32::from_le_bytes(word)) {
            (4, 0) => {}
            (4, errno) => return Err(failed(Errno::from_raw_os_error(errno))),
            _ => return Err(failed(Errno::CHILD)),
        }
        read_back(place, pid, spec.user)?;
        socket::send(&self.socket, &WORD, &[]).map_err(failed)
    }

    /// A new connection to it.
    fn connect(&self) -> Result<OwnedFd, Failed> {
        let failed = |errno| Failed::errno(LaunchStep::Zygote, errno);
        let (init, zygote) = socket::pair().map_err(failed)?;
        match socket::send(&self.socket, &WORD, &[zygote.as_fd()]) {
            Err(Errno::PIPE | Errno::CONNRESET) => {
                Err(Failed::refused(LaunchStep::Zygote, "the zygote has ended"))
            }
            other => other.map(|()| init).map_err(failed),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let ended = process::kill(&self.pidfd).and_then(|()| process::wait(self.pidfd.as_fd()));
        if ended.is_err() {
            // Reaped by an error path of libcontainer's; the removal of its group kills
            // whatever there is.
        }
    }
}

/// In the child: into the sandbox, and on to the init's program.
fn enter(place: &Place<'_>, socket: &OwnedFd, output: &OwnedFd) -> Result<Infallible, Errno> {
    for door in &place.doors {
        rustix::io::write(door, b"0")?;
    }
    let clear = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, CHANNEL_FD + 1);
    let (program, socket, output) = (clear(place.program)?, clear(socket)?, clear(output)?);
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    userns::enter_all_but_pid(place.init.as_fd())?;
    process::place_at(null.as_fd(), 0)?;
    process::place_at(output.as_fd(), 1)?;
    process::place_at(output.as_fd(), 2)?;
    process::place_at(socket.as_fd(), CHANNEL_FD)?;
    process::cloexec_from(CHANNEL_FD.unsigned_abs() + 1)?;
    process::exec_file(program.as_fd(), &[ZYGOTE_NAME], &[])
}

/// [`lakekeep_protocol::zygote::ZYGOTE`] as exec takes it.
const ZYGOTE_NAME: &std::ffi::CStr = c"lakekeep-zygote";

/// What the kernel says of it, before the interpreter runs.
fn read_back(place: &Place<'_>, pid: Pid, user: u32) -> Result<(), Failed> {
    let pid = pid.as_raw_nonzero().to_string();
    let status = Status::read(Path::new("/proc"), &pid)
        .map_err(|error| error.errno)
        .context("read", "the zygote's status")
        .map_err(Failed::kernel(LaunchStep::ReadBack))?;
    let id = place.first_id + user;
    let sealed = status.users == [id; 4]
        && status.groups == [id; 4]
        && status.supplementary.is_empty()
        && status.capabilities.none()
        && status.no_new_privileges
        && status.seccomp_mode == 2;
    match sealed {
        true => Ok(()),
        false => Err(Failed::refused(
            LaunchStep::ReadBack,
            "the zygote is not sealed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_the_protocols() {
        assert_eq!(ZYGOTE_NAME.to_str(), Ok(lakekeep_protocol::zygote::ZYGOTE));
    }
}
