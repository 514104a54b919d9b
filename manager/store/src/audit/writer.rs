//! The thread that writes: one write to the disk for all events that wait.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::error::AuditError;
use super::event::Event;
use super::files::{Segment, header, not_removed};
use super::head::HeadFile;
use super::key::AuditKey;
use super::line::{Check, write_line};
use super::log::Options;
use super::recover::Recovered;
use crate::files::{self, FileError, Named};
use crate::{Digest, Timestamp};

/// Events of one write at most, and about how many bytes.
const BATCH_EVENTS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// The head reaches the disk after this many writes, or when nothing happens.
/// Until then a loss of power, not a kill, leaves the end of the log without a
/// witness; the lines themselves are on the disk.
const HEAD_EVERY: u32 = 64;
const HEAD_IDLE: Duration = Duration::from_millis(50);

/// An event that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number.
    pub seq: u64,
    /// The hash of its line.
    pub hash: Digest,
}

pub(super) type Reply = Box<dyn FnOnce(Result<Acknowledged, AuditError>) + Send>;

pub(super) type Told = Box<dyn FnOnce() + Send>;

pub(super) struct Request {
    pub(super) event: Event,
    /// Called when it is in the file.
    pub(super) written: Told,
    /// Called when it is on the disk, or will not be.
    pub(super) done: Reply,
}

/// Lines that are formatted, and not yet on the disk.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    written: Vec<Told>,
    waiting: Vec<(Acknowledged, Reply)>,
    /// Number and hash of the last line.
    last: Option<(u64, Digest)>,
}

/// The state of the writing thread.
pub(super) struct Writer {
    folder: PathBuf,
    options: Options,
    key: Option<AuditKey>,
    head: HeadFile,
    /// The files that are kept; the last is written.
    segments: Vec<Segment>,
    file: File,
    /// Bytes of the last file that are known to be good.
    len: u64,
    started: Timestamp,
    /// Number and hash of the last event on the disk.
    last: (u64, Digest),
    /// Writes since the head was last synced.
    unsynced: u32,
    /// Why nothing more is written.
    stopped: Option<Arc<FileError>>,
    /// Events of the log itself.
    own: Vec<Event>,
}

impl Writer {
    /// Opens the last file, or makes the first.
    pub(super) fn start(
        folder: &Path,
        options: &Options,
        key: Option<AuditKey>,
        found: Recovered,
        now: Timestamp,
    ) -> Result<Writer, AuditError> {
        let mut segments = found.segments;
        let begun = match (found.started, segments.last()) {
            (Some(started), Some(last)) => Begun {
                file: append_to(&last.path)?,
                len: found.len,
                started,
                last: found.last,
            },
            _ => {
                // An empty last file is one whose header a crash cut off.
                let old = segments.pop_if(|last| last.first == found.last.0 + 1);
                if let Some(old) = old {
                    std::fs::remove_file(&old.path).named("remove", &old.path)?;
                }
                let (segment, begun) =
                    begin(folder, (found.last, segments.last()), key.as_ref(), now)?;
                segments.push(segment);
                begun
            }
        };
        let mut writer = Writer {
            folder: folder.to_owned(),
            options: options.clone(),
            key,
            head: found.head,
            segments,
            file: begun.file,
            len: begun.len,
            started: begun.started,
            last: begun.last,
            unsynced: 0,
            stopped: None,
            own: Vec::new(),
        };
        writer.write_head()?;
        writer.head.sync()?;
        Ok(writer)
    }

    /// Serves requests until the log is closed.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> Result<(), AuditError> {
        loop {
            let first = if self.unsynced == 0 {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                requests.recv_timeout(HEAD_IDLE)
            };
            match first {
                Ok(first) => {
                    let rest = requests.try_iter().take(BATCH_EVENTS - 1);
                    self.serve(std::iter::once(first).chain(rest));
                }
                Err(RecvTimeoutError::Timeout) => self.sync_head(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.sync_head();
        match self.stopped.take() {
            Some(cause) => Err(AuditError::Stopped { cause }),
            None => Ok(()),
        }
    }

    fn serve(&mut self, requests: impl Iterator<Item = Request>) {
        let mut batch = Batch::default();
        for request in requests {
            if let Some(cause) = self.stopped.clone() {
                (request.done)(Err(AuditError::Stopped { cause }));
                continue;
            }
            if batch.bytes.len() >= BATCH_BYTES || self.is_full(&batch, &request.event) {
                self.flush(&mut batch);
                if let Err(error) = self.rotate_if_full(&request.event) {
                    (request.done)(Err(error.into()));
                    continue;
                }
            }
            self.add(&mut batch, request);
        }
        self.flush(&mut batch);
        self.write_own();
    }

    fn add(&self, batch: &mut Batch, request: Request) {
        let (seq, prev) = batch.last.unwrap_or(self.last);
        let place = (seq + 1, prev);
        let check = Check::of(self.key.as_ref());
        match write_line(&mut batch.bytes, place, &request.event, check) {
            Ok(hash) => {
                batch.last = Some((seq + 1, hash));
                let acknowledged = Acknowledged { seq: seq + 1, hash };
                batch.written.push(request.written);
                batch.waiting.push((acknowledged, request.done));
            }
            Err(error) => (request.done)(Err(error.into())),
        }
    }

    /// Writes the lines and answers those who wait for them.
    fn flush(&mut self, batch: &mut Batch) {
        let Batch {
            bytes,
            written,
            waiting,
            last,
        } = std::mem::take(batch);
        let Some(last) = last else {
            return;
        };
        let result = self.write(&bytes, written, last);
        for (acknowledged, done) in waiting {
            done(result.clone().map(|()| acknowledged));
        }
        if self.unsynced >= HEAD_EVERY {
            self.sync_head();
        }
    }

    fn write(
        &mut self,
        bytes: &[u8],
        written: Vec<Told>,
        last: (u64, Digest),
    ) -> Result<(), AuditError> {
        if let Some(cause) = self.stopped.clone() {
            return Err(AuditError::Stopped { cause });
        }
        let path = self.path();
        if let Err(error) = self.file.write_all(bytes).named("write", &path) {
            // A full disk took a part of it, which nobody was promised.
            if let Err(error) = self.file.set_len(self.len).named("shorten", &path) {
                return Err(self.stop(error));
            }
            return Err(error.into());
        }
        written.into_iter().for_each(|tell| tell());
        if let Err(error) = self.file.sync_data().named("sync", &path) {
            // The kernel may have dropped the data and forgotten the error: a
            // second sync would succeed without them.
            return Err(self.stop(error));
        }
        self.len += bytes.len() as u64;
        self.last = last;
        if let Err(error) = self.write_head() {
            // These lines are on the disk; later ones would have no witness.
            drop(self.stop(error));
        }
        Ok(())
    }

    fn stop(&mut self, error: FileError) -> AuditError {
        let cause = Arc::new(error);
        self.stopped = Some(Arc::clone(&cause));
        AuditError::Stopped { cause }
    }

    fn write_head(&mut self) -> Result<(), FileError> {
        let first = self.segments.first().map_or(1, |oldest| oldest.first);
        self.head.write(self.last.0, self.last.1, first)?;
        self.unsynced += 1;
        Ok(())
    }

    fn sync_head(&mut self) {
        self.unsynced = 0;
        if let Err(error) = self.head.sync() {
            drop(self.stop(error));
        }
    }

    fn path(&self) -> PathBuf {
        let last = self.segments.last();
        last.map_or_else(|| self.folder.clone(), |last| last.path.clone())
    }

    /// Whether the event belongs into a new file.
    fn is_full(&self, batch: &Batch, event: &Event) -> bool {
        let len = self.len + batch.bytes.len() as u64;
        len >= self.options.max_bytes || event.time.since(self.started) >= self.options.max_age
    }

    fn rotate_if_full(&mut self, event: &Event) -> Result<(), FileError> {
        if self.stopped.is_some() || !self.is_full(&Batch::default(), event) {
            return Ok(());
        }
        // A file's first event is the earliest of it only if clocks agree.
        let now = event.time.max(self.started);
        self.head.sync()?;
        let previous = (self.last, self.segments.last());
        let (segment, begun) = begin(&self.folder, previous, self.key.as_ref(), now)?;
        self.segments.push(segment);
        self.file = begun.file;
        self.len = begun.len;
        self.started = begun.started;
        self.last = begun.last;
        self.write_head()?;
        self.retain(now)
    }

    /// Removes the oldest files. The head says so first: a file that is missing
    /// without that was taken by somebody else.
    fn retain(&mut self, now: Timestamp) -> Result<(), FileError> {
        let surplus = self.segments.len().saturating_sub(self.options.keep.max(1));
        if surplus == 0 {
            return Ok(());
        }
        let removed: Vec<Segment> = self.segments.drain(..surplus).collect();
        self.write_head()?;
        self.head.sync()?;
        for old in removed {
            if let Err(error) = std::fs::remove_file(&old.path).named("remove", &old.path) {
                // It is removed at the next start.
                self.own.push(not_removed(now, &error));
            }
        }
        files::sync_folder(&self.folder)
    }

    fn write_own(&mut self) {
        let mut batch = Batch::default();
        for event in std::mem::take(&mut self.own) {
            let request = Request {
                event,
                written: Box::new(|| {}),
                done: Box::new(|_| {}),
            };
            self.add(&mut batch, request);
        }
        self.flush(&mut batch);
    }
}

/// A file that has its header.
struct Begun {
    file: File,
    len: u64,
    started: Timestamp,
    last: (u64, Digest),
}

/// Makes a file with its header, durably, or nothing.
fn begin(
    folder: &Path,
    (last, previous): ((u64, Digest), Option<&Segment>),
    key: Option<&AuditKey>,
    now: Timestamp,
) -> Result<(Segment, Begun), FileError> {
    let seq = last.0 + 1;
    let segment = Segment::new(folder, seq);
    let mut line = Vec::new();
    let event = header(now, key, previous);
    let hash = write_line(&mut line, (seq, last.1), &event, Check::of(key))
        .map_err(|error| FileError::new("write", &segment.path, error.into()))?;
    let mut options = files::private();
    let mut file = options
        .append(true)
        .create_new(true)
        .open(&segment.path)
        .named("make", &segment.path)?;
    let written = file.write_all(&line).and_then(|()| file.sync_all());
    let written = written
        .named("write", &segment.path)
        .and_then(|()| files::sync_folder(folder));
    if let Err(error) = written {
        // Half a header would be in the way of the next attempt.
        drop(std::fs::remove_file(&segment.path));
        return Err(error);
    }
    let begun = Begun {
        file,
        len: line.len() as u64,
        started: now,
        last: (seq, hash),
    };
    Ok((segment, begun))
}

fn append_to(path: &Path) -> Result<File, FileError> {
    files::private().append(true).open(path).named("open", path)
}
