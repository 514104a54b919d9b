//! libcontainer's part, and the pitfalls that it leaves to its caller.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use lakekeep_plan::oci::{self, Placement};
use lakekeep_protocol::facts::ProcessFacts;
use lakekeep_protocol::launch::{LaunchStep, SandboxSpec};
use lakekeep_sys::readback::{NamespaceIds, Status, descriptors};
use lakekeep_sys::{Errno, net, process};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::error::Failed;
use crate::executor::{Broken, CHECKS, Descriptors, Seal, read_report};
use crate::strays;

/// Where a container's bundle and libcontainer's state lie.
#[derive(Debug, Clone, Copy)]
pub struct Folders<'a> {
    /// Holds `config.json`.
    pub bundle: &'a Path,
    /// libcontainer's root path.
    pub state: &'a Path,
}

/// What a new container's process is given.
#[derive(Debug)]
pub struct Inherited<'a> {
    /// The inits that live already.
    pub inits: &'a [Pid],
    /// The init's program.
    pub program: Rc<OwnedFd>,
    /// The init's socket.
    pub channel: OwnedFd,
    /// The network namespace, if one is ready.
    pub network: Option<OwnedFd>,
    /// Its ways into the sandbox's cgroups.
    pub entrances: Vec<OwnedFd>,
    /// What it has of its zygote, if it has one.
    pub zygote: Option<OwnedFd>,
}

/// A container's first process; dropped, it is killed and reaped.
#[derive(Debug)]
pub struct InitProcess {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

/// Makes the container and starts its init.
///
/// The network namespace comes first and is left out of the specification: it
/// belongs to the launcher's user namespace, so nothing inside can change it,
/// and libcontainer, which enters the sandbox's user namespace before all
/// others, could not join it by path.
pub fn create(
    spec: &SandboxSpec,
    placement: &Placement<'_>,
    folders: &Folders<'_>,
    inherited: Inherited<'_>,
) -> Result<(InitProcess, ProcessFacts), Failed> {
    let inherited_inits = inherited.inits;
    write_config(spec, placement, folders)?;
    let (report, report_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|errno| Failed::errno(LaunchStep::Container, errno))?;
    let seal = Seal::new(
        Descriptors {
            program: inherited.program,
            channel: inherited.channel,
            entrances: inherited.entrances,
            zygote: inherited.zygote,
            report: report_end,
        },
        spec.init_capabilities,
    );
    let built = in_network(inherited.network, || build(spec, folders, seal, &report));
    let mut container = match built {
        Ok(container) => container,
        Err(failed) => {
            // libcontainer leaves its helper waiting for an answer that never comes.
            return Err(match strays::end(inherited_inits)? {
                // A seal that was found broken is the reason, whatever ended.
                Some(signal) if failed.is_of(LaunchStep::Container) => {
                    Failed::interrupted(LaunchStep::Container, signal)
                }
                _ => failed,
            });
        }
    };
    let mut init = InitProcess::of(&container)?;
    let facts = init.read_back(placement)?;
    container
        .start()
        .map_err(|error| Failed::other(LaunchStep::Start, &error))?;
    init.check_alive()?;
    Ok((init, facts))
}

fn write_config(
    spec: &SandboxSpec,
    placement: &Placement<'_>,
    folders: &Folders<'_>,
) -> Result<(), Failed> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| Failed::other(LaunchStep::Container, error);
    let config = oci::spec(spec, placement).map_err(|error| failed(&error))?;
    config
        .save(folders.bundle.join("config.json"))
        .map_err(|error| failed(&error))
}

/// Runs `make` in a network namespace of its own, the one that is `ready` or a
/// new one, and returns to the present one.
fn in_network<T>(
    ready: Option<OwnedFd>,
    make: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let failed = |errno| Failed::errno(LaunchStep::Network, errno);
    let home = net::current().map_err(failed)?;
    match ready {
        Some(network) => net::enter(network),
        None => net::unshare(),
    }
    .map_err(failed)?;
    let made = make();
    // Staying behind in a sandbox's network would be worse than losing the
    // request: this error outranks the other.
    net::enter(&home).map_err(failed)?;
    made
}

fn build(
    spec: &SandboxSpec,
    folders: &Folders<'_>,
    seal: Seal,
    report: &OwnedFd,
) -> Result<Container, Failed> {
    let failed = |error: &(dyn std::error::Error + 'static)| match read_report(report.as_fd()) {
        Some(broken) => broken_seal(broken),
        None => Failed::other(LaunchStep::Container, error),
    };
    let null = || -> Result<OwnedFd, Failed> {
        let file = File::options().read(true).write(true).open("/dev/null");
        file.map(OwnedFd::from).map_err(|error| failed(&error))
    };
    ContainerBuilder::new(spec.id.clone(), SyscallType::default())
        .with_executor(seal)
        .with_root_path(folders.state)
        .map_err(|error| failed(&error))?
        .with_stdin(null()?)
        .with_stdout(null()?)
        .with_stderr(null()?)
        .as_init(folders.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| failed(&error))
}

fn broken_seal(broken: Broken) -> Failed {
    let check = CHECKS
        .get(broken.check as usize)
        .copied()
        .unwrap_or("unknown check");
    match broken.errno {
        0 => Failed::refused(LaunchStep::ReadBack, check),
        errno => Failed::errno(LaunchStep::ReadBack, Errno::from_raw_os_error(errno)),
    }
}

impl InitProcess {
    /// Opens the process that libcontainer left as a direct child.
    fn of(container: &Container) -> Result<Self, Failed> {
        let failed = |errno| Failed::errno(LaunchStep::Container, errno);
        let pid = container.pid().map(nix_pid).and_then(Pid::from_raw);
        let pid = pid.ok_or(Errno::CHILD).map_err(failed)?;
        // Not reaped by anybody before: the number still names our child.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
        Ok(Self {
            pid,
            pidfd,
            reaped: false,
        })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Reads the sealed process back from the host's side, before it may go on.
    fn read_back(&self, placement: &Placement<'_>) -> Result<ProcessFacts, Failed> {
        let failed = Failed::kernel(LaunchStep::ReadBack);
        let proc = Path::new("/proc");
        let pid = self.pid.as_raw_nonzero().to_string();
        let status = Status::read(proc, &pid).map_err(&failed)?;
        let namespaces = NamespaceIds::read(proc, &pid).map_err(&failed)?;
        let own = NamespaceIds::read(proc, "self").map_err(&failed)?;
        let facts = ProcessFacts::new(
            &status,
            namespaces,
            descriptors(proc, &pid).map_err(&failed)?,
        );
        let shared = namespaces.user == own.user
            || namespaces.mount == own.mount
            || namespaces.pid == own.pid
            || namespaces.ipc == own.ipc
            || namespaces.uts == own.uts
            || namespaces.cgroup == own.cgroup
            || namespaces.network == own.network;
        if shared {
            return Err(Failed::refused(
                LaunchStep::ReadBack,
                "a namespace is the host's",
            ));
        }
        if status.users != [placement.first_id; 4] {
            return Err(Failed::refused(
                LaunchStep::ReadBack,
                "the init is not the sandbox's first id",
            ));
        }
        Ok(facts)
    }

    fn check_alive(&mut self) -> Result<(), Failed> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Failed::refused(LaunchStep::Start, "the init ended at once")),
            Err(errno) => Err(Failed::errno(LaunchStep::Start, errno)),
        }
    }

    /// Ends the init, and by the kernel's rule all of its pid namespace.
    pub fn end(mut self) -> Result<(), Errno> {
        self.kill_and_reap()
    }

    fn kill_and_reap(&mut self) -> Result<(), Errno> {
        if self.reaped {
            return Ok(());
        }
        process::kill(&self.pidfd)?;
        self.reaped = true;
        // libcontainer may have reaped it in one of its own error paths.
        strays::wait_for(&self.pidfd)
    }
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        if self.kill_and_reap().is_err() {
            // The undo of another failure, which is what is reported; the group's
            // removal, next, kills by cgroup and says so if it cannot.
        }
    }
}

/// libcontainer speaks of pids in an older `nix`.
fn nix_pid(pid: impl Into<i32>) -> i32 {
    pid.into()
}
