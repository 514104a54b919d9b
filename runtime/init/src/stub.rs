//! PID 1 of a task: sets the task's namespaces up, starts its command, reaps,
//! forwards signals, reports the end.
//!
//! The command itself is not PID 1: signals without a handler would not end it
//! (pid_namespaces(7)), and many programs mishandle being an init.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_protocol::task::TaskStep;
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::process::{self, Cloned, ExitGuard, Namespaces};
use lakekeep_sys::{Errno, seal, signal};
use rustix::fs::CWD;
use rustix::process::WaitOptions;

use crate::command;
use crate::prepare::{Mask, Prepared, SCRATCH_MOUNT};
use crate::report::{End, Failure, Setup};

/// `CAP_KILL`: all that a stub keeps, to pass signals on to another user.
const CAP_KILL: u64 = 1 << 5;

/// An empty directory of the root file system.
const EMPTY: &CStr = c"/run/lakekeep/empty";

/// The exit status of a stub whose task did not start.
const NOT_STARTED: u8 = 72;

const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGCHLD: i32 = 17;

/// For kill(2): all of the pid namespace but its first process.
const EVERYBODY_ELSE: i32 = -1;

/// The stub's ends of its two sockets.
#[derive(Debug)]
pub struct Sockets {
    /// The setup's records, and the word to go on.
    pub setup: OwnedFd,
    /// The end's record.
    pub end: OwnedFd,
}

/// Runs in the cloned child and ends with it.
pub fn run(prepared: &Prepared, sockets: &Sockets) -> ! {
    let _guard = ExitGuard(NOT_STARTED);
    let failure = match set_up(prepared, sockets) {
        Ok(pid) => serve(pid, sockets),
        Err(failure) => failure,
    };
    // A failed report means that the init is gone: so is this process, at once.
    let reported = Setup::Failed(failure).send(&sockets.setup);
    process::exit_now(NOT_STARTED + u8::from(reported.is_err()))
}

/// Sets the namespaces up in this order:
///
/// 1. /proc, which needs the new pid namespace, and its masks, which cover it;
/// 2. the scratch directories: after /proc, so that no scratch path can lie
///    under a mask;
/// 3. the host name;
/// 4. the command's process, the only one that ever leaves this code, or that the zygote
///    forks.
fn set_up(prepared: &Prepared, sockets: &Sockets) -> Result<i32, Failure> {
    mount_proc(prepared).map_err(Failure::at(TaskStep::MountProc))?;
    for (index, mask) in prepared.masks.iter().enumerate() {
        cover(mask).map_err(Failure::at_index(TaskStep::MaskProc, index))?;
    }
    mount_scratch(prepared)?;
    rustix::system::sethostname(prepared.hostname.as_bytes())
        .map_err(Failure::at(TaskStep::Hostname))?;
    if let Some(request) = &prepared.request {
        return request.fork(&sockets.setup, prepared.rules.as_ref());
    }
    match process::clone_process(Namespaces::NONE).map_err(Failure::at(TaskStep::Fork))? {
        Cloned::Child => command::run(prepared, &sockets.setup),
        Cloned::Parent { pid, .. } => Ok(pid.as_raw_nonzero().get()),
    }
}

fn mount_proc(prepared: &Prepared) -> Result<(), Errno> {
    let restrict = Restrict::NO_SUID
        .with(Restrict::NO_DEVICES)
        .with(Restrict::NO_EXEC);
    // At most two options; an array keeps this free of allocation.
    let mut options: [(&CStr, &CStr); 2] = [(c"", c""); 2];
    for (slot, (key, value)) in options.iter_mut().zip(&prepared.proc_options) {
        *slot = (key, value);
    }
    let used = options
        .get(..prepared.proc_options.len())
        .ok_or(Errno::INVAL)?;
    let proc = mount::new_detached(c"proc", used, restrict)?;
    mount::attach_at(&proc, c"/proc")
}

/// Covers one path; one that this kernel does not have needs no cover. A cover that is
/// not there is an error.
fn cover(mask: &Mask) -> Result<(), Errno> {
    let (path, with) = match mask {
        Mask::ReadOnly(path) => (path, path.as_c_str()),
        Mask::Replaced { path, with } => (path, with.as_c_str()),
        // What is there already, and not a new file system each time: a task pays for
        // each of some forty covers.
        Mask::EmptyDirectory(path) => (path, EMPTY),
        Mask::EmptyFile(path) => (path, c"/dev/null"),
    };
    let tree = match (mask, tree(with)) {
        (Mask::ReadOnly(_), Err(Errno::NOENT)) => return Ok(()),
        (_, tree) => tree?,
    };
    if matches!(mask, Mask::ReadOnly(_)) {
        let restrict = Restrict::READ_ONLY
            .with(Restrict::NO_SUID)
            .with(Restrict::NO_DEVICES)
            .with(Restrict::NO_EXEC);
        mount::restrict(&tree, restrict, None)?;
    }
    match mount::attach_at(&tree, path) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn tree(path: &CStr) -> Result<OwnedFd, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    mount::clone_tree(CWD, path)
}

fn mount_scratch(prepared: &Prepared) -> Result<(), Failure> {
    let whole = Failure::at(TaskStep::MountScratch);
    // A constant without NUL: the conversion cannot fail, and says so if it does.
    let mut buffer = [0; 64];
    let mount_point = terminated(SCRATCH_MOUNT, &mut buffer).map_err(&whole)?;
    if let Some(kept) = &prepared.scratch_mount {
        mount::attach_at(&prepared.scratch, mount_point).map_err(&whole)?;
        // Onto the scratch file system first: its parts then bring them along.
        for (path, place) in kept {
            tree(path)
                .and_then(|tree| mount::attach(tree, place))
                .map_err(&whole)?;
        }
    }
    for (index, (part, target)) in prepared.scratch_places.iter().enumerate() {
        tree(part)
            .and_then(|tree| mount::attach_at(&tree, target))
            .map_err(Failure::at_index(TaskStep::MountScratch, index))?;
    }
    if let Some(secrets) = &prepared.secrets {
        mount::attach_at(secrets, &prepared.secrets_place).map_err(&whole)?;
    }
    // Covered, not unmounted: an unmount waits for the kernel's readers.
    tree(EMPTY)
        .and_then(|empty| mount::attach_at(&empty, mount_point))
        .map_err(whole)
}

fn terminated<'a>(text: &str, buffer: &'a mut [u8; 64]) -> Result<&'a CStr, Errno> {
    let slot = buffer.get_mut(..text.len()).ok_or(Errno::NAMETOOLONG)?;
    slot.copy_from_slice(text.as_bytes());
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::INVAL)
}

/// Waits for the command and passes signals on; returns only if it cannot.
fn serve(command: i32, sockets: &Sockets) -> Failure {
    match reduce(sockets).and_then(|()| pass_signals(command, sockets.end.as_fd())) {
        Ok(never) => match never {},
        Err(errno) => Failure::at(TaskStep::Fork)(errno),
    }
}

/// Gives up all that the rest of a stub's life does not need.
fn reduce(sockets: &Sockets) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // The command has its copies of the setup socket and of stdio. Closing ours
    // is what lets their other ends see the end of the task.
    process::place_at(sockets.end.as_fd(), 0)?;
    debug_assert!(sockets.end.as_raw_fd() > 0);
    process::close_from(1)?;
    seal::no_new_privileges()?;
    seal::keep_capabilities(CAP_KILL)
}

fn pass_signals(command: i32, _end: BorrowedFd<'_>) -> Result<Infallible, Errno> {
    loop {
        match signal::wait()? {
            SIGCHLD => reap(command)?,
            // What a terminal sends, it sends to the whole foreground group.
            group @ (SIGINT | SIGQUIT) => pass(-command, group)?,
            other => pass(command, other)?,
        }
    }
}

fn pass(target: i32, number: i32) -> Result<(), Errno> {
    match signal::send(target, number) {
        // It has ended, and its SIGCHLD is on the way.
        Err(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// Reaps what has ended; the command's end is the task's.
fn reap(command: i32) -> Result<(), Errno> {
    while let Some(reaped) = process::reap()? {
        if reaped.pid == command {
            end_the_rest()?;
            // Descriptor 0 is the end socket since `reduce`.
            End::new(&reaped).send(rustix::stdio::stdin())?;
            process::exit_now(0);
        }
    }
    Ok(())
}

/// Ends what the command left running, and returns when nothing of it is left. The end of
/// this process would do so too, and take the namespaces down with it first: nobody has to
/// wait for that.
fn end_the_rest() -> Result<(), Errno> {
    // A process that is being killed forks no more: once is enough.
    pass(EVERYBODY_ELSE, SIGKILL)?;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}
