//! The launcher: the one process of lakekeep that is root.
//!
//! It has one thread, no network, and reads nothing of a user's: plans come as
//! bounded frames on an inherited socket and are checked again here. It drives
//! libcontainer, with a mount table, a state folder and cgroups of its own, so
//! that its death leaves nothing but names that the next launcher sweeps.
//!
//! `lakekeep-launcher STATE_DIR` serves on standard input until its manager
//! closes the other end; then it destroys what it made. Where standard input is a
//! listening socket, it serves one manager after the other until its parent ends.

mod cgroups;
mod check;
mod container;
mod error;
mod executor;
mod folder;
mod ids;
mod nursery;
mod provisions;
mod quota;
mod rootfs;
mod rootless;
mod sandbox;
mod server;
mod state;
mod strays;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use lakekeep_sys::Errno;
use lakekeep_sys::error::Context;
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::net;
use lakekeep_sys::process::{self, Cloned, Ended, Namespaces};
use lakekeep_sys::socket;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Signal};

use crate::error::StartError;
use crate::provisions::Provisions;
use crate::server::Post;

/// The first descriptor above the standard ones.
const FIRST_INHERITED: u32 = 3;

/// The init, built by this package's build script.
const INIT: &[u8] = include_bytes!(env!("LAKEKEEP_INIT"));

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lakekeep-launcher: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Gets ready in this order:
///
/// 1. one thread, or every clone below would be refused;
/// 2. without root, a user namespace in which to be root: this program starts
///    again there;
/// 3. the socket to the manager;
/// 4. a pid namespace, whose PID 1 does all the rest.
fn start() -> Result<ExitCode, StartError> {
    if let Some(map) = std::env::args_os()
        .next()
        .as_deref()
        .and_then(rootless::map_helper)
    {
        return rootless::help_map(map, std::env::args_os()).map(|()| ExitCode::SUCCESS);
    }
    let arguments = rootless::Arguments::parse(std::env::args_os())?;
    // Whatever else the caller left open is no business of a privileged process.
    process::close_from(FIRST_INHERITED).context("close_range", "inherited descriptors")?;
    process::ensure_single_threaded().map_err(StartError::Threads)?;
    // libcontainer returns to where it was: a place that this user may lack the right to enter.
    rustix::process::chdir("/").context("chdir", "/")?;
    process::ordinary_scheduling().context("sched_setscheduler", "the launcher")?;
    // What the caller masks must not make a sandbox's root unreadable inside.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if !rustix::process::geteuid().is_root() {
        match rootless::enter(&arguments)? {}
    }
    let privileged = !rootless::nested()?;
    let post = server::post()?;
    if matches!(post, Post::Listener(_)) {
        let parent = rustix::process::getppid().ok_or(StartError::NoWatcher)?;
        process::die_with_parent(parent).context("prctl", "PR_SET_PDEATHSIG")?;
        raise_open_files()?;
    }
    let (watcher, held) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("pipe2", "watcher")?;
    let (give, take) = socket::pair().context("socketpair", "provisions")?;
    match process::clone_process(Namespaces::PID).context("clone3", "pid namespace")? {
        Cloned::Child => {
            drop(held);
            drop(give);
            die_with(&watcher)?;
            serve(&post, take, &arguments, privileged).map(|()| ExitCode::SUCCESS)
        }
        Cloned::Parent { pidfd, .. } => {
            // The manager must see the socket close when the other one dies.
            drop(post);
            drop(watcher);
            drop(take);
            let sent = Provisions::send(&give, privileged);
            // A server that has not got them must not wait for them.
            drop(give);
            let ended = watch(&pidfd)?;
            match sent {
                // It needed none, for nobody asked it for a sandbox.
                Err(error) if error.errno == Errno::PIPE => {}
                other => other?,
            }
            Ok(ended)
        }
    }
}

/// A service holds several descriptors a sandbox. What runs in a sandbox has limits
/// of its own.
fn raise_open_files() -> Result<(), StartError> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit).context("setrlimit", "RLIMIT_NOFILE")?;
    Ok(())
}

/// Ends this process with its watcher, which holds the other end of `watcher`:
/// a parent outside of the pid namespace has no number here to compare.
fn die_with(watcher: &OwnedFd) -> Result<(), StartError> {
    let prctl = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    prctl.context("prctl", "PR_SET_PDEATHSIG")?;
    let mut held = [PollFd::new(watcher, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match rustix::event::poll(&mut held, Some(&now)).context("poll", "watcher")? {
        0 => Ok(()),
        _ => Err(StartError::NoWatcher),
    }
}

/// Waits for the process that serves, once it has what this one made for it. It is PID 1 of a namespace in which all
/// that it makes lives: when it dies, however, the kernel ends all of that,
/// libcontainer's own helpers too, which would otherwise wait for a dead parent
/// for ever.
fn watch(server: &OwnedFd) -> Result<ExitCode, StartError> {
    match process::wait(server.as_fd()).context("waitid", "the serving process")? {
        Ended::Exited(0) => Ok(ExitCode::SUCCESS),
        Ended::Exited(_) | Ended::Signaled(_) => Ok(ExitCode::FAILURE),
    }
}

/// Serves, after getting ready in this order:
///
/// 1. without root, a network of its own: the host's belongs to the host's user
///    namespace and could not be entered again once left for a sandbox's;
/// 2. a mount table of its own: from here on no mount reaches the host; and in
///    it the /proc of its own pid namespace;
/// 3. only the cgroup hierarchies that limits are set in;
/// 4. the manager's first word: it starts this process while it still plans, and a plan
///    that is refused must have made nothing;
/// 5. a state folder of its own, locked, after sweeping those of dead ones;
/// 6. what the watcher has made meanwhile.
fn serve(
    post: &Post,
    take: OwnedFd,
    arguments: &rootless::Arguments,
    privileged: bool,
) -> Result<(), StartError> {
    if !privileged {
        net::unshare().map_err(StartError::NetworkNamespace)?;
    }
    mount::unshare().map_err(StartError::MountNamespace)?;
    mount_own_proc()?;
    let lasting = matches!(post, Post::Listener(_));
    let groups = cgroups::Groups::prepare(privileged, lasting)?;
    if !post.speaks().context("poll", "manager")? {
        state::sweep_all(&arguments.state, &groups, privileged)?;
        return Ok(());
    }
    let state = state::State::open(&arguments.state, &groups, privileged)?;
    let provisions = Provisions::receive(&take)?;
    drop(take);
    server::Server::new(provisions, state, groups, privileged)?.serve(post)
}

fn mount_own_proc() -> Result<(), StartError> {
    let restrict = Restrict::NO_SUID
        .with(Restrict::NO_DEVICES)
        .with(Restrict::NO_EXEC);
    let proc = mount::new_detached(c"proc", &[], restrict).context("mount proc", "/proc")?;
    mount::attach_at(&proc, c"/proc").context("move_mount", "/proc")?;
    Ok(())
}
