//! The audit log: who did what, as whom, and what became of it.
//!
//! One folder holds numbered files of lines, one JSON object an event. Every
//! line ends with the hash of its own bytes, which contain the hash of the line
//! before: no line can be changed, dropped, added or moved without breaking the
//! chain. A small `head` file says how far the chain went, so that its end
//! cannot be cut off unseen. With a key, nobody who cannot read the key can
//! compute a line or a head.
//!
//! | file | content |
//! |---|---|
//! | `audit-<seq>.jsonl` | events, the first of which is number `seq`: a header that names the file before |
//! | `head` | two records, written in turn: last number and hash, oldest number still kept |
//! | `lock` | held by the one writer |
//! | `*.torn` | what a crash left of an event that was never acknowledged |
//!
//! The order of writes makes every crash readable. An event is acknowledged
//! only when its line is on the disk; the head is written after that and so is
//! never ahead of the lines; files are removed only after the head says which
//! is the oldest. A head ahead of the lines is therefore a log that was cut.
//!
//! What it cannot show: whoever can write the folder can put back an older state
//! of all of it. Copy the head elsewhere from time to time ([`Report::last`]).

mod error;
mod event;
mod files;
mod head;
mod key;
mod line;
mod log;
mod query;
mod recover;
mod verify;
mod wire;
mod writer;

pub use error::AuditError;
pub use event::{Event, Outcome};
pub use head::{Head, HeadError, parse_head};
pub use key::{AuditKey, KeyError};
pub use line::{Check, LONGEST_LINE, LineError, Record, parse_line};
pub use log::{AuditLog, Opened, Options, Torn};
pub use query::{Filter, Malformed, Query, QueryError, query};
pub use verify::{Broken, Fault, Note, Report, verify};
pub use writer::Acknowledged;
