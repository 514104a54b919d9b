//! The control socket to whoever makes the sandboxes, and what it has said of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_udf_packets::{Answer, MAX_PACKET, Open, Request, Verdict};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};

use crate::UdfError;

/// What to do when the broker is gone.
const AGAIN: &str = "try again";

/// How a sandbox ended, as the broker saw it from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why; of kind `broker` when the broker itself ended, and the sandbox with it.
    pub verdict: Verdict,
    /// Bytes that the sandbox had at most.
    pub memory_peak: u64,
    /// Microseconds of processors.
    pub cpu_us: u64,
}

impl End {
    fn with_broker() -> Self {
        let verdict = Verdict {
            kind: "broker".to_owned(),
            exit_code: 0,
            signal: None,
            limit: None,
            peak: None,
            explanation: "the broker ended, and the sandbox with it".to_owned(),
            remedy: AGAIN.to_owned(),
        };
        Self {
            verdict,
            memory_peak: 0,
            cpu_us: 0,
        }
    }
}

/// A sandbox that was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) sandbox: String,
    pub(crate) warning: Option<String>,
}

#[derive(Debug, Default)]
struct Heard {
    made: Option<Made>,
    failed: Option<String>,
    end: Option<End>,
}

/// What is known of one sandbox.
#[derive(Debug, Default)]
struct Slot {
    heard: Mutex<Heard>,
    changed: Condvar,
}

/// A lock's content, whatever happened to who had it: each change is whole by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn tell(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut lock(&self.heard));
        self.changed.notify_all();
    }

    /// Waits until something is known; none when that takes longer than it may.
    fn wait<T>(&self, patience: Duration, what: impl Fn(&Heard) -> Option<T>) -> Option<T> {
        let until = Instant::now() + patience;
        let mut heard = lock(&self.heard);
        loop {
            if let Some(found) = what(&heard) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[derive(Debug, Default)]
struct Slots {
    of: HashMap<u32, Arc<Slot>>,
    last: u32,
    lost: bool,
}

/// One broker, as long as it lives; for any thread.
#[derive(Debug)]
pub(crate) struct Link {
    control: OwnedFd,
    slots: Mutex<Slots>,
}

impl Link {
    pub(crate) fn new(control: OwnedFd) -> Arc<Self> {
        let slots = Mutex::default();
        Arc::new(Self { control, slots })
    }

    pub(crate) fn lost(&self) -> bool {
        lock(&self.slots).lost
    }

    /// Ends it: whoever is at the other end ends all sandboxes.
    pub(crate) fn shut(&self) {
        // It fails where the other end is gone already.
        rustix::net::shutdown(&self.control, Shutdown::Both).ok();
    }

    /// Hears answers until there are no more.
    pub(crate) fn listen(&self) {
        let mut packet = vec![0; MAX_PACKET];
        loop {
            match rustix::net::recv(&self.control, &mut packet, RecvFlags::empty()) {
                Ok((0, _)) => break,
                Ok((size, _)) => match Answer::parse(packet.get(..size).unwrap_or_default()) {
                    Ok(answer) => self.told(answer),
                    // It speaks another version: no session can be had of it.
                    Err(_) => break,
                },
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.shut();
        let mut slots = lock(&self.slots);
        slots.lost = true;
        for (_, slot) in slots.of.drain() {
            slot.tell(|heard| {
                heard
                    .failed
                    .get_or_insert_with(|| "the broker has ended".to_owned());
                heard.end.get_or_insert_with(End::with_broker);
            });
        }
    }

    fn told(&self, answer: Answer) {
        let mut slots = lock(&self.slots);
        match answer {
            Answer::Opened {
                number,
                sandbox,
                warning,
            } => {
                if let Some(slot) = slots.of.get(&number) {
                    slot.tell(|heard| heard.made = Some(Made { sandbox, warning }));
                }
            }
            Answer::Failed {
                number,
                message,
                code,
                ..
            } => {
                if let Some(slot) = slots.of.remove(&number) {
                    // A manager's word for it: `DENIED`, `QUOTA_EXCEEDED`...
                    let message = match code {
                        Some(code) => format!("{message} ({code})"),
                        None => message,
                    };
                    slot.tell(|heard| heard.failed = Some(message));
                }
            }
            Answer::Ended {
                number,
                verdict,
                memory_peak,
                cpu_us,
            } => {
                if let Some(slot) = slots.of.remove(&number) {
                    let end = End {
                        verdict,
                        memory_peak,
                        cpu_us,
                    };
                    slot.tell(|heard| heard.end = Some(end));
                }
            }
        }
    }

    /// Asks for a sandbox whose worker has these descriptors.
    pub(crate) fn ask(
        self: &Arc<Self>,
        mut open: Open,
        given: &[BorrowedFd<'_>],
    ) -> Result<Lease, UdfError> {
        let slot = Arc::new(Slot::default());
        open.number = self.number(&slot)?;
        // From here on it is ended by whatever goes wrong, and when nobody wants it any more.
        let lease = Lease {
            link: self.clone(),
            number: open.number,
            slot,
            made: OnceLock::new(),
        };
        self.say(&Request::Open(Box::new(open)), given)
            .inspect_err(|_| self.forget(lease.number))?;
        Ok(lease)
    }

    fn number(&self, slot: &Arc<Slot>) -> Result<u32, UdfError> {
        let mut slots = lock(&self.slots);
        if slots.lost {
            return Err(UdfError::unavailable("the broker has ended", AGAIN));
        }
        loop {
            slots.last = slots.last.wrapping_add(1).max(1);
            let number = slots.last;
            if let Entry::Vacant(place) = slots.of.entry(number) {
                place.insert(slot.clone());
                return Ok(number);
            }
        }
    }

    fn forget(&self, number: u32) {
        lock(&self.slots).of.remove(&number);
    }

    fn say(&self, request: &Request, given: &[BorrowedFd<'_>]) -> Result<(), UdfError> {
        let packet = request.to_packet();
        if packet.len() > MAX_PACKET {
            let message = format!(
                "a request of {} bytes; {MAX_PACKET} are allowed",
                packet.len()
            );
            return Err(UdfError::unavailable(
                message,
                "shorten user, query or modules",
            ));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !given.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(given)) {
            return Err(UdfError::unavailable("too many descriptors", AGAIN));
        }
        let packet = [IoSlice::new(&packet)];
        match rustix::net::sendmsg(&self.control, &packet, &mut rights, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(errno) => {
                let message = format!("asking the broker: {errno}");
                Err(UdfError::unavailable(message, AGAIN))
            }
        }
    }
}

/// One sandbox, which ends when this does.
#[derive(Debug)]
pub(crate) struct Lease {
    link: Arc<Link>,
    number: u32,
    slot: Arc<Slot>,
    made: OnceLock<Made>,
}

impl Lease {
    /// Waits until there is a sandbox.
    pub(crate) fn wait(&self, patience: Duration) -> Result<(), UdfError> {
        let heard = self.slot.wait(patience, |heard| match &heard.failed {
            Some(message) => Some(Err(message.clone())),
            None => heard.made.clone().map(Ok),
        });
        match heard {
            Some(Ok(made)) => {
                self.made.get_or_init(|| made);
                Ok(())
            }
            Some(Err(message)) => Err(UdfError::unavailable(
                format!("no sandbox was made: {message}"),
                "see what the broker says; `lakekeep doctor` tells what this host lacks",
            )),
            None => Err(UdfError::unavailable(
                format!("the broker made no sandbox within {patience:?}"),
                "raise open_timeout",
            )),
        }
    }

    /// The sandbox, once there is one.
    pub(crate) fn made(&self) -> Option<&Made> {
        self.made.get()
    }

    /// Asks for its end; returns at once.
    pub(crate) fn kill(&self) {
        if lock(&self.slot.heard).end.is_none() {
            // Where there is no broker, there is no sandbox.
            self.link
                .say(
                    &Request::Kill {
                        number: self.number,
                    },
                    &[],
                )
                .ok();
        }
    }

    /// How it ended; none if that is not known in time.
    pub(crate) fn ended(&self, patience: Duration) -> Option<End> {
        self.slot.wait(patience, |heard| heard.end.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let heard = lock(&self.slot.heard);
        let over = heard.end.is_some() || heard.failed.is_some();
        drop(heard);
        if !over {
            self.kill();
        }
    }
}

/// A file's borrow, for what is handed over.
pub(crate) fn borrowed(given: &[OwnedFd; 3]) -> [BorrowedFd<'_>; 3] {
    let [socket, stdout, stderr] = given;
    [socket.as_fd(), stdout.as_fd(), stderr.as_fd()]
}
