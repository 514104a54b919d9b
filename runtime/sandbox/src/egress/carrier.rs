//! A relay that serves all sandboxes of a pool, over one connection.
//!
//! It ends with that connection, so nothing is left of it whatever becomes of its pool. A
//! thread hears it: a relay that nobody hears waits, and with it what its sandboxes send. When
//! it dies that thread, in this order,
//!
//! 1. shuts the sandboxes' listeners, which the pool keeps for another relay: what they send is
//!    refused, and does not wait for somebody who may never come;
//! 2. waits for its last words, for a moment;
//! 3. has another relay serve them, and their listeners are open again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::ServeSpec;
use lakekeep_protocol::{RelayReply, RelayRequest};
use lakekeep_sys::net::{open_listener, shut_listener};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::outlet::Way;
use super::{Link, PATIENCE, pidfd, start, words};
use crate::error::SandboxError;
use crate::launcher::readable;

/// poll(2) does not wait.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A relay that closed its socket ends so soon, or is ended.
const ENDING: Duration = Duration::from_millis(500);

/// Unasked, one is replaced no sooner after another: what dies at once is not started over and
/// over while nobody waits for it.
const BETWEEN: Duration = Duration::from_secs(1);

/// The relays of a pool: one that lives, and another when it died.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    now: Mutex<Option<Arc<Carrier>>>,
    /// When one was last replaced that nobody had asked for.
    replaced: Mutex<Option<Instant>>,
}

/// A relay. Dropped, it ends, and nothing leaves by it any more.
#[derive(Debug)]
pub(crate) struct Carrier {
    channel: Arc<Link>,
    child: Arc<Mutex<Child>>,
    heard: Arc<Heard>,
}

/// What it has said.
#[derive(Debug, Default)]
struct Heard {
    books: Mutex<Books>,
    /// Something in them is another.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Books {
    /// The sandboxes that it serves, or is to serve.
    accounts: BTreeMap<String, Account>,
    /// The highest that was asked with.
    nonce: u64,
    /// The highest that it answered.
    synced: u64,
    /// It carries nothing more, and its sandboxes' listeners are shut.
    shut: bool,
    /// It has ended, with these words.
    ended: Option<String>,
}

#[derive(Debug)]
struct Account {
    /// Of a sandbox that may be gone.
    way: Weak<Way>,
    /// Whether it serves the sandbox, or why not.
    answer: Option<Result<(), String>>,
}

impl Carriers {
    /// The relay that lives; started where there is none.
    ///
    /// # Errors
    /// `NoProgram`; of starting it.
    pub(super) fn current(self: &Arc<Self>) -> Result<Arc<Carrier>, SandboxError> {
        let mut now = lock(&self.now);
        match now.as_ref() {
            Some(carrier) if carrier.lives() => return Ok(Arc::clone(carrier)),
            // What it leaves open is shut before another one opens it.
            Some(dead) => drop(dead.until(PATIENCE, |books| books.shut)),
            None => {}
        }
        let carrier = Arc::new(Carrier::start(self)?);
        *now = Some(Arc::clone(&carrier));
        Ok(carrier)
    }

    /// Has another one take over for a relay that died, if there was none a moment ago. Where that
    /// fails the listeners stay shut: the next claim or task tries again, and tells.
    fn replace(self: &Arc<Self>, ways: &[Arc<Way>]) {
        let mut replaced = lock(&self.replaced);
        if replaced.is_some_and(|last| last.elapsed() < BETWEEN) {
            return;
        }
        *replaced = Some(Instant::now());
        drop(replaced);
        for way in ways {
            if way.open(self).is_err() {
                return;
            }
        }
    }
}

impl Carrier {
    fn start(carriers: &Arc<Carriers>) -> Result<Self, SandboxError> {
        let (channel, child) = start()?;
        let pidfd = pidfd(&child)?;
        let carrier = Self {
            channel: Arc::new(channel),
            child: Arc::new(Mutex::new(child)),
            heard: Arc::default(),
        };
        let hears = (Arc::clone(&carrier.channel), Arc::clone(&carrier.heard));
        let child = (Arc::clone(&carrier.child), pidfd);
        let carriers = Arc::downgrade(carriers);
        // It ends with the relay, which ends with this.
        std::thread::spawn(move || attend(hears, child, &carriers));
        Ok(carrier)
    }

    /// Whether it has not ended: it holds its end of the socket until then, whatever of its
    /// words has been heard.
    pub fn lives(&self) -> bool {
        let mut hung_up = [PollFd::new(&self.channel, PollFlags::empty())];
        matches!(poll(&mut hung_up, Some(&NOW)), Ok(0)) && lock(&self.heard.books).ended.is_none()
    }

    /// Has it serve a sandbox, and returns when it does: `false` when it has ended first.
    ///
    /// # Errors
    /// `Relay` with what it says of the rules.
    pub fn serve(&self, way: &Arc<Way>) -> Result<bool, SandboxError> {
        let mut books = lock(&self.heard.books);
        if books.shut {
            return Ok(false);
        }
        // Beside the entry that has it shut: none is open of which nobody knows.
        let [tcp, udp] = &way.sockets;
        open_listener(tcp).map_err(SandboxError::kernel("listen"))?;
        let account = Account {
            way: Arc::downgrade(way),
            answer: None,
        };
        books.accounts.insert(way.sandbox.clone(), account);
        drop(books);
        let request = RelayRequest::Serve(Box::new(ServeSpec {
            sandbox: way.sandbox.clone(),
            profile: None,
            rules: way.rules.clone(),
        }));
        // Where it cannot be told it has ended, and who hears it is about to know.
        drop(self.channel.send(&request, &[tcp.as_fd(), udp.as_fd()]));
        let answered = |books: &Books| {
            let account = books.accounts.get(&way.sandbox)?;
            account.answer.clone()
        };
        match self.until(PATIENCE, |books| answered(books).is_some()) {
            Waited::Done(books) => match answered(&books) {
                Some(Err(reason)) => Err(SandboxError::Relay {
                    reason: format!(": {reason}"),
                }),
                _ => Ok(true),
            },
            Waited::Ended => Ok(false),
            Waited::Silent => Err(SandboxError::Relay {
                reason: format!(": it says nothing for {} s", PATIENCE.as_secs()),
            }),
        }
    }

    /// Returns when everything was heard that it had to say, or at the end of `patience`.
    pub fn hear_all(&self, patience: Duration) {
        let mut books = lock(&self.heard.books);
        books.nonce += 1;
        let nonce = books.nonce;
        drop(books);
        // Of one that cannot be asked, its end is what is left to hear.
        self.ask(&RelayRequest::Sync { nonce });
        self.until(patience, |books| books.synced >= nonce);
    }

    /// Has it serve a sandbox no longer; with `patience`, returns when its last flow was told.
    pub fn stop(&self, sandbox: &str, patience: Option<Duration>) {
        let request = RelayRequest::Stop {
            sandbox: sandbox.to_owned(),
        };
        self.ask(&request);
        if let Some(patience) = patience {
            self.until(patience, |books| !books.accounts.contains_key(sandbox));
        }
    }

    /// Why it ended, as the end of a sentence; nothing of one that lives.
    pub fn last_words(&self) -> String {
        let books = lock(&self.heard.books);
        books.ended.clone().unwrap_or_default()
    }

    /// Tells it; one that has ended hears nothing.
    fn ask(&self, request: &RelayRequest) {
        drop(self.channel.send(request, &[]));
    }

    fn until(&self, patience: Duration, done: impl Fn(&Books) -> bool) -> Waited<'_> {
        let books = lock(&self.heard.books);
        let waits = |books: &mut Books| !done(books) && books.ended.is_none();
        let waited = self
            .heard
            .changed
            .wait_timeout_while(books, patience, waits);
        let (books, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (done(&books), books.ended.is_some()) {
            (true, _) => Waited::Done(books),
            (false, true) => Waited::Ended,
            (false, false) => Waited::Silent,
        }
    }
}

/// What became of what was waited for.
enum Waited<'a> {
    Done(MutexGuard<'a, Books>),
    Ended,
    Silent,
}

/// Hears a relay until its end, and has another one take over.
fn attend(
    (channel, heard): (Arc<Link>, Arc<Heard>),
    (child, pidfd): (Arc<Mutex<Child>>, OwnedFd),
    carriers: &Weak<Carriers>,
) {
    while let Ok(Some((reply, _))) = channel.receive() {
        heard.note(reply);
    }
    let ways = heard.shut();
    let words = last_words(&child, &pidfd);
    for way in &ways {
        way.tally.lose(&words);
    }
    heard.end(words);
    if let Some(carriers) = carriers.upgrade() {
        carriers.replace(&ways);
    }
}

/// Of a relay that has closed its socket: how it ended, with its last words.
fn last_words(child: &Mutex<Child>, pidfd: &OwnedFd) -> String {
    let ended = readable(pidfd.as_fd(), ENDING);
    let mut child = lock(child);
    if !matches!(ended, Ok(true)) && child.kill().is_err() {
        // It was waited for.
    }
    match child.wait() {
        Ok(status) => format!("{status}{}", words(&mut child)),
        Err(error) => error.to_string(),
    }
}

impl Heard {
    /// Nothing of its sandboxes leaves any more, and nothing waits; those that live still.
    fn shut(&self) -> Vec<Arc<Way>> {
        let mut books = lock(&self.books);
        books.shut = true;
        let accounts = std::mem::take(&mut books.accounts);
        let ways: Vec<Arc<Way>> = accounts
            .values()
            .filter_map(|account| account.way.upgrade())
            .collect();
        for way in &ways {
            if shut_listener(&way.sockets[0]).is_err() {
                // Nobody can do more: what is sent waits there, and does not leave.
            }
        }
        drop(books);
        self.changed.notify_all();
        ways
    }

    fn end(&self, words: String) {
        lock(&self.books).ended = Some(words);
        self.changed.notify_all();
    }

    fn note(&self, reply: RelayReply) {
        let mut books = lock(&self.books);
        let mut answered = |sandbox: &str, answer| {
            if let Some(account) = books.accounts.get_mut(sandbox) {
                account.answer = Some(answer);
            }
        };
        match reply {
            RelayReply::Flow(receipt) => {
                let account = books.accounts.get(&receipt.sandbox);
                if let Some(way) = account.and_then(|account| account.way.upgrade()) {
                    way.tally.note(&receipt);
                }
                return;
            }
            RelayReply::Serving { sandbox } => answered(&sandbox, Ok(())),
            RelayReply::Refused { sandbox, reason } => answered(&sandbox, Err(reason)),
            RelayReply::Stopped { sandbox } => {
                books.accounts.remove(&sandbox);
            }
            RelayReply::Synced { nonce } => books.synced = nonce,
            // Not asked for, and not of a relay with one manager.
            RelayReply::Served(_) | RelayReply::Lost { .. } => return,
        }
        drop(books);
        self.changed.notify_all();
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // Of one that has ended both fail, and are not needed.
        if child.kill().is_ok() && child.wait().is_err() {
            // It was waited for already.
        }
    }
}

/// Locks plain data, in which nothing is half done when somebody panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
