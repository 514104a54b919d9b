//! `lakekeep-relay`: carries what may leave sandboxes.
//!
//! A process of its own, without privileges, that is started with a socket as standard input
//! and told by a manager which sandboxes to serve ([`lakekeep_protocol::relay`]). On a
//! connected socket it serves that manager alone, and ends with it; on a listening one it
//! serves one manager after the other, and goes on between two of them. Of each sandbox
//! it has two sockets, made inside the sandbox's network: every TCP connection arrives at one,
//! every question for a name at the other. It decides by the rules, resolves and connects from
//! where it is itself, and tells its manager what became of each flow. When it dies its
//! sockets close, and nothing leaves any more.

mod carriers;
mod connect;
mod control;
mod dns;
mod door;
mod error;
mod flow;
mod gate;
mod grant;
mod guard;
mod limits;
mod pace;
mod pipes;
mod places;
mod pump;
mod sandbox;
mod seal;
mod serve;
mod service;
mod services;
mod side;
mod sockets;
#[cfg(test)]
mod tests;
mod totals;
mod turns;

use std::process::ExitCode;

use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use lakekeep_sys::process;
use rustix::process::Signal;

use crate::carriers::Carriers;
use crate::error::{RelayError, kernel};

/// Our end of the socket to the manager.
type Manager = Channel<RelayReply, RelayRequest>;

/// Above stdin, stdout and stderr.
const FIRST_OWN_FD: i32 = 3;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakekeep-relay: {}", lakekeep_sys::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Gets ready in this order:
///
/// 1. what else the caller left open is closed;
/// 2. the socket to the manager;
/// 3. the seal, while there is one thread: identity and rules are a thread's;
/// 4. of one that listens, its end with whoever started it: a change of user would forget it;
/// 5. its filter;
/// 6. the threads that carry flows;
/// 7. the runtime, which serves.
fn start() -> Result<(), RelayError> {
    process::close_from(FIRST_OWN_FD as u32).map_err(kernel("close_range"))?;
    process::ensure_single_threaded().map_err(kernel("counting threads"))?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_OWN_FD)
        .map_err(kernel("dup of standard input"))?;
    let listens = rustix::net::sockopt::socket_acceptconn(&socket);
    let listens = listens.map_err(kernel("getsockopt SO_ACCEPTCONN"))?;
    seal::seal()?;
    if listens {
        end_with_parent()?;
        // The supervisor waits for its signals with all of them blocked.
        lakekeep_sys::signal::unblock_all().map_err(kernel("unblocking signals"))?;
    }
    seal::confine()?;
    let carriers = Carriers::start().map_err(RelayError::Runtime)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(connect::LOOKUPS)
        .build()
        .map_err(RelayError::Runtime)?;
    let served = runtime.block_on(async {
        match listens {
            true => service::serve(socket, carriers).await,
            false => control::serve(Manager::new(socket), carriers).await,
        }
    });
    // A lookup that the resolver does not answer must not keep the process.
    runtime.shutdown_background();
    served
}

/// Has the kernel end this process when its parent dies (PR_SET_PDEATHSIG(2const)).
fn end_with_parent() -> Result<(), RelayError> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(kernel("PR_SET_PDEATHSIG"))?;
    match rustix::process::getppid() == parent {
        true => Ok(()),
        false => Err(RelayError::Orphan),
    }
}
