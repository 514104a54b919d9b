//! The loop: one thread, for whoever starts processes has one.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakekeep_sandbox::{Claimed, Job, Outcome, SandboxError, Stdio};
use lakekeep_sys::socket;
use lakekeep_tree::Environment;
use lakekeep_udf_packets::{Answer, MAX_PACKET, Open, Request, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::claim::{Claim, ClaimError};
use crate::kind::Ground;
use crate::pools::Pools;
use crate::streams::{self, StreamsError};
use crate::waiting::Waiting;
use crate::{WORKER, answer};

/// signal(7)
const SIGKILL: i32 = 9;

/// Most sessions at once: each has a sandbox, or waits for one.
const MOST: usize = 1024;

/// Nothing happened for so long: time to make sandboxes ahead.
const QUIET: Duration = Duration::from_millis(5);

/// Why a broker cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
pub struct BrokerError {
    operation: &'static str,
    #[source]
    errno: Errno,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("a session of number {0} lives; number each anew")]
    Number(u32),
    #[error("{MOST} sessions live, and no more may; close some")]
    Many,
    #[error(transparent)]
    Streams(#[from] StreamsError),
    #[error(transparent)]
    Claim(#[from] Arc<ClaimError>),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("it was ended before it had a sandbox; open another")]
    Ended,
    #[error(
        "the other end of the worker's socket was closed before it had a sandbox; keep it open"
    )]
    Deserted,
}

#[derive(Debug)]
struct Session {
    number: u32,
    sandbox: Claimed,
    task: u32,
    /// Its environment.
    _pinned: Option<Arc<Environment>>,
}

/// A broker, and all sessions of its engine.
#[derive(Debug)]
struct Broker {
    control: OwnedFd,
    pools: Pools,
    sessions: Vec<Session>,
}

/// Serves the engine at the other end of `control` until it closes it. Every sandbox ends
/// then.
///
/// # Errors
/// [`BrokerError`] of poll(2) and of the control socket.
pub fn serve(control: OwnedFd, ground: Ground) -> Result<(), BrokerError> {
    let mut broker = Broker {
        control,
        pools: Pools::new(ground),
        sessions: Vec::new(),
    };
    let mut packet = vec![0; MAX_PACKET];
    loop {
        match broker.wait()? {
            Heard::Nothing if broker.pools.lacking() => broker.pools.refill(),
            Heard::Nothing | Heard::Sandboxes => {}
            Heard::Engine => {
                let failed = BrokerError::of("reading the control socket");
                match socket::receive(&broker.control, &mut packet) {
                    // Cut, or with more descriptors than there may be: nobody can be answered.
                    Err(Errno::MSGSIZE) => continue,
                    // It ended without having heard all.
                    Err(Errno::CONNRESET) => return Ok(()),
                    Err(errno) => return Err(failed(errno)),
                    Ok(heard) if heard.length == 0 => return Ok(()),
                    Ok(heard) => {
                        let packet = packet.get(..heard.length).unwrap_or_default();
                        broker.answer(packet, heard.descriptors)?;
                    }
                }
            }
        }
        broker.hear_ends()?;
        broker.dismiss_deserted()?;
        broker.serve_waiting()?;
    }
}

impl BrokerError {
    fn of(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { operation, errno }
    }
}

enum Heard {
    Engine,
    Sandboxes,
    Nothing,
}

impl Broker {
    /// Waits for the engine, for the end of a session or of the wait for one, or for time to be
    /// over.
    fn wait(&self) -> Result<Heard, BrokerError> {
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        let voices = self.sessions.iter().map(|it| it.sandbox.voice());
        let voices = voices.chain(self.pools.voices());
        fds.extend(voices.map(|voice| PollFd::from_borrowed_fd(voice, PollFlags::IN)));
        let ends = self.pools.waiting().map(Waiting::end);
        fds.extend(ends.map(|end| PollFd::from_borrowed_fd(end, PollFlags::empty())));
        match poll(&mut fds, self.patience().as_ref()) {
            Err(Errno::INTR) => return Ok(Heard::Sandboxes),
            Err(errno) => return Err(BrokerError::of("poll")(errno)),
            Ok(0) => return Ok(Heard::Nothing),
            Ok(_) => {}
        }
        match fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            true => Ok(Heard::Engine),
            false => Ok(Heard::Sandboxes),
        }
    }

    /// Until something is to be ended, or made ahead; `None`: as long as it takes.
    fn patience(&self) -> Option<Timespec> {
        let sessions = self.sessions.iter().filter_map(|it| it.sandbox.due());
        let due = sessions.chain(self.pools.due()).min();
        let until = due.map(|due| due.saturating_duration_since(Instant::now()));
        let patience = match self.pools.lacking() {
            true => Some(until.map_or(QUIET, |until| until.min(QUIET))),
            false => until,
        }?;
        Some(Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        })
    }

    fn answer(&mut self, packet: &[u8], given: Vec<OwnedFd>) -> Result<(), BrokerError> {
        match Request::parse(packet) {
            Ok(Request::Open(open)) => {
                let number = open.number;
                match self.open(open, given) {
                    // It is answered when there is a sandbox, or there will be none.
                    Ok(()) => Ok(()),
                    Err(error) => self.refuse(number, &error),
                }
            }
            Ok(Request::Kill { number }) => self.kill(number),
            // For a manager's log: a broker has none.
            Ok(Request::Used { .. }) => Ok(()),
            // Number 0 is nobody's: the engine's fault is told, and no session suffers.
            Err(error) => self.say(&answer::failed(0, &error)),
        }
    }

    fn open(&mut self, open: Box<Open>, given: Vec<OwnedFd>) -> Result<(), OpenError> {
        let number = open.number;
        let lives = self.sessions.iter().any(|it| it.number == number);
        let waits = self.pools.waiting().any(|it| it.number() == number);
        if number == 0 || lives || waits {
            return Err(OpenError::Number(number));
        }
        if self.sessions.len() + self.pools.waiting().count() >= MOST {
            return Err(OpenError::Many);
        }
        let streams = streams::check(given)?;
        self.pools.lack();
        let asked = self.pools.ask(Waiting { open, streams });
        Ok(asked.map_err(Arc::new)?)
    }

    /// Hands out the sandboxes that are ready, and says of others that there will be none.
    fn serve_waiting(&mut self) -> Result<(), BrokerError> {
        for (waiting, claim) in self.pools.serve() {
            let number = waiting.number();
            let started = match claim {
                Ok(claim) => self.start(waiting, claim),
                Err(error) => Err(error.into()),
            };
            match started {
                Ok(opened) => self.say(&opened)?,
                Err(error) => self.refuse(number, &error)?,
            }
        }
        Ok(())
    }

    fn start(&mut self, waiting: Waiting, claim: Claim) -> Result<Answer, OpenError> {
        let Waiting { open, streams } = waiting;
        let Claim {
            mut sandbox,
            interpreter,
            warning,
            pinned,
        } = claim;
        let mut job = Job::new([interpreter.display().to_string().as_str(), "-c", WORKER]);
        job.last = true;
        let spawned = sandbox.spawn(&job, Stdio::Given(streams));
        if spawned.is_err() {
            // Made ahead, and dead since: the others of its kind are, too.
            self.pools.spoil(&open);
        }
        let task = spawned?;
        let opened = Answer::Opened {
            number: open.number,
            sandbox: sandbox.id().to_owned(),
            warning: warning.map(bounded),
        };
        self.sessions.push(Session {
            number: open.number,
            sandbox,
            task,
            _pinned: pinned,
        });
        Ok(opened)
    }

    /// Who has closed its end waits no more.
    fn dismiss_deserted(&mut self) -> Result<(), BrokerError> {
        for waiting in self.pools.deserted() {
            self.refuse(waiting.number(), &OpenError::Deserted)?;
        }
        Ok(())
    }

    /// One that has ended has said so: its end and this word have crossed.
    fn kill(&mut self, number: u32) -> Result<(), BrokerError> {
        if self.pools.cancel(number).is_some() {
            return self.refuse(number, &OpenError::Ended);
        }
        let session = self.sessions.iter().find(|it| it.number == number);
        let signalled = session.map(|it| it.sandbox.signal(it.task, SIGKILL));
        match signalled {
            // A sandbox that is gone is heard of next.
            None | Some(Ok(()) | Err(_)) => Ok(()),
        }
    }

    fn hear_ends(&mut self) -> Result<(), BrokerError> {
        let mut ended = Vec::new();
        for (index, session) in self.sessions.iter_mut().enumerate() {
            match session.sandbox.outcome(session.task) {
                Ok(None) => {}
                Ok(Some(outcome)) => ended.push((index, Ok(outcome))),
                Err(error) => ended.push((index, Err(error))),
            }
        }
        for (index, end) in ended.into_iter().rev() {
            let session = self.sessions.swap_remove(index);
            self.tell(session, end)?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        session: Session,
        end: Result<Outcome, SandboxError>,
    ) -> Result<(), BrokerError> {
        let number = session.number;
        self.pools.lack();
        let told = match &end {
            Ok(outcome) => self.say(&answer::ended(number, outcome)),
            Err(error) => self.say(&answer::failed(number, error)),
        };
        // Who waits is told before it is taken down.
        drop(session);
        told
    }

    fn refuse(&self, number: u32, error: &OpenError) -> Result<(), BrokerError> {
        let claim = match error {
            OpenError::Claim(claim) => Some(claim),
            _ => None,
        };
        let code = claim.and_then(|claim| claim.code());
        let retry_after = claim.and_then(|claim| claim.retry_after());
        self.say(&answer::refused(number, error, code, retry_after))
    }

    fn say(&self, answer: &Answer) -> Result<(), BrokerError> {
        match socket::send(self.control.as_fd(), &answer.to_packet(), &[]) {
            // The engine is gone: the next word heard of it is its end.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(BrokerError::of("writing the control socket")(errno)),
        }
    }
}
