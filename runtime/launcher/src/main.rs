//! The launcher: the one process of lakekeep that is root.
//!
//! It has one thread, no network, and reads nothing of a user's: plans come as
//! bounded frames on an inherited socket and are checked again here. It drives
//! libcontainer, with a mount table, a state folder and cgroups of its own, so
//! that its death leaves nothing but names that the next launcher sweeps.
//!
//! `lakekeep-launcher STATE_DIR` serves on standard input until its manager
//! closes the other end; then it destroys what it made.

mod cgroups;
mod check;
mod container;
mod error;
mod executor;
mod ids;
mod rootfs;
mod rootless;
mod sandbox;
mod server;
mod state;

use std::process::ExitCode;

use crate::error::StartError;

/// The init, built by this package's build script.
const INIT: &[u8] = include_bytes!(env!("LAKEKEEP_INIT"));

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
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
/// 4. a mount table of its own: from here on no mount reaches the host;
/// 5. a state folder of its own, locked, after sweeping those of dead ones;
/// 6. only the cgroup hierarchies that limits are set in.
fn start() -> Result<(), StartError> {
    let arguments = rootless::Arguments::parse(std::env::args_os())?;
    lakekeep_sys::process::ensure_single_threaded().map_err(StartError::Threads)?;
    if !rustix::process::geteuid().is_root() {
        match rootless::enter(&arguments)? {}
    }
    let channel = server::channel()?;
    let privileged = !rootless::nested()?;
    if !privileged {
        // The host's network belongs to the host's user namespace: once left for
        // a sandbox's it could not be entered again. One of its own can.
        lakekeep_sys::net::unshare().map_err(StartError::NetworkNamespace)?;
    }
    lakekeep_sys::mount::unshare().map_err(StartError::MountNamespace)?;
    let groups = cgroups::Groups::prepare(privileged)?;
    let state = state::State::open(&arguments.state, &groups)?;
    server::Server::new(channel, state, groups, privileged)?.serve()
}
