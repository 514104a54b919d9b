//! PID 1 of a sandbox.
//!
//! It makes tasks in namespaces of their own, reads their seal back from the
//! kernel before they run, reaps, forwards signals, and answers the manager on
//! the socket that it inherited. It runs no code of a user's and parses nothing
//! but the manager's frames. It is root in its sandbox's user namespace with a
//! handful of capabilities there, and a nobody on the host.
//!
//! Executed once more as a task, sealed as any other and as the sandbox's user, it is the
//! file service: it reads and writes that user's files for the manager, which may not.
//!
//! Executed by the launcher under a third name, outside of any sandbox's pid namespace, it
//! becomes a zygote: an interpreter of which tasks of other sandboxes are forked.
//!
//! When the manager's end of the socket closes, it ends, and with it, by the
//! kernel's rule for a pid namespace, everything in the sandbox.

mod command;
mod files;
mod landlock_rules;
mod nursling;
mod order;
mod prepare;
mod readback;
mod ready;
mod report;
mod scratch;
mod shown;
mod stub;
mod supervisor;
mod task;
mod zygote;

use std::path::Path;
use std::process::ExitCode;

use lakekeep_protocol::task::FILES;
use lakekeep_protocol::zygote::ZYGOTE;
use lakekeep_protocol::{CHANNEL_FD, Channel};
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::{Errno, process, seal, signal};

use crate::supervisor::Supervisor;

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == FILES) {
        return files::serve(std::env::args_os().skip(1).collect());
    }
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == ZYGOTE)
    {
        return zygote::run();
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // There is nobody to tell: stdio is /dev/null and the manager sees the
        // socket close. The code says which half failed.
        Err(Stop::Setup(_)) => ExitCode::from(70),
        Err(Stop::Serving(_)) => ExitCode::from(71),
    }
}

enum Stop {
    Setup(#[expect(dead_code, reason = "for a debugger or a core file")] Errno),
    Serving(#[expect(dead_code, reason = "for a debugger or a core file")] supervisor::Failed),
}

fn start() -> Result<(), Stop> {
    // 1. Not dumpable first: from here on no process of the same user could
    //    attach, whatever the rest does.
    seal::not_dumpable().map_err(Stop::Setup)?;
    // 2. Signals are read from a descriptor; PID 1 has no default actions.
    signal::block_all().map_err(Stop::Setup)?;
    // And what is inherited from here is the default, and no capability by any exec: once
    // here instead of in each task, of which the kernel's word is read back.
    signal::default_actions().map_err(Stop::Setup)?;
    seal::empty_bounding_set().map_err(Stop::Setup)?;
    // 3. Mounts of a task must never show up here or in another task.
    make_mounts_private().map_err(Stop::Setup)?;
    // 4. libcontainer binds devices without restriction.
    restrict_devices().map_err(Stop::Setup)?;
    // Finds what the kernel gave for it, once: a task that starts does not wait for that.
    rustix::thread::sched_getcpu();
    let socket = process::inherited(CHANNEL_FD).map_err(Stop::Setup)?;
    // Its only argument, where there is one.
    let zygote = (std::env::args_os().len() > 1).then(nursling::Zygote::inherited);
    let zygote = zygote.transpose().map_err(Stop::Setup)?;
    Supervisor::new(Channel::new(socket), zygote)
        .and_then(Supervisor::serve)
        .map_err(Stop::Serving)
}

fn restrict_devices() -> Result<(), Errno> {
    let devices = mount::host_place(Path::new("/dev"))?;
    mount::restrict(&devices, Restrict::NO_SUID.with(Restrict::NO_EXEC), None)?;
    // Devices on it can be opened all the same; a task that is the sandbox's only
    // user would otherwise own this folder.
    mount::restrict_one(&devices, Restrict::READ_ONLY)
}

fn make_mounts_private() -> Result<(), Errno> {
    use rustix::mount::MountPropagationFlags;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)
}
