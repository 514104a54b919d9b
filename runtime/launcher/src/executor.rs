//! What libcontainer runs as a container's first process: our seal, its
//! read-back, and the exec of the init. It always execs, for until then the
//! process has the launcher's memory and descriptors.

use std::collections::HashMap;
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use lakekeep_protocol::{CHANNEL_FD, ZYGOTE_FD};
use lakekeep_sys::readback::Status;
use lakekeep_sys::{Errno, process, seal, userns};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::process::Signal;

/// What the container's process needs of the launcher's descriptors.
#[derive(Debug)]
pub struct Descriptors {
    /// The init's program, sealed.
    pub program: Rc<OwnedFd>,
    /// The init's end of its socket to the manager.
    pub channel: OwnedFd,
    /// Where "0" makes the writer a member of the sandbox's cgroups; none where
    /// libcontainer joins them.
    pub entrances: Vec<OwnedFd>,
    /// For the init of a sandbox that has a zygote ([`ZYGOTE_FD`]).
    pub zygote: Option<OwnedFd>,
    /// Where a failed seal is told: an index and an errno, eight bytes.
    pub report: OwnedFd,
}

/// The executor of one container.
#[derive(Debug, Clone)]
pub struct Seal {
    descriptors: Rc<Descriptors>,
    capabilities: u64,
}

/// A check of the seal that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Index into [`CHECKS`].
    pub check: u32,
    /// The kernel's errno, or 0 when the kernel answered something else than
    /// the plan says.
    pub errno: i32,
}

/// The checks, in the order in which they are made.
pub const CHECKS: [&str; 7] = [
    "the seal itself",
    "no_new_privs is not set",
    "a capability that the plan does not give",
    "not user 0 of its user namespace",
    "inheritable or ambient capabilities",
    "exec of the init",
    "joining the sandbox's cgroups",
];

const SEALING: u32 = 0;
const EXEC: u32 = 5;
const JOINING: u32 = 6;

impl Seal {
    pub fn new(descriptors: Descriptors, capabilities: u64) -> Self {
        Self {
            descriptors: Rc::new(descriptors),
            capabilities,
        }
    }

    fn seal(&self) -> Result<(), Broken> {
        let sealing = |errno: Errno| Broken {
            check: SEALING,
            errno: errno.raw_os_error(),
        };
        self.join_groups().map_err(|errno| Broken {
            check: JOINING,
            errno: errno.raw_os_error(),
        })?;
        seal::not_dumpable().map_err(sealing)?;
        // The launcher is this process's parent: when it dies, so does this.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(sealing)?;
        match seal::fresh_keyring() {
            Err(Errno::NOSYS) => {}
            other => other.map_err(sealing)?,
        }
        // The pivot is done: /proc is the container's own.
        let status =
            Status::read(Path::new("/proc"), "self").map_err(|error| sealing(error.errno))?;
        self.verify(&status)
    }

    /// Enters the sandbox's cgroups, and then a cgroup namespace, whose root is
    /// where its maker is at that moment.
    fn join_groups(&self) -> Result<(), Errno> {
        for entrance in &self.descriptors.entrances {
            rustix::io::write(entrance, b"0")?;
        }
        userns::unshare_cgroup()
    }

    /// libcontainer ignores a failed `no_new_privs` and only warns of more: what
    /// counts is what the kernel says.
    fn verify(&self, status: &Status) -> Result<(), Broken> {
        let sets = status.capabilities;
        let held = [
            true,
            status.no_new_privileges,
            (sets.effective | sets.permitted | sets.bounding) & !self.capabilities == 0,
            status.users == [0; 4] && status.groups == [0; 4],
            sets.inheritable == 0 && sets.ambient == 0,
        ];
        match (0u32..).zip(held).find(|(_, holds)| !holds) {
            Some((check, _)) => Err(Broken { check, errno: 0 }),
            None => Ok(()),
        }
    }

    fn become_init(&self) -> Result<Infallible, Errno> {
        let program = &self.descriptors.program;
        // Clear of 3 and 4, where the sockets go.
        let clear = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, ZYGOTE_FD + 1);
        let program = clear(program)?;
        let zygote = self.descriptors.zygote.as_ref().map(clear).transpose()?;
        process::place_at(self.descriptors.channel.as_fd(), CHANNEL_FD)?;
        let Some(zygote) = zygote else {
            process::cloexec_from(CHANNEL_FD.unsigned_abs() + 1)?;
            return process::exec_file(program.as_fd(), &[c"lakekeep-init"], &[]);
        };
        process::place_at(zygote.as_fd(), ZYGOTE_FD)?;
        process::cloexec_from(ZYGOTE_FD.unsigned_abs() + 1)?;
        process::exec_file(program.as_fd(), &[c"lakekeep-init", c"zygote"], &[])
    }

    fn report(&self, broken: Broken) {
        let mut record = [0; 8];
        let (check, errno) = record.split_at_mut(4);
        check.copy_from_slice(&broken.check.to_le_bytes());
        errno.copy_from_slice(&broken.errno.to_le_bytes());
        // An unread report still fails the creation, by libcontainer's channel.
        if rustix::io::write(&self.descriptors.report, &record).is_err() {
            process::exit_now(1);
        }
    }
}

/// Reads a report that a container's process may have left.
pub fn read_report(report: BorrowedFd<'_>) -> Option<Broken> {
    let mut record = [0; 8];
    match rustix::io::read(report, &mut record) {
        Ok(8) => Some(Broken {
            check: u32::from_le_bytes([record[0], record[1], record[2], record[3]]),
            errno: i32::from_le_bytes([record[4], record[5], record[6], record[7]]),
        }),
        _ => None,
    }
}

impl Executor for Seal {
    /// Runs when everything of libcontainer's is in place, and before it says
    /// that the container is created: a broken seal is a failed creation.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.seal().map_err(|broken| {
            self.report(broken);
            let name = CHECKS
                .get(broken.check as usize)
                .copied()
                .unwrap_or_default();
            ExecutorValidationError::ArgValidationError(name.to_owned())
        })
    }

    /// The init gets no variable at all, by an empty list at exec: the process
    /// environment, which is the launcher's copy, need not be touched.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let Err(errno) = self.become_init();
        self.report(Broken {
            check: EXEC,
            errno: errno.raw_os_error(),
        });
        debug_assert!(self.descriptors.program.as_raw_fd() >= 0);
        process::exit_now(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_with(capabilities: u64) -> Seal {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let descriptors = Descriptors {
            program: Rc::new(null()),
            channel: null(),
            entrances: Vec::new(),
            zygote: None,
            report: null(),
        };
        Seal::new(descriptors, capabilities)
    }

    fn good() -> Status {
        let mut status = Status {
            no_new_privileges: true,
            ..Status::default()
        };
        status.capabilities.effective = 0b10;
        status.capabilities.bounding = 0b10;
        status
    }

    #[test]
    fn a_seal_as_planned_holds() {
        assert_eq!(seal_with(0b11).verify(&good()), Ok(()));
    }

    #[test]
    fn each_broken_part_is_found() {
        let broken = |change: fn(&mut Status)| {
            let mut status = good();
            change(&mut status);
            seal_with(0b11).verify(&status).unwrap_err().check
        };
        assert_eq!(broken(|s| s.no_new_privileges = false), 1);
        assert_eq!(broken(|s| s.capabilities.bounding |= 0b100), 2);
        assert_eq!(broken(|s| s.users[1] = 7), 3);
        assert_eq!(broken(|s| s.capabilities.ambient = 1), 4);
    }
}
