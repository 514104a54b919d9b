//! The privileged parent of a manager and its launchers.
//!
//! ```text
//! supervisor   the caller's user, root as a rule; one thread; reads no user's bytes
//!   ├─ launcher ×N   the same user; each behind a listening socket of its own
//!   ├─ relay         nobody, sealed; carries what leaves sandboxes, behind a socket of its own
//!   └─ manager       its own user; the API's listening socket is given to it
//! ```
//!
//! It opens the sockets, starts the others, and starts again what dies. The sockets are
//! its own, so that nobody who connects meanwhile is turned away. Sandboxes hang on
//! their launcher: a manager can die and be replaced while they go on, and so do their
//! connections, which hang on the relay. When the
//! supervisor itself ends, everything ends: the launchers by the kernel's hand
//! (`PR_SET_PDEATHSIG`), the manager when its lifeline closes.

mod error;
mod places;
mod processes;

use std::time::{Duration, Instant};

use lakekeep_sys::signal::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use error::SupervisorError;
pub use places::{Account, Places, Settings};

use crate::processes::Processes;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;

/// How long a manager may take to end its sandboxes when all shall end.
const FAREWELL: Duration = Duration::from_secs(20);

/// Starts everything, keeps it running, and returns when it was told to end
/// (SIGTERM, SIGINT) and has.
///
/// # Errors
/// When something cannot be set up. What was started has then ended again.
pub fn run(settings: Settings) -> Result<(), SupervisorError> {
    // Before the first child: none may end unheard.
    let signals = Signals::open(&[SIGCHLD, SIGTERM, SIGINT, SIGHUP])
        .map_err(SupervisorError::kernel("signalfd"))?;
    let places = Places::make(&settings)?;
    let mut processes = Processes::new(settings, places);
    processes.sweep()?;
    let ended = serve(&signals, &mut processes);
    let over = processes.end_all(&signals, Instant::now() + FAREWELL);
    ended.and(over)
}

fn serve(signals: &Signals, processes: &mut Processes) -> Result<(), SupervisorError> {
    loop {
        let pause = processes.start_due(Instant::now())?;
        wait(signals, pause)?;
        while let Some(signal) = next(signals)? {
            match signal {
                SIGTERM | SIGINT => return Ok(()),
                SIGHUP => processes.reload_manager(),
                _ => {}
            }
        }
        processes.reap(Instant::now())?;
    }
}

fn next(signals: &Signals) -> Result<Option<i32>, SupervisorError> {
    signals.next().map_err(SupervisorError::kernel("signalfd"))
}

/// Waits for a signal, no longer than until something is due.
fn wait(signals: &Signals, pause: Option<Duration>) -> Result<(), SupervisorError> {
    let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
    let mut fds = [PollFd::new(signals, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SupervisorError::kernel("poll")(errno)),
    }
}
