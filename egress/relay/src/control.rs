//! The manager: what it asks, and what it is told.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use lakekeep_protocol::relay::{MAX_SERVED, MAX_WORDS, ServeSpec, ServedSandbox};
use lakekeep_protocol::{ProtocolError, RelayReply, RelayRequest};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Manager;
use crate::carriers::Carriers;
use crate::error::{RelayError, ServeError};
use crate::sandbox::Sandbox;
use crate::serve;
use crate::services::Offers;
use crate::totals::Totals;

/// Words to the manager that wait; when so many do, flows wait to be told of.
pub const WAITING: usize = 1024;

/// What a manager asked, with what it sent along.
pub type Request = Result<(RelayRequest, Vec<OwnedFd>), ProtocolError>;

/// A sandbox that is served.
struct Served {
    sandbox: Arc<Sandbox>,
    /// Says that it is over.
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Serves until the manager has nothing more to ask, or somebody ends the process (signal(7),
/// SIGTERM); then ends every flow, and tells of each.
pub async fn serve(manager: Manager, carriers: Carriers) -> Result<(), RelayError> {
    let manager = Arc::new(manager);
    let (tell, told) = mpsc::channel(WAITING);
    let writer = write(Arc::clone(&manager), told);
    let mut requests = read(manager);
    let mut book = Book::new(tell.clone(), carriers);
    let mut ended = signal(SignalKind::terminate()).map_err(RelayError::Runtime)?;
    let heard = loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            _ = ended.recv() => None,
        };
        match request {
            Some(Ok((request, descriptors))) => {
                if let Some(reply) = book.answer(request, descriptors) {
                    say(&tell, reply).await;
                }
            }
            Some(Err(error)) => break Err(error.into()),
            None => break Ok(()),
        }
    };
    book.end_all().await;
    drop((book, tell));
    let written = tokio::task::spawn_blocking(move || writer.join()).await;
    match written {
        Ok(Ok(())) => heard,
        _ => Err(RelayError::Thread),
    }
}

/// The sandboxes that are served.
pub struct Book {
    served: BTreeMap<String, Served>,
    tell: mpsc::Sender<RelayReply>,
    /// What the manager answers itself, for all sandboxes.
    offers: Arc<Offers>,
    carriers: Arc<Carriers>,
    /// What they have together.
    totals: Arc<Totals>,
}

impl Book {
    /// None yet; what their flows come to goes to `tell`.
    pub fn new(tell: mpsc::Sender<RelayReply>, carriers: Carriers) -> Self {
        Self {
            served: BTreeMap::new(),
            tell,
            offers: Arc::default(),
            carriers: Arc::new(carriers),
            totals: Arc::default(),
        }
    }

    /// Does what is asked, and gives the answer if it has one at once.
    pub fn answer(
        &mut self,
        request: RelayRequest,
        descriptors: Vec<OwnedFd>,
    ) -> Option<RelayReply> {
        match request {
            RelayRequest::Stop { sandbox } => self.stop(sandbox),
            RelayRequest::Serve(spec) => {
                let begun = self.begin(&spec, descriptors);
                Some(answered(spec.sandbox, begun))
            }
            RelayRequest::Update { sandbox, rules } => {
                let known = self.served.get(&sandbox).ok_or(ServeError::Unknown);
                let updated = known.and_then(|one| one.sandbox.update(&rules));
                Some(answered(sandbox, updated))
            }
            RelayRequest::List { after } => Some(RelayReply::Served(self.list(&after))),
            RelayRequest::Sync { nonce } => Some(RelayReply::Synced { nonce }),
            RelayRequest::Services { services } => {
                // Without a folder there is nobody to connect to: what was said before holds.
                if let Some(folder) = descriptors.into_iter().next() {
                    self.offers.put(folder, &services);
                }
                None
            }
            // Whoever is told by one manager alone keeps nothing for another.
            RelayRequest::Noted { .. } => None,
        }
    }

    fn begin(&mut self, spec: &ServeSpec, descriptors: Vec<OwnedFd>) -> Result<(), ServeError> {
        if self.served.contains_key(&spec.sandbox) {
            return Err(ServeError::Known);
        }
        let [tcp, udp]: [OwnedFd; 2] = descriptors
            .try_into()
            .map_err(|all: Vec<OwnedFd>| ServeError::Descriptors(all.len()))?;
        let sandbox = Arc::new(Sandbox::new(
            spec,
            self.tell.clone(),
            (Arc::clone(&self.offers), &self.totals),
        )?);
        let (over, seen) = watch::channel(false);
        let sockets = serve::Sockets::new(tcp, udp)?;
        let carriers = Arc::clone(&self.carriers);
        let task = tokio::spawn(serve::serve(Arc::clone(&sandbox), sockets, carriers, seen));
        let served = Served {
            sandbox,
            over,
            task,
        };
        self.served.insert(spec.sandbox.clone(), served);
        Ok(())
    }

    /// The answer comes when its last flow was told of; nobody waits for that here, where
    /// flows may wait to be heard.
    fn stop(&mut self, sandbox: String) -> Option<RelayReply> {
        let Some(one) = self.served.remove(&sandbox) else {
            return Some(RelayReply::Stopped { sandbox });
        };
        let tell = self.tell.clone();
        tokio::spawn(async move {
            end(one).await;
            say(&tell, RelayReply::Stopped { sandbox }).await;
        });
        None
    }

    fn list(&self, after: &str) -> Vec<ServedSandbox> {
        let later = (Bound::Excluded(after), Bound::Unbounded);
        let some = self.served.range::<str, _>(later).take(MAX_SERVED);
        let some = some.map(|(id, one)| ServedSandbox {
            sandbox: id.clone(),
            digest: one.sandbox.digest(),
        });
        some.collect()
    }

    /// Ends every flow.
    pub async fn end_all(&mut self) {
        while let Some((_, one)) = self.served.pop_first() {
            end(one).await;
        }
    }
}

fn answered(sandbox: String, done: Result<(), ServeError>) -> RelayReply {
    match done {
        Ok(()) => RelayReply::Serving { sandbox },
        Err(error) => RelayReply::Refused {
            sandbox,
            reason: words(&lakekeep_sys::error::chain(&error)),
        },
    }
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
pub fn read(manager: Arc<Manager>) -> mpsc::Receiver<Request> {
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

/// The same for what it is told.
pub fn write(
    manager: Arc<Manager>,
    mut told: mpsc::Receiver<RelayReply>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Some(reply) = told.blocking_recv() {
            if manager.send(&reply, &[]).is_err() {
                return;
            }
        }
    })
}
