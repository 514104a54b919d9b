//! The numbered files of a log, and reading them line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::event::Event;
use super::key::AuditKey;
use super::line::LONGEST_LINE;
use crate::Timestamp;
use crate::files::{self, FileError, Named};

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// Digits of the largest number.
const DIGITS: usize = 20;

/// The action of a file's first event.
pub(super) const HEADER: &str = "audit.file";
/// The field of the header that names the key.
pub(super) const KEY_FIELD: &str = "key";
/// That field where there is no key.
pub(super) const NO_KEY: &str = "none";
const OURSELVES: &str = "lakekeep";

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Number of its first event, as its name says.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(folder: &Path, first: u64) -> Segment {
        let path = folder.join(format!("{PREFIX}{first:0DIGITS$}{SUFFIX}"));
        Segment { first, path }
    }

    /// The file's name, for reports.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The number in a file's name.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    (digits.len() == DIGITS && all_digits)
        .then(|| digits.parse().ok())
        .flatten()
}

/// The files of a log in their order; what has another name is no part of it.
pub(super) fn segments(folder: &Path) -> Result<Vec<Segment>, FileError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).named("list", folder)? {
        let name = entry.named("list", folder)?.file_name();
        if let Some(first) = name.to_str().and_then(number) {
            found.push(Segment::new(folder, first));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The first event of a file.
pub(super) fn header(now: Timestamp, key: Option<&AuditKey>, previous: Option<&Segment>) -> Event {
    let key = key.map_or(NO_KEY.to_owned(), |key| key.id().to_string());
    let previous = previous.map_or("none".to_owned(), Segment::name);
    Event::allowed(now, OURSELVES, HEADER)
        .with_extra("format", "1")
        .with_extra(KEY_FIELD, &key)
        .with_extra("previous", &previous)
}

/// The event that records what a crash left behind.
pub(super) fn recovered(now: Timestamp, bytes: u64, kept_as: &str) -> Event {
    Event::allowed(now, OURSELVES, "audit.recovered")
        .with_extra("bytes", &bytes.to_string())
        .with_extra("kept_as", kept_as)
}

/// The event that says that an old file stays.
pub(super) fn not_removed(now: Timestamp, error: &FileError) -> Event {
    let reason = format!("{error}: {}", error.error);
    Event::error(now, OURSELVES, "audit.retention", &reason)
}

/// What stands at the reader's place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line that ends with a line feed.
    Line,
    /// Bytes at the end without a line feed.
    Unfinished,
    /// A line longer than any event; its beginning was read.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads lines with bounded memory.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    /// Bytes up to the end of the last line that was read.
    offset: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Lines, FileError> {
        let file = files::private().read(true).open(path).named("open", path)?;
        Ok(Lines {
            path: path.to_owned(),
            reader: BufReader::with_capacity(64 << 10, file),
            line: Vec::new(),
            number: 0,
            offset: 0,
        })
    }

    /// Reads the next line.
    pub(super) fn next(&mut self) -> Result<Found, FileError> {
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(LONGEST_LINE as u64 + 1);
        let read = bounded
            .read_until(b'\n', &mut self.line)
            .named("read", &self.path)?;
        if read == 0 {
            return Ok(Found::End);
        }
        self.number += 1;
        self.offset += read as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
            return Ok(Found::Line);
        }
        if read <= LONGEST_LINE {
            return Ok(Found::Unfinished);
        }
        let rest = self.reader.skip_until(b'\n').named("read", &self.path)?;
        self.offset += rest as u64;
        Ok(Found::TooLong)
    }

    /// The line without its line feed.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Its number, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_files_of_the_log() {
        let folder = Path::new("/log");
        let name = Segment::new(folder, 42).name();
        assert_eq!(name, "audit-00000000000000000042.jsonl");
        assert_eq!(number(&name), Some(42));
        for other in [
            "audit-42.jsonl",
            "audit-+0000000000000000042.jsonl",
            "head",
            &format!("{name}.torn"),
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn an_endless_line_is_not_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut content = vec![b'a'; LONGEST_LINE + 5];
        content.extend_from_slice(b"\nb\nc");
        std::fs::write(&path, content).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(lines.next().unwrap(), Found::TooLong);
        assert!(lines.line().len() <= LONGEST_LINE + 1);
        assert_eq!(
            (lines.next().unwrap(), lines.line()),
            (Found::Line, &b"b"[..])
        );
        assert_eq!(
            (lines.next().unwrap(), lines.number()),
            (Found::Unfinished, 3)
        );
        assert_eq!(lines.next().unwrap(), Found::End);
        assert_eq!(lines.offset(), LONGEST_LINE as u64 + 5 + 1 + 2 + 1);
    }
}
