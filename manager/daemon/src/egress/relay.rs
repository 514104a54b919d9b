//! The relay, as its manager knows it: what it is to serve, and whether it does.
//!
//! Requests are noted first and sent then, by one thread: a relay that is not there yet, or
//! that died, is told what is noted when it is back.

mod line;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_plan::EgressPlan;
use lakekeep_protocol::relay::{FlowReceipt, RuleDocument, ServedSandbox};
use tokio::sync::oneshot;

use super::{FlowSink, Whose};
use crate::fault::Fault;
use crate::local::Offer;
use crate::sandbox::lock;

/// How long a sandbox waits for a relay that serves it: another is started where one died.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a sandbox's TCP arrives, and its questions for names.
pub type Sockets = Arc<[OwnedFd; 2]>;

/// The relay of this manager.
#[derive(Debug, Clone)]
pub struct Relay(Arc<Shared>);

/// What the threads share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Who waits for all that was told before.
    syncs: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    nonce: AtomicU64,
    sink: Box<dyn FlowSink>,
    offer: Offer,
}

/// A sandbox that is to be served.
#[derive(Debug)]
struct Entry {
    whose: Arc<Whose>,
    rules: Vec<RuleDocument>,
    digest: String,
    sockets: Sockets,
    /// Who waits until it is.
    waiting: Option<oneshot::Sender<Result<(), String>>>,
    /// It is not to be any more, and its last flows may still be told.
    over: bool,
}

/// What the thread is to do.
#[derive(Debug)]
enum Job {
    /// Of a sandbox.
    Serve(String),
    Update(String),
    Stop(String),
    /// Ask for an answer behind all that was told.
    Sync(u64),
    /// These were noted.
    Noted(u64),
    /// What the relay of this connection serves.
    Listed(u64, Vec<ServedSandbox>),
    /// This connection has ended.
    Ended(u64),
}

/// The other end of the jobs, until the thread has it.
#[derive(Debug)]
pub struct Idle(Relay, mpsc::Receiver<Job>);

impl Relay {
    /// The relay that listens at `path`, to which `offer` is said first; nothing is said to it
    /// before [`Idle::begin`].
    pub fn new(path: PathBuf, sink: Box<dyn FlowSink>, offer: Offer) -> (Self, Idle) {
        let (jobs, queue) = mpsc::channel();
        let relay = Self(Arc::new(Shared {
            path,
            jobs,
            entries: Mutex::default(),
            syncs: Mutex::default(),
            nonce: AtomicU64::new(1),
            sink,
            offer,
        }));
        (relay.clone(), Idle(relay, queue))
    }

    /// Has a sandbox served, and returns when it is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn serve(
        &self,
        whose: &Arc<Whose>,
        rules: EgressPlan,
        sockets: Sockets,
    ) -> Result<(), Fault> {
        let (tell, told) = oneshot::channel();
        self.enter(whose, rules, sockets, Some(tell));
        let unserved = |why: &str| {
            Fault::new(
                Reason::Unavailable,
                format!("nobody carries what the sandbox sends: {why}; ask again"),
            )
        };
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(refused))) => Err(unserved(&refused)),
            Ok(Err(_)) => Err(unserved("the manager is about to end")),
            Err(_) => Err(unserved("the relay does not answer")),
        }
    }

    /// The same, and nobody waits.
    pub fn take_up(&self, whose: &Arc<Whose>, rules: EgressPlan, sockets: Sockets) {
        self.enter(whose, rules, sockets, None);
    }

    fn enter(
        &self,
        whose: &Arc<Whose>,
        rules: EgressPlan,
        sockets: Sockets,
        waiting: Option<oneshot::Sender<Result<(), String>>>,
    ) {
        let id = whose.sandbox.clone();
        let entry = Entry {
            whose: Arc::clone(whose),
            digest: rules.digest.clone(),
            rules: rules.documents(),
            sockets,
            waiting,
            over: false,
        };
        lock(&self.0.entries).insert(id.clone(), entry);
        self.do_later(Job::Serve(id));
    }

    /// Puts other rules in force for a sandbox.
    pub fn update(&self, id: &str, rules: EgressPlan) {
        if let Some(entry) = lock(&self.0.entries).get_mut(id) {
            entry.digest.clone_from(&rules.digest);
            entry.rules = rules.documents();
        }
        self.do_later(Job::Update(id.to_owned()));
    }

    /// Has a sandbox served no longer.
    pub fn stop(&self, id: &str) {
        if let Some(entry) = lock(&self.0.entries).get_mut(id) {
            entry.over = true;
        }
        self.do_later(Job::Stop(id.to_owned()));
    }

    /// Returns when everything was heard that the relay had told; at once where there is none.
    pub async fn hear_all(&self) {
        let nonce = self.0.nonce.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        lock(&self.0.syncs).insert(nonce, tell);
        self.do_later(Job::Sync(nonce));
        // An error: the relay is gone, and says nothing more.
        drop(told.await);
        lock(&self.0.syncs).remove(&nonce);
    }

    fn do_later(&self, job: Job) {
        if self.0.jobs.send(job).is_err() {
            // The thread ends with the process.
        }
    }
}

impl Idle {
    /// Starts to speak to the relay: what it serves and nobody has taken up is stopped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn begin(self) -> std::io::Result<()> {
        let Self(relay, queue) = self;
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || line::run(&relay.0, &queue))
            .map(drop)
    }
}

impl Shared {
    /// A flow was told of.
    fn note(&self, receipt: &FlowReceipt) {
        let whose = lock(&self.entries)
            .get(&receipt.sandbox)
            .map(|entry| Arc::clone(&entry.whose));
        if let Some(whose) = &whose {
            whose.tally.note(receipt);
        }
        self.sink.note(whose.as_deref(), receipt);
    }

    /// A sandbox is served by what holds now, or is not and why.
    fn answered(&self, id: &str, answer: Result<(), String>) {
        if let Err(why) = &answer {
            tracing::error!("sandbox {id}: the relay refuses it, and nothing leaves: {why}");
        }
        let waiting = lock(&self.entries)
            .get_mut(id)
            .and_then(|entry| entry.waiting.take());
        if waiting.is_some_and(|waiting| waiting.send(answer).is_err()) {
            // Whoever waited has gone, and ends the sandbox.
        }
    }

    fn stopped(&self, id: &str) {
        let mut entries = lock(&self.entries);
        if entries.get(id).is_some_and(|entry| entry.over) {
            entries.remove(id);
        }
    }

    /// The relay is gone: what it carried has ended, and was not told of.
    fn lost(&self) {
        let mut entries = lock(&self.entries);
        entries.retain(|_, entry| !entry.over);
        for entry in entries.values() {
            let tally = &entry.whose.tally;
            tally.lost("the relay ended; another took over");
        }
        // Nobody will answer.
        lock(&self.syncs).clear();
    }
}
