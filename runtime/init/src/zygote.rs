//! The zygote, until it becomes the interpreter.
//!
//! It is started in its sandbox by the launcher, hears what it shall be, seals itself with
//! the very steps of a task's, and executes the interpreter with the program `zygote.py`. The
//! filter allows more than a task's: see seccomp/profiles/zygote.json.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use lakekeep_protocol::zygote::ZygoteSpec;
use lakekeep_protocol::{CHANNEL_FD, Channel};
use lakekeep_sys::seccomp::Filter;
use lakekeep_sys::{Errno, memfd, process, seal, signal, socket};
use rustix::fs::Mode;
use rustix::process::Signal;

use crate::prepare::{bytes, resource};

/// Where the interpreter finds its program, above its socket.
const PROGRAM_FD: i32 = CHANNEL_FD + 1;

/// What the interpreter executes.
const PROGRAM: &str = include_str!("zygote.py");

/// How it gets there: short, for it is what a list of processes shows.
const BOOT: &CStr = c"exec(compile(open(4,'rb',closefd=False).read(),'<lakekeep>','exec'))";

/// Runs as a zygote; returns only when there will be none.
pub fn run() -> ExitCode {
    let Ok(launcher) = process::inherited(CHANNEL_FD) else {
        return ExitCode::from(70);
    };
    let errno = match become_interpreter(&launcher) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    let told = socket::send(&launcher, &errno.raw_os_error().to_le_bytes(), &[]);
    ExitCode::from(72 + u8::from(told.is_err()))
}

fn become_interpreter(launcher: &OwnedFd) -> Result<Infallible, Errno> {
    let channel: Channel<(), ZygoteSpec> =
        Channel::new(rustix::io::fcntl_dupfd_cloexec(launcher, PROGRAM_FD + 1)?);
    let frame = channel.receive().map_err(|_| Errno::BADMSG)?;
    let (spec, _) = frame.ok_or(Errno::PIPE)?;
    drop(channel);
    let mut arguments = vec![bytes(&spec.interpreter)?, c"-c".to_owned(), BOOT.to_owned()];
    for module in &spec.modules {
        arguments.push(bytes(module)?);
    }
    let environment: Result<Vec<CString>, Errno> =
        spec.environment.iter().map(|entry| bytes(entry)).collect();
    let program = memfd::sealed("lakekeep-zygote", PROGRAM.as_bytes(), false)?;
    rustix::fs::seek(&program, rustix::fs::SeekFrom::Start(0))?;
    process::place_at(program.as_fd(), PROGRAM_FD)?;
    process::place_at(launcher.as_fd(), CHANNEL_FD)?;
    process::close_from(PROGRAM_FD.unsigned_abs() + 1)?;
    seal_as(&spec)?;
    socket::send(launcher, &0i32.to_le_bytes(), &[])?;
    // It was read back.
    if socket::receive(launcher, &mut [0])?.length == 0 {
        return Err(Errno::PIPE);
    }
    let (arguments, environment) = (borrowed(&arguments), environment?);
    let interpreter = arguments.first().ok_or(Errno::INVAL)?;
    process::exec(interpreter, &arguments, &borrowed(&environment))
}

fn borrowed(texts: &[CString]) -> Vec<&CStr> {
    texts.iter().map(CString::as_c_str).collect()
}

/// As [`crate::command`] seals a task's command, which says why in this order.
fn seal_as(spec: &ZygoteSpec) -> Result<(), Errno> {
    seal::default_personality()?;
    signal::default_actions()?;
    signal::unblock_all()?;
    rustix::process::setsid()?;
    for (kind, value) in &spec.limits {
        seal::limit(resource(*kind), *value)?;
    }
    match seal::fresh_keyring() {
        Err(Errno::NOSYS) => {}
        other => other?,
    }
    seal::empty_bounding_set()?;
    seal::lock_secure_bits()?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    seal::become_user(spec.user, spec.user)?;
    seal::keep_capabilities(0)?;
    // After the change of identity, which takes it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::chdir("/")?;
    seal::no_new_privileges()?;
    Filter::from_bytes(&spec.filter)?.install()
}
