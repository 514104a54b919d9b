//! The log as the manager holds it.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::AuditError;
use super::event::Event;
use super::files::recovered;
use super::key::{AuditKey, KeyError};
use super::recover::{open_head, recover};
use super::writer::{Acknowledged, Request, Writer};
use crate::Timestamp;
use crate::files::{self, Named};

/// Events that wait for the disk at most; a further one blocks its caller.
const QUEUE: usize = 4096;

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A new file begins when this one would be longer, in bytes.
    pub max_bytes: u64,
    /// A new file begins with the first event that is this much later than the
    /// file's first.
    pub max_age: Duration,
    /// How many files are kept, the one that is written included.
    pub keep: usize,
    /// The key's file, made at the first start; without one, whoever can write
    /// the log can rewrite it whole.
    pub key: Option<PathBuf>,
}

impl Default for Options {
    /// 64 MiB or a day a file, 400 files, no key.
    fn default() -> Options {
        Options {
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(24 * 60 * 60),
            keep: 400,
            key: None,
        }
    }
}

/// What a crash left of events that were never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file that it is kept in.
    pub kept_as: PathBuf,
    /// How much there is of it.
    pub bytes: u64,
}

/// A log that was opened, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: AuditLog,
    /// What was moved aside; also recorded as an event.
    pub torn: Option<Torn>,
}

/// The writer's end of the audit log. May be shared by threads.
pub struct AuditLog {
    /// Absent only while the log is closed.
    sender: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<Result<(), AuditError>>>,
    /// Held as long as this lives: one writer a folder.
    _lock: File,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log of a folder, or begins one; the folder is made if it does
    /// not exist. `now` is the time of events that the log itself writes.
    ///
    /// # Errors
    /// [`AuditError`]: the folder has a writer, its key or head is not to be had,
    /// or recorded events are gone. Nothing was changed then.
    pub fn open(folder: &Path, options: &Options, now: Timestamp) -> Result<Opened, AuditError> {
        files::private_folder(folder)?;
        let lock = lock(folder)?;
        let key = key(folder, options)?;
        let head = open_head(folder, key.as_ref())?;
        let found = recover(folder, head, key.as_ref())?;
        let torn = found.torn.clone();
        let writer = Writer::start(folder, options, key, found, now)?;
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| AuditError::Thread {
                error: error.into(),
            })?;
        let log = AuditLog {
            sender: Some(sender),
            thread: Some(thread),
            _lock: lock,
        };
        if let Some(torn) = &torn {
            let name = torn.kept_as.file_name().unwrap_or_default();
            log.append(recovered(now, torn.bytes, &name.to_string_lossy()))?;
        }
        Ok(Opened { log, torn })
    }

    /// Records an event and returns when it is on the disk. Blocks; callers that
    /// wait at the same time share one write to the disk.
    ///
    /// # Errors
    /// [`AuditError`]: the event may or may not be in the log.
    pub fn append(&self, event: Event) -> Result<Acknowledged, AuditError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(event, move |answer| {
            // A caller that is gone needs no answer.
            drop(sender.send(answer));
        })?;
        receiver.recv().unwrap_or(Err(AuditError::Closed))
    }

    /// Hands over an event; `done` is called on the log's thread when it is on
    /// the disk, or cannot be. It must be quick, and neither block nor panic.
    /// Blocks only while 4,096 events wait. Events of one thread keep their order.
    ///
    /// # Errors
    /// [`AuditError::Closed`] if the log's thread is gone; `done` is then dropped.
    pub fn submit(
        &self,
        event: Event,
        done: impl FnOnce(Result<Acknowledged, AuditError>) + Send + 'static,
    ) -> Result<(), AuditError> {
        self.submit_in_steps(event, || {}, done)
    }

    /// As [`AuditLog::submit`]; `written` is called before, when the event is in the file
    /// and not yet on the disk: no death of this process loses it any more, the machine's
    /// would. It is dropped uncalled when that fails.
    ///
    /// # Errors
    /// As [`AuditLog::submit`].
    pub fn submit_in_steps(
        &self,
        event: Event,
        written: impl FnOnce() + Send + 'static,
        done: impl FnOnce(Result<Acknowledged, AuditError>) + Send + 'static,
    ) -> Result<(), AuditError> {
        let sender = self.sender.as_ref().ok_or(AuditError::Closed)?;
        let sent = sender.send(Request {
            event,
            written: Box::new(written),
            done: Box::new(done),
        });
        sent.map_err(|_| AuditError::Closed)
    }

    /// Waits for everything that was handed over, and makes the head durable.
    ///
    /// # Errors
    /// [`AuditError`] if the log had stopped, or the head cannot be written.
    pub fn close(mut self) -> Result<(), AuditError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), AuditError> {
        drop(self.sender.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(AuditError::Closed),
            None => Ok(()),
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`; every event was answered.
        drop(self.finish());
    }
}

fn lock(folder: &Path) -> Result<File, AuditError> {
    let path = folder.join("lock");
    let mut options = files::private();
    let file = options
        .write(true)
        .create(true)
        .open(&path)
        .named("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(files::FileError::new("lock", &path, error).into()),
    }
}

/// The key; a new one is made only for a log that does not exist yet.
fn key(folder: &Path, options: &Options) -> Result<Option<AuditKey>, KeyError> {
    let Some(path) = &options.key else {
        return Ok(None);
    };
    let exists = folder.join(super::head::NAME).exists();
    let key = if exists {
        AuditKey::read(path)
    } else {
        AuditKey::read_or_make(path)
    };
    key.map(Some)
}
