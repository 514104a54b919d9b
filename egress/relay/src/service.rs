//! A relay that outlives its managers: it serves on while there is none, and keeps what it has
//! to tell for the next.

mod kept;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::Manager;
use crate::carriers::Carriers;
use crate::control::{self, Book, WAITING};
use crate::error::RelayError;
use kept::Kept;

/// Words that the thread which writes to a manager holds.
const HANDED: usize = 64;

/// Until the next connection is asked for, after one that could not be had.
const PAUSE: Duration = Duration::from_millis(10);

/// What goes on from one manager to the next.
struct Desk {
    book: Book,
    /// What flows come to.
    told: mpsc::Receiver<RelayReply>,
    kept: Kept,
}

/// Serves one manager after the other, until somebody ends the process (signal(7), SIGTERM).
/// A manager that cannot be understood is heard no more; what it had served goes on.
pub async fn serve(socket: OwnedFd, carriers: Carriers) -> Result<(), RelayError> {
    let (tell, told) = mpsc::channel(WAITING);
    let mut desk = Desk {
        book: Book::new(tell, carriers),
        told,
        kept: Kept::default(),
    };
    let listener = self::listener(socket).map_err(RelayError::Runtime)?;
    let mut ended = signal(SignalKind::terminate()).map_err(RelayError::Runtime)?;
    loop {
        let manager = tokio::select! {
            _ = ended.recv() => return Ok(()),
            manager = accept(&listener) => match manager {
                Ok(manager) => manager,
                // Of the one connection, or of a moment without descriptors (accept(2)).
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            Some(reply) = desk.told.recv() => {
                desk.kept.push(reply);
                continue;
            }
        };
        tokio::select! {
            _ = ended.recv() => return Ok(()),
            () = desk.attend(manager) => {}
        }
    }
}

impl Desk {
    /// Hears a manager until it is gone.
    async fn attend(&mut self, manager: Manager) {
        let manager = Arc::new(manager);
        let mut requests = control::read(Arc::clone(&manager));
        let (hand, handed) = mpsc::channel(HANDED);
        // It ends when the manager does, or with `hand`: nobody waits for that.
        drop(control::write(manager, handed));
        self.kept.begin();
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Ok((request, descriptors))) => self.answer(request, descriptors),
                    Some(Err(_)) | None => return,
                },
                Some(reply) = self.told.recv() => self.kept.push(reply),
                place = hand.reserve(), if !self.kept.is_empty() => {
                    let Ok(place) = place else { return };
                    if let Some(reply) = self.kept.pop() {
                        place.send(reply);
                    }
                }
            }
        }
    }

    fn answer(&mut self, request: RelayRequest, descriptors: Vec<OwnedFd>) {
        if let RelayRequest::Noted { told } = request {
            return self.kept.noted(told);
        }
        if let Some(reply) = self.book.answer(request, descriptors) {
            // What was told before the request comes before its answer.
            while let Ok(told) = self.told.try_recv() {
                self.kept.push(told);
            }
            self.kept.push(reply);
        }
    }
}

/// Accepts packets' sockets as well as streams': accept(2) asks for no kind.
fn listener(socket: OwnedFd) -> io::Result<UnixListener> {
    let socket = std::os::unix::net::UnixListener::from(socket);
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

/// The next manager; its channel's calls wait.
async fn accept(listener: &UnixListener) -> io::Result<Manager> {
    let (socket, _) = listener.accept().await?;
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    Ok(Channel::new(OwnedFd::from(socket)))
}
