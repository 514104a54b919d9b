//! The log: where rows are noted, and looked for.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use super::gap::Gap;
use super::query::{self, Cursor, Filter, FlowPage};
use super::row::FlowRow;
use super::table::{self, SCHEMA};
use super::writer::{Message, Shared, Writer};
use crate::Timestamp;
use crate::files::FileError;
use crate::state::{self, StoreError};

/// Rows that wait to be written; some 8 MB at most.
const WAITING: usize = 8192;

/// How long flows are remembered, and how many. What is the least counts; the oldest go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After their end.
    pub age: Duration,
    /// Rows.
    pub rows: u64,
    /// Bytes of the database that hold something. The file itself does not shrink: what is
    /// freed is used again.
    pub bytes: u64,
}

impl Default for Retention {
    /// 30 days, a million rows, 1 GiB.
    fn default() -> Retention {
        Retention {
            age: Duration::from_secs(30 * 24 * 60 * 60),
            rows: 1_000_000,
            bytes: 1 << 30,
        }
    }
}

/// What became of rows since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// On the disk.
    pub written: u64,
    /// Neither on the disk nor on the way there; gaps tell when.
    pub lost: u64,
}

/// The log of flows. May be shared by threads. One process at a time writes.
///
/// When it is dropped it waits until what was noted is written.
#[derive(Debug)]
pub struct FlowLog {
    path: PathBuf,
    to: SyncSender<Message>,
    shared: Arc<Shared>,
    /// Reads alone; the thread has its own.
    reader: Mutex<Connection>,
    /// `None` once it has ended.
    thread: Mutex<Option<JoinHandle<()>>>,
    killed: Option<Gap>,
}

impl FlowLog {
    /// Opens the database, or makes it, forgets what is too old or too much, and starts the
    /// thread that writes.
    ///
    /// # Errors
    /// [`StoreError`]: damaged, newer, not ours, or not accessible.
    pub fn open(path: &Path, keep: Retention) -> Result<FlowLog, StoreError> {
        let mut connection = state::open(path, &SCHEMA)?;
        let killed = table::begin(&mut connection, Timestamp::from(SystemTime::now()))?;
        let reader = state::connect(path, "NORMAL")?;
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            connection,
            keep,
            shared: Arc::clone(&shared),
        };
        writer.prune()?;
        let (to, messages) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("flows".to_owned())
            .spawn(move || writer.work(&messages))
            .map_err(|error| FileError::new("start the thread that writes", path, error))?;
        Ok(FlowLog {
            path: path.to_owned(),
            to,
            shared,
            reader: Mutex::new(reader),
            thread: Mutex::new(Some(thread)),
            killed,
        })
    }

    /// The database's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the last one who wrote may have left out, because it was killed.
    pub fn killed(&self) -> Option<&Gap> {
        self.killed.as_ref()
    }

    /// Notes a flow. Never waits: where the queue is full the row is lost, counted, and
    /// told as a gap.
    pub fn note(&self, row: FlowRow) {
        let at = row.at;
        let sent = self.to.try_send(Message::Row(Box::new(row)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            self.shared.overflown.add(at);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a relay forgot so many flows, for no manager heard them: told as a gap with
    /// the next row. Never waits.
    pub fn forgotten(&self, rows: u64, now: Timestamp) {
        if rows > 0 {
            self.shared.forgotten.add_many(now, rows);
            self.shared.lost.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was noted before is on the disk.
    ///
    /// # Errors
    /// [`StoreError`] if the last batch could not be written.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.ask(Message::Flush)
    }

    fn ask(
        &self,
        question: impl FnOnce(SyncSender<Result<(), StoreError>>) -> Message,
    ) -> Result<(), StoreError> {
        let (done, written) = sync_channel(1);
        let ended = || {
            let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            StoreError::from(FileError::new("write", &self.path, error))
        };
        self.to.send(question(done)).map_err(|_| ended())?;
        written.recv().map_err(|_| ended())?
    }

    /// How many rows were written and lost so far.
    pub fn counts(&self) -> FlowCounts {
        FlowCounts {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Rows that fit `filter`, in the order of their times, from after `after` on; at most
    /// `most`, and at most 10,000. What waits to be written is not among them.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn query(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        most: usize,
    ) -> Result<FlowPage, StoreError> {
        query::page(&self.reader(), filter, after, most)
    }

    /// Gaps that reach into a span of time, the earliest first, at most 1,000.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn gaps(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Gap>, StoreError> {
        query::gaps(&self.reader(), since, until)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was noted, and ends: what is noted from now on is lost and counted. Who
    /// opens the log next finds no gap.
    ///
    /// # Errors
    /// [`StoreError`] if the rest could not be written; it is lost then.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else {
            return Ok(());
        };
        let closed = self.ask(Message::Close);
        if thread.join().is_err() {
            // It has panicked: the answer above says that it is gone.
        }
        closed
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        if self.close().is_err() {
            // The next one who opens the log finds that this one has not closed it.
        }
    }
}
