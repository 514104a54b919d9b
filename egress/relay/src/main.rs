//! `lakekeep-relay`: carries what may leave sandboxes.
//!
//! A process of its own, without privileges, that its manager starts with a socket as
//! standard input and tells which sandboxes to serve ([`lakekeep_protocol::relay`]). Of each
//! it has two sockets, made inside the sandbox's network: every TCP connection arrives at one,
//! every question for a name at the other. It decides by the rules, resolves and connects from
//! where it is itself, and tells its manager what became of each flow. When it dies its
//! sockets close, and nothing leaves any more.

mod connect;
mod control;
mod dns;
mod door;
mod error;
mod flow;
mod gate;
mod guard;
mod limits;
mod pace;
mod pipes;
mod pump;
mod sandbox;
mod seal;
mod serve;
mod side;
mod sockets;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use lakekeep_sys::process;

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
/// 4. the runtime, which serves.
fn start() -> Result<(), RelayError> {
    process::close_from(FIRST_OWN_FD as u32).map_err(kernel("close_range"))?;
    process::ensure_single_threaded().map_err(kernel("counting threads"))?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_OWN_FD)
        .map_err(kernel("dup of standard input"))?;
    seal::seal()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(connect::LOOKUPS)
        .build()
        .map_err(RelayError::Runtime)?;
    let served = runtime.block_on(control::serve(Manager::new(socket)));
    // A lookup that the resolver does not answer must not keep the process.
    runtime.shutdown_background();
    served
}
