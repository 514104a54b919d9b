//! The loop: one thread, for whoever starts processes has one.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use lakekeep_plan::HostFacts;
use lakekeep_sandbox::{Claimed, Job, Outcome, SandboxError, Stdio};
use lakekeep_sys::socket;
use lakekeep_udf_packets::{Answer, MAX_PACKET, Open, Request, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::pools::{ClaimError, Pools};
use crate::streams::{self, StreamsError};
use crate::{WORKER, answer};

/// signal(7)
const SIGKILL: i32 = 9;

/// Most sessions at once: each has a sandbox.
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
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

#[derive(Debug)]
struct Session {
    number: u32,
    sandbox: Claimed,
    task: u32,
}

/// A broker, and all sessions of its engine.
#[derive(Debug)]
struct Broker {
    control: OwnedFd,
    pools: Pools,
    sessions: Vec<Session>,
    /// Sandboxes may be lacking.
    lacking: bool,
}

/// Serves the engine at the other end of `control` until it closes it. Every sandbox ends
/// then.
///
/// # Errors
/// [`BrokerError`] of poll(2) and of the control socket.
pub fn serve(control: OwnedFd, host: HostFacts) -> Result<(), BrokerError> {
    let mut broker = Broker {
        control,
        pools: Pools::new(host),
        sessions: Vec::new(),
        lacking: false,
    };
    let mut packet = vec![0; MAX_PACKET];
    loop {
        match broker.wait()? {
            Heard::Nothing if broker.lacking => broker.lacking = broker.pools.refill(),
            Heard::Nothing | Heard::Sessions => {}
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
    }
}

impl BrokerError {
    fn of(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { operation, errno }
    }
}

enum Heard {
    Engine,
    Sessions,
    Nothing,
}

impl Broker {
    /// Waits for the engine, for the end of a session, or for time to be over.
    fn wait(&self) -> Result<Heard, BrokerError> {
        let due = self.sessions.iter().filter_map(|it| it.sandbox.due()).min();
        let until = due.map(|due| due.saturating_duration_since(Instant::now()));
        let patience = match self.lacking {
            true => Some(until.map_or(QUIET, |until| until.min(QUIET))),
            false => until,
        };
        let patience = patience.map(|patience| Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        });
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        let voices = self.sessions.iter().map(|it| it.sandbox.voice());
        fds.extend(voices.map(|voice| PollFd::from_borrowed_fd(voice, PollFlags::IN)));
        match poll(&mut fds, patience.as_ref()) {
            Err(Errno::INTR) => return Ok(Heard::Sessions),
            Err(errno) => return Err(BrokerError::of("poll")(errno)),
            Ok(0) => return Ok(Heard::Nothing),
            Ok(_) => {}
        }
        match fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            true => Ok(Heard::Engine),
            false => Ok(Heard::Sessions),
        }
    }

    fn answer(&mut self, packet: &[u8], given: Vec<OwnedFd>) -> Result<(), BrokerError> {
        match Request::parse(packet) {
            Ok(Request::Open(open)) => match self.open(&open, given) {
                Ok(warning) => {
                    let sandbox = self.sessions.last().map_or("", |it| it.sandbox.id());
                    self.say(&Answer::Opened {
                        number: open.number,
                        sandbox: sandbox.to_owned(),
                        warning: warning.map(bounded),
                    })
                }
                Err(error) => self.say(&answer::failed(open.number, &error)),
            },
            Ok(Request::Kill { number }) => self.kill(number),
            // For a manager's log: a broker has none.
            Ok(Request::Used { .. }) => Ok(()),
            // Number 0 is nobody's: the engine's fault is told, and no session suffers.
            Err(error) => self.say(&answer::failed(0, &error)),
        }
    }

    fn open(&mut self, open: &Open, given: Vec<OwnedFd>) -> Result<Option<String>, OpenError> {
        let number = open.number;
        if number == 0 || self.sessions.iter().any(|it| it.number == number) {
            return Err(OpenError::Number(number));
        }
        if self.sessions.len() >= MOST {
            return Err(OpenError::Many);
        }
        let streams = streams::check(given)?;
        self.lacking = true;
        let (mut sandbox, warning) = self.pools.claim(open)?;
        let mut job = Job::new([
            open.interpreter.display().to_string().as_str(),
            "-c",
            WORKER,
        ]);
        job.last = true;
        let spawned = sandbox.spawn(&job, Stdio::Given(streams));
        if spawned.is_err() {
            // Made ahead, and dead since: the others of its kind are, too.
            self.pools.forget(open);
        }
        let task = spawned?;
        self.sessions.push(Session {
            number,
            sandbox,
            task,
        });
        Ok(warning)
    }

    /// One that has ended has said so: its end and this word have crossed.
    fn kill(&self, number: u32) -> Result<(), BrokerError> {
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
        self.lacking = true;
        let told = match &end {
            Ok(outcome) => self.say(&answer::ended(number, outcome)),
            Err(error) => self.say(&answer::failed(number, error)),
        };
        // Who waits is told before it is taken down.
        drop(session);
        told
    }

    fn say(&self, answer: &Answer) -> Result<(), BrokerError> {
        match socket::send(self.control.as_fd(), &answer.to_packet(), &[]) {
            // The engine is gone: the next word heard of it is its end.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(BrokerError::of("writing the control socket")(errno)),
        }
    }
}
