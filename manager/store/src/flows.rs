//! What left sandboxes, and what was refused: one row a flow, in a database of its own.
//!
//! [`FlowLog::note`] never waits: rows go through a bounded queue to one thread, which
//! writes many of them at once. A batch that was committed is on the disk
//! (`synchronous=FULL`, write-ahead log), also after a loss of power. What was not, because
//! the queue was full, the disk refused or the process was killed, is a [`Gap`]: between which
//! times, and how many rows where that is known.
//!
//! Rows are for those who look back. What must not be missing is in the audit log.

mod gap;
mod log;
mod query;
mod row;
mod table;
mod writer;

pub use gap::{Gap, GapCause};
pub use log::{FlowCounts, FlowLog, Retention};
pub use query::{Cursor, Filter, FlowPage, LONGEST_FLOW_PAGE};
pub use row::{FlowKind, FlowMode, FlowRow, FlowVerdict};
