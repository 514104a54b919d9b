//! A relay that serves all sandboxes of a pool, over one connection.
//!
//! It ends with that connection, so nothing is left of it whatever becomes of its pool. A
//! thread hears it: a relay that nobody hears waits, and with it what its sandboxes send.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lakekeep_protocol::relay::{RuleDocument, ServeSpec};
use lakekeep_protocol::{RelayReply, RelayRequest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::outlet::Tally;
use super::{Link, PATIENCE, start, words};
use crate::error::SandboxError;

/// poll(2) does not wait.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The relays of a pool: one that lives, and another when it died.
#[derive(Debug, Default)]
pub(crate) struct Carriers(Mutex<Option<Arc<Carrier>>>);

/// A relay. Dropped, it ends, and nothing leaves by it any more.
#[derive(Debug)]
pub(crate) struct Carrier {
    channel: Arc<Link>,
    child: Mutex<Child>,
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
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
    /// It says nothing more.
    ended: bool,
}

#[derive(Debug)]
struct Account {
    tally: Arc<Tally>,
    /// Whether it serves the sandbox, or why not.
    answer: Option<Result<(), String>>,
}

impl Carriers {
    /// The relay that lives; started where there is none.
    ///
    /// # Errors
    /// `NoProgram`; of starting it.
    pub(super) fn current(&self) -> Result<Arc<Carrier>, SandboxError> {
        let mut now = lock(&self.0);
        if let Some(carrier) = now.as_ref().filter(|carrier| carrier.lives()) {
            return Ok(Arc::clone(carrier));
        }
        let carrier = Arc::new(Carrier::start()?);
        *now = Some(Arc::clone(&carrier));
        Ok(carrier)
    }
}

impl Carrier {
    fn start() -> Result<Self, SandboxError> {
        let (channel, child) = start()?;
        let (channel, heard) = (Arc::new(channel), Arc::new(Heard::default()));
        let (hears, notes) = (Arc::clone(&channel), Arc::clone(&heard));
        let listener = std::thread::spawn(move || notes.listen(&hears));
        Ok(Self {
            channel,
            child: Mutex::new(child),
            heard,
            listener: Some(listener),
        })
    }

    /// Whether it has not ended: it holds its end of the socket until then, whatever of its
    /// words has been heard.
    pub fn lives(&self) -> bool {
        let mut hung_up = [PollFd::new(&self.channel, PollFlags::empty())];
        matches!(poll(&mut hung_up, Some(&NOW)), Ok(0)) && !lock(&self.heard.books).ended
    }

    /// Has it serve a sandbox, and returns when it does: `false` when it has ended first.
    ///
    /// # Errors
    /// `Relay` with what it says of the rules.
    pub fn serve(
        &self,
        (sandbox, rules): (&str, &[RuleDocument]),
        sockets: [BorrowedFd<'_>; 2],
        tally: &Arc<Tally>,
    ) -> Result<bool, SandboxError> {
        let account = Account {
            tally: Arc::clone(tally),
            answer: None,
        };
        let mut books = lock(&self.heard.books);
        books.accounts.insert(sandbox.to_owned(), account);
        drop(books);
        let request = RelayRequest::Serve(Box::new(ServeSpec {
            sandbox: sandbox.to_owned(),
            profile: None,
            rules: rules.to_vec(),
        }));
        if self.channel.send(&request, &sockets).is_err() {
            lock(&self.heard.books).ended = true;
            return Ok(false);
        }
        let answered = |books: &Books| {
            let account = books.accounts.get(sandbox)?;
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
        if self.ask(&RelayRequest::Sync { nonce }) {
            self.until(patience, |books| books.synced >= nonce);
        }
    }

    /// Has it serve a sandbox no longer; with `patience`, returns when its last flow was told.
    pub fn stop(&self, sandbox: &str, patience: Option<Duration>) {
        let request = RelayRequest::Stop {
            sandbox: sandbox.to_owned(),
        };
        if self.ask(&request)
            && let Some(patience) = patience
        {
            self.until(patience, |books| !books.accounts.contains_key(sandbox));
        }
    }

    /// Why it ended, as the end of a sentence: of one that lives no more.
    pub fn last_words(&self) -> String {
        let mut child = lock(&self.child);
        let status = match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("{status}{}", words(&mut child))
    }

    /// Whether it was told: one that has ended hears nothing.
    fn ask(&self, request: &RelayRequest) -> bool {
        self.channel.send(request, &[]).is_ok()
    }

    fn until(&self, patience: Duration, done: impl Fn(&Books) -> bool) -> Waited<'_> {
        let books = lock(&self.heard.books);
        let waits = |books: &mut Books| !done(books) && !books.ended;
        let waited = self
            .heard
            .changed
            .wait_timeout_while(books, patience, waits);
        let (books, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (done(&books), books.ended) {
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

impl Heard {
    /// Hears a relay until its end.
    fn listen(&self, channel: &Link) {
        while let Ok(Some((reply, _))) = channel.receive() {
            self.note(reply);
        }
        let mut books = lock(&self.books);
        books.ended = true;
        for account in books.accounts.values() {
            account.tally.lose();
        }
        drop(books);
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
                if let Some(account) = books.accounts.get(&receipt.sandbox) {
                    account.tally.note(&receipt);
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
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Of one that has ended both fail, and are not needed.
        if child.kill().is_ok() && child.wait().is_err() {
            // It was waited for already.
        }
        // Its end of the socket is closed, which ends the thread.
        if self
            .listener
            .take()
            .map(JoinHandle::join)
            .is_some_and(|it| it.is_err())
        {
            // It hears nothing any more.
        }
    }
}

/// Locks plain data, in which nothing is half done when somebody panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
