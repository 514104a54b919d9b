//! The one thread that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

use super::gap::{Gap, GapCause, Missing};
use super::log::Retention;
use super::row::FlowRow;
use super::table;
use crate::Timestamp;
use crate::state::StoreError;

/// Rows of one transaction.
pub(super) const BATCH: usize = 1000;

/// How long the first row of a batch waits for others: a commit waits for the disk.
const GATHER: Duration = Duration::from_millis(100);

/// How often what is old is looked for.
const PRUNE: Duration = Duration::from_secs(60);

/// After so many rows what is too much is looked for.
const PRUNE_ROWS: usize = 20_000;

/// What the thread hears.
#[derive(Debug)]
pub(super) enum Message {
    /// To be written.
    Row(Box<FlowRow>),
    /// Somebody waits until all before is written.
    Flush(SyncSender<Result<(), StoreError>>),
    /// Nobody will note anything more.
    Close(SyncSender<Result<(), StoreError>>),
}

/// Numbers and gaps, of which both sides know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Rows that are on the disk.
    pub(super) written: AtomicU64,
    /// Rows that are not, and never will be.
    pub(super) lost: AtomicU64,
    /// Those that found no room in the queue.
    pub(super) overflown: Missing,
    /// Those that the database refused.
    pub(super) refused: Missing,
    /// Those that a relay forgot.
    pub(super) forgotten: Missing,
}

impl Shared {
    fn missing(&self) -> [(&Missing, GapCause); 3] {
        [
            (&self.overflown, GapCause::Overflow),
            (&self.refused, GapCause::NotWritten),
            (&self.forgotten, GapCause::Unattended),
        ]
    }

    /// What is missing by now; it counts anew from here.
    fn gaps(&self) -> Vec<Gap> {
        let missing = self.missing().into_iter();
        missing
            .filter_map(|(missing, cause)| missing.take(cause))
            .collect()
    }

    /// Gaps that could not be written.
    fn put_back(&self, gaps: &[Gap]) {
        for (missing, cause) in self.missing() {
            let of_it = gaps.iter().filter(|gap| gap.cause == cause);
            of_it.for_each(|gap| missing.put_back(gap));
        }
    }
}

/// The thread's side.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) keep: Retention,
    pub(super) shared: Arc<Shared>,
}

/// Why a batch ends.
enum End {
    Full,
    Asked(SyncSender<Result<(), StoreError>>),
    Closed(Option<SyncSender<Result<(), StoreError>>>),
}

impl Writer {
    pub(super) fn work(mut self, messages: &Receiver<Message>) {
        let mut next = Instant::now() + PRUNE;
        let mut since = 0;
        loop {
            let (rows, end) = gather(messages, next);
            since += rows.len();
            let written = self.write(&rows);
            match end {
                End::Full => {}
                End::Asked(asked) => tell(&asked, written),
                End::Closed(asked) => {
                    let closed = written.and_then(|()| table::mark(&self.connection, false));
                    if let Some(asked) = asked {
                        tell(&asked, closed);
                    }
                    return;
                }
            }
            if Instant::now() >= next || since >= PRUNE_ROWS {
                // What cannot be removed now is tried again, and what cannot be written is told.
                drop(self.prune());
                (next, since) = (Instant::now() + PRUNE, 0);
            }
        }
    }

    /// Writes rows, and the gaps before them.
    fn write(&mut self, rows: &[FlowRow]) -> Result<(), StoreError> {
        let gaps = self.shared.gaps();
        if rows.is_empty() && gaps.is_empty() {
            return Ok(());
        }
        let many = rows.len() as u64;
        let written = table::append(&mut self.connection, rows, &gaps);
        match &written {
            Ok(()) => {
                self.shared.written.fetch_add(many, Ordering::Relaxed);
            }
            Err(_) => {
                self.shared.put_back(&gaps);
                rows.iter().for_each(|row| self.shared.refused.add(row.at));
                self.shared.lost.fetch_add(many, Ordering::Relaxed);
            }
        }
        written
    }

    pub(super) fn prune(&mut self) -> Result<u64, StoreError> {
        let now = Timestamp::from(SystemTime::now());
        table::prune(&mut self.connection, &self.keep, now)
    }
}

/// The rows of a batch: those that come within a while after the first.
fn gather(messages: &Receiver<Message>, next: Instant) -> (Vec<FlowRow>, End) {
    let (mut rows, mut until) = (Vec::new(), next);
    while rows.len() < BATCH {
        let patience = until.saturating_duration_since(Instant::now());
        match messages.recv_timeout(patience) {
            Ok(Message::Row(row)) => {
                if rows.is_empty() {
                    until = Instant::now() + GATHER;
                }
                rows.push(row.clipped());
            }
            Ok(Message::Flush(asked)) => return (rows, End::Asked(asked)),
            Ok(Message::Close(asked)) => return (rows, End::Closed(Some(asked))),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return (rows, End::Closed(None)),
        }
    }
    (rows, End::Full)
}

fn tell(asked: &SyncSender<Result<(), StoreError>>, answer: Result<(), StoreError>) {
    if asked.send(answer).is_err() {
        // Whoever waited does no longer.
    }
}
