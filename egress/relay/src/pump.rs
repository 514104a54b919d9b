//! Bytes, both ways, without a copy of them in this process (splice(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::pace::Pace;

/// Most bytes of one step: what a pipe holds (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// What a flow has carried so far.
#[derive(Debug)]
pub struct Carried {
    sent: AtomicU64,
    received: AtomicU64,
    began: Instant,
    /// Milliseconds after the beginning.
    last: AtomicU64,
}

/// How a flow that was carried ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said all they had to.
    Closed,
    /// One of them reset it, or was lost.
    Reset,
    /// Nothing was said for too long.
    Idle,
}

/// The limits under which a flow is carried.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// It ends when nothing was said for so long.
    pub idle: Duration,
    /// Bytes a second that leave.
    pub out: Option<&'a Pace>,
    /// Bytes a second that come.
    pub back: Option<&'a Pace>,
}

impl Carried {
    pub fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            began: Instant::now(),
            last: AtomicU64::new(0),
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

    /// Returns when nothing was said for `patience`.
    async fn idle(&self, patience: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let over = self.began + last + patience;
            if over <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(over).await;
        }
    }
}

/// Carries bytes between the two until both have ended, one was lost, or nothing was said
/// for too long. When one side says that it has said all, the other is told.
pub async fn carry(
    inside: &TcpStream,
    outside: &TcpStream,
    carried: &Carried,
    bounds: Bounds<'_>,
) -> End {
    carried.touch();
    let out = way((inside, outside), (&carried.sent, carried), bounds.out);
    let back = way((outside, inside), (&carried.received, carried), bounds.back);
    tokio::select! {
        both = async { tokio::try_join!(out, back) } => match both {
            Ok(_) => End::Closed,
            Err(_) => End::Reset,
        },
        () = carried.idle(bounds.idle) => End::Idle,
    }
}

async fn way(
    (from, to): (&TcpStream, &TcpStream),
    (count, carried): (&AtomicU64, &Carried),
    pace: Option<&Pace>,
) -> io::Result<()> {
    let (source, sink) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    loop {
        let taken = from
            .async_io(Interest::READABLE, || splice(from, &sink, CHUNK))
            .await?;
        if taken == 0 {
            return Ok(rustix::net::shutdown(to, Shutdown::Write)?);
        }
        empty(&source, to, taken).await?;
        count.fetch_add(taken as u64, Ordering::Relaxed);
        carried.touch();
        paid(pace, taken).await;
    }
}

/// Returns when so many bytes more may have been carried.
pub async fn paid(pace: Option<&Pace>, bytes: usize) {
    if let Some(pace) = pace {
        pace.take(bytes as u64).await;
    }
}

async fn empty(source: &OwnedFd, to: &TcpStream, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let moved = to
            .async_io(Interest::WRITABLE, || splice(source, to, left))
            .await?;
        left = left.saturating_sub(moved);
    }
    Ok(())
}

/// Without `SPLICE_F_MORE`: with it the kernel holds the end of a small message back for
/// 200 ms.
fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}
