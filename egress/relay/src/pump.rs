//! Bytes, both ways, without a copy of them in this process (splice(2)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lakekeep_egress_rules::Limits;
use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::gate::Passed;
use crate::pipes::{Pipe, STEP};
use crate::side::Side;
use crate::turns::Toll;

/// Most bytes of one step without a pipe.
const COPY: usize = 16 << 10;

/// Most bytes that a direction carries one step after the other. One that still has more then waits
/// for its turn, so that what others have to say is not behind all that it has.
const SITTING: usize = 256 << 10;

thread_local! {
    /// The turn of those that have much to carry; a flow stays with its thread. One step is taken
    /// at a time, and between two of them all that is ready on the thread has its moment:
    /// however many have much, others wait for one step of one.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// What a flow has carried so far.
#[derive(Debug)]
pub struct Carried {
    sent: AtomicU64,
    received: AtomicU64,
    began: Instant,
    /// Milliseconds after the beginning.
    last: AtomicU64,
    /// Directions that wait for their turn to have bytes: that is not saying nothing.
    held_up: AtomicU64,
}

/// The limits under which a flow is carried; they can change meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Among them, how long nothing may be said.
    pub limits: &'a watch::Sender<Limits>,
    /// Bytes a second that leave.
    pub out: &'a Toll,
    /// Bytes a second that come.
    pub back: &'a Toll,
}

impl Carried {
    pub fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            began: Instant::now(),
            last: AtomicU64::new(0),
            held_up: AtomicU64::new(0),
        }
    }

    /// Bytes that left, and bytes that came.
    pub fn bytes(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.received))
    }

    /// Since its beginning.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something was said.
    pub fn touch(&self) {
        let now = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Bytes left by another way than [`carry`]'s.
    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Bytes came, likewise.
    pub fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Returns when so many bytes more may have been carried.
    pub async fn pay(&self, toll: &Toll, bytes: usize) {
        if !toll.is_limited() {
            return;
        }
        self.held_up.fetch_add(1, Ordering::Relaxed);
        toll.take(bytes as u64).await;
        self.held_up.fetch_sub(1, Ordering::Relaxed);
        self.touch();
    }

    /// Returns when nothing was said for as long as the limits let that be.
    pub async fn idle(&self, limits: &watch::Sender<Limits>) {
        let mut limits = limits.subscribe();
        loop {
            let patience = limits.borrow_and_update().idle;
            if self.held_up.load(Ordering::Relaxed) > 0 {
                self.touch();
            }
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let over = self.began + last + patience;
            if over <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(over) => {}
                // An error: nobody is there to change them.
                Ok(()) = limits.changed() => {}
            }
        }
    }
}

/// Carries bytes between the two until both have ended, one was lost, or nothing was said
/// for too long. When one side says that it has said all, the other is told.
pub async fn carry(inside: &Side, outside: &Side, carried: &Carried, bounds: Bounds<'_>) -> Passed {
    carried.touch();
    let out = way((inside, outside), (&carried.sent, carried), bounds.out);
    let back = way((outside, inside), (&carried.received, carried), bounds.back);
    tokio::select! {
        both = async { tokio::try_join!(out, back) } => match both {
            Ok(_) => Passed::Ended(Ok(())),
            Err(error) => Passed::Ended(Err(error)),
        },
        () = carried.idle(bounds.limits) => Passed::Idle,
    }
}

async fn way(
    (from, to): (&Side, &Side),
    (count, carried): (&AtomicU64, &Carried),
    toll: &Toll,
) -> io::Result<()> {
    let mut sitting = 0;
    loop {
        from.readable().await?;
        // What nobody takes stays where it is: its sender then waits, and not a pipe of ours.
        to.writable().await?;
        let turn = match sitting < SITTING {
            true => None,
            false => turn().await,
        };
        let most = toll.piece().unwrap_or(STEP);
        let taken = match Pipe::lend() {
            Some(pipe) => spliced((from, to), (pipe, most), turn).await,
            None => {
                drop(turn);
                copied((from, to), most).await
            }
        };
        let taken = match taken {
            Ok(0) => return end_of(to),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sitting = 0;
                continue;
            }
            Err(error) => return Err(error),
        };
        sitting += taken;
        count.fetch_add(taken as u64, Ordering::Relaxed);
        carried.touch();
        carried.pay(toll, taken).await;
    }
}

/// The next turn, when all that is ready on this thread has had its moment.
async fn turn() -> Option<OwnedSemaphorePermit> {
    let turn = TURN.with(Arc::clone).acquire_owned().await;
    tokio::task::yield_now().await;
    // An error: it was closed, which nobody does.
    turn.ok()
}

/// One step; 0 is the end. The turn is over when the receiver takes no more at once.
async fn spliced(
    (from, to): (&Side, &Side),
    (mut pipe, most): (Pipe, usize),
    turn: Option<OwnedSemaphorePermit>,
) -> io::Result<usize> {
    let taken = from.try_io(Interest::READABLE, || pipe.fill(from, most));
    while pipe.full() > 0 && to.try_io(Interest::WRITABLE, || pipe.empty(to)).is_ok() {}
    drop(turn);
    while pipe.full() > 0 {
        // An error of before is one again.
        to.async_io(Interest::WRITABLE, || pipe.empty(to)).await?;
    }
    pipe.give_back();
    taken
}

/// One step through this process's own memory, where no pipe is to be had.
pub async fn copied((from, to): (&Side, &Side), most: usize) -> io::Result<usize> {
    let mut buffer = vec![0; most.min(COPY)];
    let taken = from.try_read(&mut buffer)?;
    write_all(to, buffer.get(..taken).unwrap_or_default()).await?;
    Ok(taken)
}

/// Tells one side that the other has said all; it may have gone already.
pub fn end_of(side: &Side) -> io::Result<()> {
    match rustix::net::shutdown(side, Shutdown::Write) {
        Err(Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes all of it.
pub async fn write_all(to: &Side, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
