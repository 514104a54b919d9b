//! The manager: what it asks, and what it is told.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use lakekeep_protocol::relay::{MAX_WORDS, ServeSpec};
use lakekeep_protocol::{ProtocolError, RelayReply, RelayRequest};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Manager;
use crate::error::{RelayError, ServeError};
use crate::sandbox::Sandbox;
use crate::serve;

/// Words to the manager that wait; when so many do, flows wait to be told of.
const WAITING: usize = 1024;

type Request = Result<(RelayRequest, Vec<OwnedFd>), ProtocolError>;

/// A sandbox that is served.
struct Served {
    /// Says that it is over.
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Serves until the manager has nothing more to ask, or somebody ends the process (signal(7),
/// SIGTERM); then ends every flow, and tells of each.
pub async fn serve(manager: Manager) -> Result<(), RelayError> {
    let manager = Arc::new(manager);
    let (tell, told) = mpsc::channel(WAITING);
    let writer = write(Arc::clone(&manager), told);
    let mut requests = read(manager);
    let mut served = HashMap::new();
    let mut ended = signal(SignalKind::terminate()).map_err(RelayError::Runtime)?;
    let heard = loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            _ = ended.recv() => None,
        };
        match request {
            Some(Ok((request, descriptors))) => {
                answer(request, descriptors, &mut served, &tell).await;
            }
            Some(Err(error)) => break Err(error.into()),
            None => break Ok(()),
        }
    };
    for (_, one) in served.drain() {
        end(one).await;
    }
    drop(tell);
    let written = tokio::task::spawn_blocking(move || writer.join()).await;
    match written {
        Ok(Ok(())) => heard,
        _ => Err(RelayError::Thread),
    }
}

async fn answer(
    request: RelayRequest,
    descriptors: Vec<OwnedFd>,
    served: &mut HashMap<String, Served>,
    tell: &mpsc::Sender<RelayReply>,
) {
    match request {
        RelayRequest::Stop { sandbox } => {
            if let Some(one) = served.remove(&sandbox) {
                end(one).await;
            }
        }
        RelayRequest::Serve(spec) => {
            let sandbox = spec.sandbox.clone();
            let reply = match begin(&spec, descriptors, served, tell) {
                Ok(()) => RelayReply::Serving { sandbox },
                Err(error) => RelayReply::Refused {
                    sandbox,
                    reason: words(&lakekeep_sys::error::chain(&error)),
                },
            };
            say(tell, reply).await;
        }
    }
}

fn begin(
    spec: &ServeSpec,
    descriptors: Vec<OwnedFd>,
    served: &mut HashMap<String, Served>,
    tell: &mpsc::Sender<RelayReply>,
) -> Result<(), ServeError> {
    if served.contains_key(&spec.sandbox) {
        return Err(ServeError::Known);
    }
    let [tcp, udp]: [OwnedFd; 2] = descriptors
        .try_into()
        .map_err(|all: Vec<OwnedFd>| ServeError::Descriptors(all.len()))?;
    let sandbox = Arc::new(Sandbox::new(spec, tell.clone())?);
    let (over, seen) = watch::channel(false);
    let task = tokio::spawn(serve::serve(sandbox, serve::Sockets::new(tcp, udp)?, seen));
    served.insert(spec.sandbox.clone(), Served { over, task });
    Ok(())
}

async fn end(served: Served) {
    served.over.send_replace(true);
    if served.task.await.is_err() {
        // Its flows ended with it, and their sockets with them.
    }
}

/// Tells the manager; when it is gone, nobody is there to be told.
pub async fn say(tell: &mpsc::Sender<RelayReply>, reply: RelayReply) {
    if tell.send(reply).await.is_err() {
        // The writer has ended: so will the reader, and then the process.
    }
}

/// As many of the words as fit a field.
pub fn words(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_WORDS);
    text.get(..end).unwrap_or_default().to_owned()
}

/// The channel's calls wait, so they are made by threads of their own.
fn read(manager: Arc<Manager>) -> mpsc::Receiver<Request> {
    let (hear, heard) = mpsc::channel(1);
    thread::spawn(move || {
        loop {
            let request = match manager.receive() {
                Ok(None) => return,
                Ok(Some(request)) => Ok(request),
                Err(error) => Err(error),
            };
            let last = request.is_err();
            if hear.blocking_send(request).is_err() || last {
                return;
            }
        }
    });
    heard
}

fn write(manager: Arc<Manager>, mut told: mpsc::Receiver<RelayReply>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Some(reply) = told.blocking_recv() {
            if manager.send(&reply, &[]).is_err() {
                return;
            }
        }
    })
}
