//! Where rows are missing.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::Timestamp;
use crate::words::words;

words! {
    /// Why rows are missing.
    pub enum GapCause {
        Overflow = "overflow", "They came faster than they could be written.";
        NotWritten = "not_written", "The database could not be written.";
        Unattended = "unattended", "No manager ran for long, and the relay could keep no more.";
        Killed = "killed", "The manager was killed; what waited to be written is lost, if anything did.";
    }
}

/// Rows that are missing, though nobody removed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The earliest that may be missing.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
    /// How many, where that is known.
    pub rows: Option<u64>,
    /// Why.
    pub cause: GapCause,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            Some(rows) => write!(f, "{rows} flows are missing")?,
            None => f.write_str("flows may be missing")?,
        }
        let why = match self.cause {
            GapCause::Overflow => "they came faster than they could be written",
            GapCause::NotWritten => "the database could not be written",
            GapCause::Unattended => "no manager heard the relay, which could keep no more",
            GapCause::Killed => "the manager was killed",
        };
        write!(f, " between {} and {}: {why}", self.first, self.last)
    }
}

/// A gap that grows until it can be written down.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<Option<(Timestamp, Timestamp, u64)>>);

impl Missing {
    /// One more row is missing.
    pub(super) fn add(&self, at: Timestamp) {
        self.put(at, at, 1);
    }

    /// So many are, of some moment before.
    pub(super) fn add_many(&self, at: Timestamp, rows: u64) {
        self.put(at, at, rows);
    }

    fn put(&self, from: Timestamp, until: Timestamp, rows: u64) {
        // Held for some instructions alone, so that nobody who notes waits for a disk.
        let mut missing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = Some(match *missing {
            None => (from, until, rows),
            Some((first, last, so_far)) => (
                first.min(from),
                last.max(until),
                so_far.saturating_add(rows),
            ),
        });
    }

    /// What is missing by now; it counts anew from here.
    pub(super) fn take(&self, cause: GapCause) -> Option<Gap> {
        let mut missing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        missing.take().map(|(first, last, rows)| Gap {
            first,
            last,
            rows: Some(rows),
            cause,
        })
    }

    /// A gap that was taken and could not be written.
    pub(super) fn put_back(&self, gap: &Gap) {
        self.put(gap.first, gap.last, gap.rows.unwrap_or(0));
    }
}
