//! Searching the log, a line at a time.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::event::{Event, Outcome};
use super::files::{Found, Lines, Segment, segments};
use super::line::{Check, LineError, Record, parse_line};
use crate::Timestamp;
use crate::files::FileError;

/// Which events are wanted; an absent field takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// The principal.
    pub who: Option<String>,
    /// The action: whole (`sandbox.exec`), or its beginning (`sandbox.*`).
    pub action: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// The sandbox.
    pub sandbox: Option<String>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Only events after this number: where the last page ended.
    pub after: Option<u64>,
    /// How many events at most.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether an event is wanted, its number and the limit aside.
    pub fn takes(&self, event: &Event) -> bool {
        let action = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => event.action().starts_with(beginning),
            None => event.action() == wanted,
        };
        self.since.is_none_or(|since| since <= event.time())
            && self.until.is_none_or(|until| event.time() < until)
            && self.who.as_ref().is_none_or(|who| event.who() == who)
            && self.action.as_ref().is_none_or(action)
            && same(&self.profile, event.profile())
            && same(&self.sandbox, event.sandbox())
            && self
                .outcome
                .is_none_or(|outcome| event.outcome() == outcome)
    }
}

fn same(wanted: &Option<String>, found: Option<&str>) -> bool {
    wanted.as_ref().is_none_or(|wanted| found == Some(wanted))
}

/// A line that is no event; the search goes on after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {error}; run `lakekeep audit verify`")]
pub struct Malformed {
    /// The file's name.
    pub file: String,
    /// The number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub error: LineError,
}

/// Why a line was not searched.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is no event.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A file cannot be read; the search goes on with the next.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The events that were asked for, in the order of the log. Reads as it is
/// asked, and holds one line at a time.
#[derive(Debug)]
pub struct Query {
    filter: Filter,
    left: usize,
    files: VecDeque<Segment>,
    open: Option<(String, Lines)>,
}

/// Searches a log, also one that is being written. Hashes are not checked: that
/// is [`super::verify`]'s.
///
/// # Errors
/// [`FileError`] if the folder cannot be listed.
pub fn query(folder: &Path, filter: Filter) -> Result<Query, FileError> {
    let mut files: VecDeque<Segment> = segments(folder)?.into();
    let after = filter.after.unwrap_or(0);
    // A file whose successor begins at or before the wanted number has nothing.
    while files
        .get(1)
        .is_some_and(|next| next.first <= after.saturating_add(1))
    {
        files.pop_front();
    }
    Ok(Query {
        left: filter.limit.unwrap_or(usize::MAX),
        filter,
        files,
        open: None,
    })
}

impl Iterator for Query {
    type Item = Result<Record, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            let Some((name, lines)) = &mut self.open else {
                let file = self.files.pop_front()?;
                match Lines::open(&file.path) {
                    Ok(lines) => self.open = Some((file.name(), lines)),
                    // Retention removed it since the folder was listed.
                    Err(error) if error.error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Some(Err(error.into())),
                }
                continue;
            };
            let parsed = match lines.next() {
                Ok(Found::Line) => parse_line(lines.line(), Check::Skip),
                Ok(Found::TooLong) => Err(LineError::TooLong),
                // The end of the last file may be in the middle of being written.
                Ok(Found::Unfinished) if !self.files.is_empty() => Err(LineError::NoHash),
                Ok(Found::Unfinished | Found::End) => {
                    self.open = None;
                    continue;
                }
                Err(error) => {
                    self.open = None;
                    return Some(Err(error.into()));
                }
            };
            match parsed {
                Ok(record) if !wants(&self.filter, &record) => {}
                Ok(record) => {
                    self.left -= 1;
                    return Some(Ok(record));
                }
                Err(error) => {
                    let malformed = Malformed {
                        file: name.clone(),
                        line: lines.number(),
                        error,
                    };
                    return Some(Err(malformed.into()));
                }
            }
        }
        None
    }
}

fn wants(filter: &Filter, record: &Record) -> bool {
    filter.after.is_none_or(|after| record.seq() > after) && filter.takes(record.event())
}
