//! Opening a log that a crash may have left in any state.
//!
//! 1. The lock: nobody else writes.
//! 2. The head, which is trusted only with its seal.
//! 3. The last file is read whole: every line must continue the chain. What
//!    comes after the last good line was never acknowledged, provided that the
//!    head does not know of it; it is copied aside, and then cut off.
//! 4. A last file without any whole line is one whose header the crash cut off:
//!    it gets its header anew.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::AuditError;
use super::files::{Found, Lines, Segment, segments};
use super::head::{self, Head, HeadFile};
use super::key::AuditKey;
use super::line::{Check, LineError, Record, parse_line};
use super::log::Torn;
use super::verify::{Broken, Fault};
use crate::files::{self, FileError, Named};
use crate::{Digest, Timestamp};

/// A log as it was found, and made whole.
pub(super) struct Recovered {
    pub(super) head: HeadFile,
    pub(super) segments: Vec<Segment>,
    /// Number and hash of the last event.
    pub(super) last: (u64, Digest),
    /// Bytes of the last file.
    pub(super) len: u64,
    /// Time of the last file's header; absent if it has none yet.
    pub(super) started: Option<Timestamp>,
    pub(super) torn: Option<Torn>,
}

/// The folder's head, or the first one of an empty folder.
pub(super) fn open_head(folder: &Path, key: Option<&AuditKey>) -> Result<HeadFile, AuditError> {
    let untrusted = |error| AuditError::Head {
        folder: folder.to_owned(),
        error,
    };
    match head::read(folder, key, true)? {
        Some(Ok(head)) => Ok(HeadFile::open(folder, head, key.cloned())?),
        Some(Err(error)) => Err(untrusted(Some(error))),
        None if segments(folder)?.is_empty() => Ok(HeadFile::make(folder, key.cloned())?),
        None => Err(untrusted(None)),
    }
}

/// Reads what is there and makes it whole.
pub(super) fn recover(
    folder: &Path,
    head: HeadFile,
    key: Option<&AuditKey>,
) -> Result<Recovered, AuditError> {
    let segments = kept(folder, head.head())?;
    let damaged = |broken: Broken| AuditError::Damaged {
        folder: folder.to_owned(),
        broken: Box::new(broken),
    };
    let Some(last) = segments.last() else {
        let mut empty = Scan::before(head.head().first);
        empty.last.1 = Digest::ZERO;
        check_end(&empty, head::NAME, head.head()).map_err(damaged)?;
        return Ok(Recovered {
            last: empty.last,
            len: 0,
            started: None,
            torn: None,
            head,
            segments,
        });
    };
    let mut scan = scan(last, head.head(), key)?;
    if let (0, Some(before)) = (scan.good, before_last(&segments)) {
        let earlier = self::scan(before, head.head(), key)?;
        scan.last = earlier.last;
        if let Some(bad) = earlier.bad {
            return Err(damaged(bad));
        }
    }
    if scan.last.0 + 1 != last.first && scan.good == 0 {
        let expected = scan.last.0 + 1;
        return Err(damaged(Broken {
            file: last.name(),
            line: None,
            fault: Fault::MissingFile { expected },
        }));
    }
    check_end(&scan, &last.name(), head.head()).map_err(damaged)?;
    let torn = move_aside(last, &scan)?;
    Ok(Recovered {
        last: scan.last,
        len: scan.good,
        started: scan.started,
        torn,
        head,
        segments,
    })
}

fn before_last(segments: &[Segment]) -> Option<&Segment> {
    segments
        .len()
        .checked_sub(2)
        .and_then(|index| segments.get(index))
}

/// The files that the head says are kept; an interrupted retention is finished.
fn kept(folder: &Path, head: Head) -> Result<Vec<Segment>, FileError> {
    let (old, kept): (Vec<_>, Vec<_>) = segments(folder)?
        .into_iter()
        .partition(|file| file.first < head.first);
    for file in &old {
        std::fs::remove_file(&file.path).named("remove", &file.path)?;
    }
    Ok(kept)
}

/// What reading one file gave.
struct Scan {
    /// Number and hash of the last good event.
    last: (u64, Digest),
    /// Bytes up to the end of its line.
    good: u64,
    /// Bytes of the file.
    len: u64,
    started: Option<Timestamp>,
    /// What stands after the last good line, if it is more than an unfinished line.
    bad: Option<Broken>,
}

impl Scan {
    fn before(first: u64) -> Scan {
        Scan {
            last: (first.saturating_sub(1), Digest::ZERO),
            good: 0,
            len: 0,
            started: None,
            bad: None,
        }
    }
}

fn scan(file: &Segment, head: Head, key: Option<&AuditKey>) -> Result<Scan, FileError> {
    let mut scan = Scan::before(file.first);
    let metadata = std::fs::symlink_metadata(&file.path).named("examine", &file.path)?;
    scan.len = metadata.len();
    let mut lines = Lines::open(&file.path)?;
    loop {
        let fault = match lines.next()? {
            Found::End | Found::Unfinished => return Ok(scan),
            Found::TooLong => Fault::Malformed(LineError::TooLong),
            Found::Line => match parse_line(lines.line(), Check::of(key)) {
                Ok(record) => match continues(&scan, &record, head) {
                    Ok(()) => {
                        scan.started.get_or_insert(record.event.time);
                        scan.last = (record.seq, record.hash);
                        scan.good = lines.offset();
                        continue;
                    }
                    Err(fault) => fault,
                },
                Err(LineError::HashMismatch) => Fault::HashMismatch,
                Err(error) => Fault::Malformed(error),
            },
        };
        scan.bad = Some(Broken {
            file: file.name(),
            line: Some(lines.number()),
            fault,
        });
        return Ok(scan);
    }
}

fn continues(scan: &Scan, record: &Record, head: Head) -> Result<(), Fault> {
    let expected = scan.last.0 + 1;
    if record.seq != expected {
        return Err(Fault::Gap { expected });
    }
    // What a file's first line continues is in another file; verify looks there.
    if scan.good > 0 && record.prev != scan.last.1 {
        return Err(Fault::BrokenLink);
    }
    if record.seq == head.seq && record.hash != head.hash {
        return Err(Fault::HeadMismatch { seq: record.seq });
    }
    Ok(())
}

/// A log that ends before its head was cut or changed.
fn check_end(scan: &Scan, file: &str, head: Head) -> Result<(), Broken> {
    if scan.last.0 >= head.seq {
        return Ok(());
    }
    Err(scan.bad.clone().unwrap_or(Broken {
        file: file.to_owned(),
        line: None,
        fault: Fault::Truncated {
            last: scan.last.0,
            head: head.seq,
        },
    }))
}

/// Copies what comes after the last good line to a file of its own, and only
/// then cuts it off.
fn move_aside(file: &Segment, scan: &Scan) -> Result<Option<Torn>, FileError> {
    let bytes = scan.len.saturating_sub(scan.good);
    if bytes == 0 {
        return Ok(None);
    }
    let mut options = files::private();
    let mut log = options
        .read(true)
        .write(true)
        .open(&file.path)
        .named("open", &file.path)?;
    log.seek(SeekFrom::Start(scan.good))
        .named("read", &file.path)?;
    let (kept_as, mut copy) = new_torn(file)?;
    let mut tail = (&log).take(bytes);
    std::io::copy(&mut tail, &mut copy).named("copy the torn end of", &file.path)?;
    copy.flush().named("write", &kept_as)?;
    copy.sync_all().named("sync", &kept_as)?;
    files::sync_folder(files::parent(&kept_as))?;
    log.set_len(scan.good)
        .named("cut the torn end of", &file.path)?;
    log.sync_all().named("sync", &file.path)?;
    Ok(Some(Torn { kept_as, bytes }))
}

/// A name that is free: what an earlier crash left stays.
fn new_torn(file: &Segment) -> Result<(PathBuf, File), FileError> {
    let mut number = 0_u32;
    loop {
        let name = format!("{}.{number}.torn", file.name());
        let path = file.path.with_file_name(name);
        match files::private().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            opened => return Ok((path.clone(), opened.named("make", &path)?)),
        }
    }
}
