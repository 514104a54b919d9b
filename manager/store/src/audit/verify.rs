//! Is the log what was written?

use std::fmt;
use std::io;
use std::path::Path;

use super::files::{Found, HEADER, KEY_FIELD, Lines, NO_KEY, Segment, segments};
use super::head::{self, Head, HeadError};
use super::key::AuditKey;
use super::line::{Check, LineError, Record, parse_line};
use crate::Digest;
use crate::files::FileError;

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes of a line are not those that were hashed, or were hashed
    /// without the key.
    #[error("its hash is not that of its bytes: it was changed, or written without the key")]
    HashMismatch,
    /// It is no event.
    #[error("not a line of the log: {0}")]
    Malformed(LineError),
    /// It does not continue the line before.
    #[error("it does not contain the hash of the line before: one of the two was replaced")]
    BrokenLink,
    /// A number is missing here and comes later.
    #[error("event {expected} belongs here and stands further on: lines were moved")]
    Reordered {
        /// The number that belongs here.
        expected: u64,
    },
    /// A number that was there before comes again.
    #[error("event {expected} belongs here: a line was repeated or moved")]
    Repeated {
        /// The number that belongs here.
        expected: u64,
    },
    /// Numbers are missing.
    #[error("event {expected} belongs here and is nowhere in the file: lines are missing")]
    Gap {
        /// The first number that is missing.
        expected: u64,
    },
    /// A file is missing.
    #[error("the file that begins with event {expected} is missing")]
    MissingFile {
        /// Its first number.
        expected: u64,
    },
    /// A file has another's content or name.
    #[error(
        "the file begins with event {found}, not with that of its name: files were exchanged or renamed"
    )]
    WrongFile {
        /// The number of its first event.
        found: u64,
    },
    /// The file's number is one that an earlier file has passed.
    #[error("the file's events are in an earlier file: it does not belong here")]
    ExtraFile,
    /// A file does not begin with a header.
    #[error("the file does not begin with a header")]
    NoHeader,
    /// A line that is not the log's last has no end.
    #[error("the line is cut off, and is not the last of the log")]
    Torn,
    /// The log ends before the head says.
    #[error("the log ends with event {last}, and {head} were recorded: its end was cut off")]
    Truncated {
        /// The last number that is there.
        last: u64,
        /// The last number according to the head.
        head: u64,
    },
    /// The head has another hash for a line of the log.
    #[error("the head has another hash for event {seq}: the log or the head was rewritten")]
    HeadMismatch {
        /// The event's number.
        seq: u64,
    },
    /// There is no head.
    #[error("the head is missing")]
    HeadMissing,
    /// The head is not one that was written with this key.
    #[error("the head cannot be trusted: {0}")]
    HeadInvalid(HeadError),
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file's name in the log's folder.
    pub file: String,
    /// The number of the line in it, from 1; absent if it is the whole file.
    pub line: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.fault),
            None => write!(f, "{}: {}", self.file, self.fault),
        }
    }
}

/// Something to know that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The hashes were not checked: the log has a key that was not given.
    HashesNotChecked,
    /// The last line has no end: it is being written, or a crash cut it off. It
    /// was never acknowledged.
    Unfinished {
        /// The file's name.
        file: String,
        /// How many bytes there are of it.
        bytes: u64,
    },
    /// A file that retention was about to remove when the manager ended.
    Leftover {
        /// The file's name.
        file: String,
    },
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Whole events that were read, up to the fault if there is one.
    pub events: u64,
    /// Number and hash of the last good event: keep it elsewhere to notice an
    /// older state of the whole folder.
    pub last: Option<(u64, Digest)>,
    /// The head, if it can be read.
    pub head: Option<Head>,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
    /// What else there is to know.
    pub notes: Vec<Note>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.broken.is_none()
    }
}

/// Checks the whole chain of a log, also of one that is being written. `key`
/// is that of the log; without it the hashes of a log that has one cannot be
/// checked, which the report notes.
///
/// # Errors
/// [`FileError`] if a file cannot be read. What is wrong with the log is in the
/// report.
pub fn verify(folder: &Path, key: Option<&AuditKey>) -> Result<Report, FileError> {
    loop {
        let report = verify_once(folder, key)?;
        let first = report.head.map(|head| head.first);
        if report.is_intact() || first.is_none() {
            return Ok(report);
        }
        // Retention may have removed a file under the reader. The head's number
        // only grows, so this ends.
        let now = head::read(folder, None, false)?.and_then(Result::ok);
        if now.is_none_or(|now| Some(now.first) <= first) {
            return Ok(report);
        }
    }
}

fn verify_once(folder: &Path, key: Option<&AuditKey>) -> Result<Report, FileError> {
    let mut report = Report::default();
    let check = match key {
        None if keyed(&segments(folder)?)? => {
            report.notes.push(Note::HashesNotChecked);
            Check::Skip
        }
        key => Check::of(key),
    };
    // Before the lines: a head that is read after them may be ahead.
    let sealed = !matches!(check, Check::Skip);
    let head = match head::read(folder, key, sealed)? {
        Some(head) => head.map_err(Fault::HeadInvalid),
        None => Err(Fault::HeadMissing),
    };
    report.head = head.as_ref().ok().copied();
    let files = segments(folder)?;
    let first = match &head {
        Ok(head) => head.first,
        Err(_) => files.first().map_or(1, |file| file.first),
    };
    let mut walk = Walk::new(first, check, report);
    let walked = walk.files(&files)?.err();
    let mut report = walk.report;
    report.broken = walked.or_else(|| head.err().map(|fault| broken(head::NAME, None, fault)));
    Ok(report)
}

/// Whether the oldest file says that the log has a key.
fn keyed(files: &[Segment]) -> Result<bool, FileError> {
    let Some(oldest) = files.first() else {
        return Ok(false);
    };
    let mut lines = Lines::open(&oldest.path)?;
    if lines.next()? != Found::Line {
        return Ok(false);
    }
    let record = parse_line(lines.line(), Check::Skip);
    Ok(record.is_ok_and(|record| {
        record
            .event
            .extra()
            .get(KEY_FIELD)
            .is_some_and(|key| key != NO_KEY)
    }))
}

/// Where the chain is, and what was seen.
struct Walk<'a> {
    /// Number of the first event that must be there.
    first: u64,
    check: Check<'a>,
    /// Number and hash of the last good event; no hash before the first one.
    last: (u64, Option<Digest>),
    report: Report,
}

type Step = Result<(), Broken>;

impl<'a> Walk<'a> {
    fn new(first: u64, check: Check<'a>, report: Report) -> Walk<'a> {
        // Of a file that retention removed only the number is known.
        let hash = (first <= 1).then_some(Digest::ZERO);
        Walk {
            first,
            check,
            last: (first.saturating_sub(1), hash),
            report,
        }
    }

    fn files(&mut self, files: &[Segment]) -> Result<Step, FileError> {
        let (leftover, kept): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.first < self.first);
        let notes = leftover
            .iter()
            .map(|file| Note::Leftover { file: file.name() });
        self.report.notes.extend(notes);
        for (index, file) in kept.iter().enumerate() {
            let is_last = index + 1 == kept.len();
            if let Err(broken) = self.file(file, is_last)? {
                return Ok(Err(broken));
            }
            self.report.files += 1;
        }
        let (last, head) = (self.last.0, self.report.head.map_or(0, |head| head.seq));
        let file = kept
            .last()
            .map_or(head::NAME.to_owned(), |file| file.name());
        let cut = || broken(&file, None, Fault::Truncated { last, head });
        Ok(if last < head { Err(cut()) } else { Ok(()) })
    }

    fn file(&mut self, file: &Segment, is_last: bool) -> Result<Step, FileError> {
        let expected = self.last.0 + 1;
        let name = file.name();
        if file.first != expected {
            let fault = match file.first > expected {
                true => Fault::MissingFile { expected },
                false => Fault::ExtraFile,
            };
            return Ok(Err(broken(&name, None, fault)));
        }
        let mut lines = match Lines::open(&file.path) {
            // Retention removed it since the folder was listed.
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
                let fault = Fault::MissingFile { expected };
                return Ok(Err(broken(&name, None, fault)));
            }
            opened => opened?,
        };
        loop {
            let found = lines.next()?;
            let number = Some(lines.number());
            let fault = match found {
                Found::End => return Ok(Ok(())),
                Found::Unfinished if is_last => {
                    let bytes = lines.line().len() as u64;
                    self.report
                        .notes
                        .push(Note::Unfinished { file: name, bytes });
                    return Ok(Ok(()));
                }
                Found::Unfinished => Some(Fault::Torn),
                Found::TooLong => Some(Fault::Malformed(LineError::TooLong)),
                Found::Line => self.line(file, &mut lines)?,
            };
            if let Some(fault) = fault {
                return Ok(Err(broken(&name, number, fault)));
            }
        }
    }

    /// Takes one line into the chain, or says what is wrong with it.
    fn line(&mut self, file: &Segment, lines: &mut Lines) -> Result<Option<Fault>, FileError> {
        let record = match parse_line(lines.line(), self.check) {
            Ok(record) => record,
            Err(LineError::HashMismatch) => return Ok(Some(Fault::HashMismatch)),
            Err(error) => return Ok(Some(Fault::Malformed(error))),
        };
        if let Some(fault) = self.place(file, &record, lines)? {
            return Ok(Some(fault));
        }
        let head = self.report.head.filter(|head| head.seq == record.seq);
        if head.is_some_and(|head| head.hash != record.hash) {
            return Ok(Some(Fault::HeadMismatch { seq: record.seq }));
        }
        self.last = (record.seq, Some(record.hash));
        self.report.last = Some((record.seq, record.hash));
        self.report.events += 1;
        Ok(None)
    }

    fn place(
        &self,
        file: &Segment,
        record: &Record,
        lines: &mut Lines,
    ) -> Result<Option<Fault>, FileError> {
        let expected = self.last.0 + 1;
        let first = lines.number() == 1;
        if first && record.seq != file.first {
            return Ok(Some(Fault::WrongFile { found: record.seq }));
        }
        if record.seq < expected {
            return Ok(Some(Fault::Repeated { expected }));
        }
        if record.seq > expected {
            return Ok(Some(match comes_later(lines, expected)? {
                true => Fault::Reordered { expected },
                false => Fault::Gap { expected },
            }));
        }
        if self.last.1.is_some_and(|hash| hash != record.prev) {
            return Ok(Some(Fault::BrokenLink));
        }
        if first && record.event.action() != HEADER {
            return Ok(Some(Fault::NoHeader));
        }
        Ok(None)
    }
}

/// Whether an event stands in the rest of the file.
fn comes_later(lines: &mut Lines, seq: u64) -> Result<bool, FileError> {
    loop {
        match lines.next()? {
            Found::End => return Ok(false),
            Found::Line => {
                let record = parse_line(lines.line(), Check::Skip);
                if record.is_ok_and(|record| record.seq == seq) {
                    return Ok(true);
                }
            }
            Found::Unfinished | Found::TooLong => {}
        }
    }
}

fn broken(file: &str, line: Option<u64>, fault: Fault) -> Broken {
    Broken {
        file: file.to_owned(),
        line,
        fault,
    }
}
