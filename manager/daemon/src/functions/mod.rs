//! Sessions of user functions, for engines of all users.
//!
//! A socket beside the interface's, of packets, over which an engine hands descriptors: what
//! gRPC cannot carry. It speaks what an engine's own broker speaks (`lakekeep_udf_packets`),
//! and each session is a sandbox for one task like any other: held against the caller's
//! profile and quotas, noted in the audit log, ended with its task. Batches do not pass here:
//! engine and worker have a socket pair between them, which the engine made.
//!
//! Who calls is told by the kernel; for whom, by a delegation, as over gRPC. All sessions of a
//! connection end with it.

mod connection;
mod session;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::places::{Bounds, Places};
use crate::ready;
use crate::refusals::{Refusals, Source};
use crate::sandboxes;
use connection::Connection;

/// Connections at once: of one peer no more, or it would keep the others out. Each engine
/// needs one.
const OPEN: Bounds = Bounds { all: 1024, one: 64 };

/// Pause after the kernel gave no connection, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// What serves them.
#[derive(Debug, Clone)]
pub struct Functions {
    pub sandboxes: sandboxes::Service,
    pub refusals: Refusals,
}

impl Functions {
    /// Serves those who connect to a listening socket, until told to stop.
    ///
    /// # Errors
    /// When the socket cannot be waited for.
    pub fn serve(
        self,
        listener: OwnedFd,
        mut stopping: watch::Receiver<bool>,
    ) -> std::io::Result<tokio::task::JoinHandle<()>> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let listener = ready::watch(listener, Interest::READABLE)?;
        let places = Places::new(OPEN);
        Ok(tokio::spawn(async move {
            let stopped = stopping.clone();
            let accepting = async {
                loop {
                    match accept(&listener).await {
                        Ok(socket) => self.admit(socket, &places, stopped.clone()).await,
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                }
            };
            tokio::select! {
                () = accepting => {}
                // The sender lives until the manager ends.
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }))
    }

    async fn admit(&self, socket: OwnedFd, places: &Places, stopping: watch::Receiver<bool>) {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(&socket) else {
            // Gone before it was looked at.
            return;
        };
        let uid = peer.uid.as_raw();
        let place = match places.take(Source::Uid(uid)) {
            Ok(place) => place,
            Err(full) => {
                let why = full.to_string();
                let noted = self.refusals.connection(Source::Uid(uid), &why);
                if noted.await.is_err() {
                    // The log says itself that it has stopped, to everybody who acts next.
                }
                return;
            }
        };
        let Ok(socket) = ready::watch(socket, Interest::READABLE | Interest::WRITABLE) else {
            return;
        };
        let connection = Connection::new(self.clone(), uid, Arc::new(socket));
        tokio::spawn(async move {
            connection.serve(stopping).await;
            drop(place);
        });
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let mut ready = listener.readable().await?;
        let accepted = ready.try_io(|fd| Ok(rustix::net::accept_with(fd.get_ref(), flags)?));
        // Or another was faster.
        if let Ok(accepted) = accepted {
            return accepted;
        }
    }
}
