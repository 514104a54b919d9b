//! The process that becomes the task's command: sealed, reported, exec'ed.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use lakekeep_protocol::task::TaskStep;
use lakekeep_sys::process::{self, ExitGuard};
use lakekeep_sys::{Errno, landlock, pty, seal, signal};
use rustix::fs::{Mode, OFlags};

use crate::order::{Expected, Order};
use crate::prepare::{Prepared, Seal};
use crate::report::{Failure, Setup};

/// The setup socket's fixed number in the command's process.
const SETUP_FD: i32 = 3;

/// The exit status of a process that did not become the command.
const NOT_STARTED: u8 = 72;

/// Runs in the cloned child and ends with it.
pub fn run(prepared: &Prepared, setup: &OwnedFd) -> ! {
    let _guard = ExitGuard(NOT_STARTED);
    let Ok(setup) = at_fixed_number(setup).map(Expected::new) else {
        process::exit_now(NOT_STARTED)
    };
    let failure = match become_command(prepared, &setup) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let reported = Setup::Failed(failure).send(&setup);
    process::exit_now(NOT_STARTED + u8::from(reported.is_err()))
}

/// Puts the setup socket where it survives the closing of all the rest.
fn at_fixed_number(setup: &OwnedFd) -> Result<OwnedFd, Errno> {
    process::place_at(setup.as_fd(), SETUP_FD)?;
    process::inherited(SETUP_FD)
}

/// Seals the process and replaces it by the command, in this order:
///
/// 1. session and terminal: they need no privilege but must come before descriptors are
///    closed;
/// 2. limits, score, keyring: while the init's user still may;
/// 3. the secure bits, which need CAP_SETPCAP;
/// 4. the user, which needs CAP_SETUID; then no capability is left;
/// 5. no-new-privileges, without which an unprivileged process may install neither
///    Landlock nor seccomp; then Landlock;
/// 6. the command, which may not be known before;
/// 7. its streams, its processors, and the working directory, with the user's own rights;
/// 8. seccomp, last: the filter need not allow any step above; but where it allows the last
///    of them, it is installed before a command is waited for;
/// 9. the word "ready", the init's read-back, its word to go on; exec.
fn become_command(prepared: &Prepared, setup: &Expected) -> Result<Infallible, Failure> {
    let seal = &prepared.seal;
    // While this process may still look at itself.
    let program = own_program(seal).map_err(Failure::at(TaskStep::Prepare))?;
    take_session(prepared).map_err(Failure::at(TaskStep::Session))?;
    limit(seal)?;
    drop_privileges(seal)?;
    seal::no_new_privileges().map_err(Failure::at(TaskStep::NoNewPrivileges))?;
    if seal.refuse_executable_gain {
        seal::refuse_executable_gain().map_err(Failure::at(TaskStep::ExecutableGain))?;
    }
    if let Some(rules) = &prepared.rules {
        landlock::restrict_self(rules).map_err(Failure::at(TaskStep::Landlock))?;
    }
    // 0, 1, 2 and, until exec, the setup socket are left; and this very program, if it
    // is what shall be executed.
    let first = SETUP_FD.unsigned_abs() + 1 + u32::from(program.is_some());
    let Some((order, streams)) = &prepared.start else {
        return wait_for_command(seal, setup, first);
    };
    take_stdio(streams)?;
    // As late as this: it is bound to where there is room now.
    seal::use_processors(seal.processors).map_err(Failure::at(TaskStep::Affinity))?;
    enter(order)?;
    process::close_from(first).map_err(Failure::at(TaskStep::Stdio))?;
    let listener = filter(seal).map_err(Failure::at(TaskStep::Seccomp))?;
    wait_for_word(listener, setup).map_err(Failure::at(TaskStep::ReadBack))?;
    exec(order, program.as_ref())
}

/// The last steps of a process whose command is not known yet. The filter comes first where
/// it allows them, and then all was read back while it waited: what follows gives nothing
/// more. The processors are then the init's to choose.
fn wait_for_command(seal: &Seal, setup: &Expected, first: u32) -> Result<Infallible, Failure> {
    let installed = || {
        let listener = filter(seal).map_err(Failure::at(TaskStep::Seccomp))?;
        // A task that shall explain is never ready.
        debug_assert!(listener < 0);
        Ok(listener)
    };
    // What is waited for may take long: nothing of the init's stays open meanwhile.
    process::close_from(first).map_err(Failure::at(TaskStep::Stdio))?;
    if seal.filter_early {
        installed()?;
    }
    let (order, streams) = setup.wait()?;
    take_stdio(&streams)?;
    drop(streams);
    if !seal.filter_early {
        seal::use_processors(seal.processors).map_err(Failure::at(TaskStep::Affinity))?;
    }
    enter(&order)?;
    process::close_from(first).map_err(Failure::at(TaskStep::Stdio))?;
    if !seal.filter_early {
        wait_for_word(installed()?, setup).map_err(Failure::at(TaskStep::ReadBack))?;
    }
    exec(&order, None)
}

fn enter(order: &Order) -> Result<(), Failure> {
    rustix::process::chdir(order.working_directory.as_c_str())
        .map_err(Failure::at(TaskStep::WorkingDirectory))
}

/// Opens this program, on the first free number, for the file service.
fn own_program(seal: &Seal) -> Result<Option<OwnedFd>, Errno> {
    if !seal.file_service {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let program = rustix::fs::open(c"/proc/self/exe", flags, Mode::empty())?;
    process::place_at(program.as_fd(), SETUP_FD + 1)?;
    process::inherited(SETUP_FD + 1).map(Some)
}

fn take_session(prepared: &Prepared) -> Result<(), Errno> {
    seal::default_personality()?;
    signal::unblock_all()?;
    rustix::process::setsid()?;
    match &prepared.start {
        Some((_, streams)) if prepared.seal.terminal => pty::control(&streams[0]),
        _ => Ok(()),
    }
}

fn take_stdio(streams: &[OwnedFd; 3]) -> Result<(), Failure> {
    for (number, fd) in (0..).zip(streams) {
        process::place_at(fd.as_fd(), number).map_err(Failure::at(TaskStep::Stdio))?;
    }
    Ok(())
}

fn limit(seal: &Seal) -> Result<(), Failure> {
    for (index, (resource, value)) in seal.limits.iter().enumerate() {
        seal::limit(*resource, *value).map_err(Failure::at_index(TaskStep::Limits, index))?;
    }
    seal::write_proc(c"/proc/self/oom_score_adj", seal.oom_score_adj.as_bytes())
        .map_err(Failure::at(TaskStep::OomScore))?;
    match seal::fresh_keyring() {
        // No keyrings in this kernel: nothing to separate.
        Err(Errno::NOSYS) => Ok(()),
        other => other.map_err(Failure::at(TaskStep::Keyring)),
    }
}

fn drop_privileges(seal: &Seal) -> Result<(), Failure> {
    let capabilities = Failure::at(TaskStep::Capabilities);
    seal::lock_secure_bits().map_err(&capabilities)?;
    rustix::process::umask(Mode::from_raw_mode(seal.umask));
    seal::become_user(seal.user, seal.group).map_err(Failure::at(TaskStep::Identity))?;
    seal::keep_capabilities(0).map_err(capabilities)
}

fn filter(seal: &Seal) -> Result<i32, Errno> {
    if seal.explain {
        return seal.filter.install_with_listener();
    }
    seal.filter.install().map(|()| -1)
}

/// Says "ready" and waits until the init has read this process back.
fn wait_for_word(listener: i32, setup: &Expected) -> Result<(), Errno> {
    Setup::Ready { listener }.send(setup)?;
    let mut word = [0];
    match rustix::io::read(setup.as_fd(), &mut word)? {
        1 => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

fn exec(order: &Order, program: Option<&OwnedFd>) -> Result<Infallible, Failure> {
    let (arguments, environment) = (order.arguments(), order.environment());
    if let Some(program) = program {
        let Err(errno) = process::exec_file(program.as_fd(), &arguments, &environment);
        return Err(Failure::at(TaskStep::Exec)(errno));
    }
    let mut last = Failure::at(TaskStep::Exec)(Errno::NOENT);
    for (index, path) in order.candidates.iter().enumerate() {
        let Err(errno) = process::exec(path, &arguments, &environment);
        // As execvp(3): a name that is not there is looked for further on; one
        // that is there and may not be run is remembered.
        match errno {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => last = Failure::at_index(TaskStep::Exec, index)(errno),
            _ => return Err(Failure::at_index(TaskStep::Exec, index)(errno)),
        }
    }
    Err(last)
}
