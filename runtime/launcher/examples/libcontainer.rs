//! libcontainer, bare: what it costs without anything of lakekeep's.
//!
//! `libcontainer STATE BUNDLE ID` runs an OCI bundle to its end, as `RUNTIME run` does:
//! build, start, wait, delete. No launcher, no init, no task, no filter, no read-back.
//! The bench measures it as a peer: `lakekeep run` cannot be faster than the library that
//! makes its container.
//!
//! It has what the launcher gives libcontainer to be quick: a mount table of its own with
//! no cgroup hierarchy to join, each of which would wait for an RCU grace period and have
//! the mount table read once for every controller.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use lakekeep_sys::Errno;
use lakekeep_sys::mount::{self, Restrict};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("libcontainer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves the kind of file system that libcontainer takes for version 1, with nothing in it.
fn hide_cgroups() -> Result<(), Errno> {
    mount::detach(c"/sys/fs/cgroup")?;
    let empty = mount::new_detached(c"tmpfs", &[(c"size", c"4k")], Restrict::NO_EXEC)?;
    mount::attach_at(empty, c"/sys/fs/cgroup")
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode, Box<dyn Error>> {
    let [state, bundle, id] =
        <[OsString; 3]>::try_from(arguments).map_err(|_| "usage: libcontainer STATE BUNDLE ID")?;
    let id = id.into_string().map_err(|_| "ID: not UTF-8")?;
    mount::unshare()?;
    hide_cgroups()?;
    let mut container = ContainerBuilder::new(id, SyscallType::default())
        .with_root_path(PathBuf::from(state))?
        .as_init(PathBuf::from(bundle))
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid: Option<i32> = container.pid().map(Into::into);
    let pid = pid.and_then(Pid::from_raw).ok_or("no process")?;
    container.start()?;
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    let code = ended.and_then(|(_, status): (Pid, WaitStatus)| status.exit_status());
    container.delete(true)?;
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
