//! What the manager remembers: state, audit log, variables and secrets.
//!
//! - [`audit`]: who did what, as lines of JSON that are chained by hash.
//! - [`state`]: sandboxes, tasks, ids, variables; SQLite.
//! - [`flows`]: what left sandboxes, and what was refused; SQLite.
//! - [`secrets`]: secrets, encrypted in the same database.
//!
//! Everything here blocks; a program with an event loop calls it from a thread
//! that may. Nothing here looks at the clock: every decision that depends on
//! time takes a [`Timestamp`]. But for the thread that forgets old flows.

pub mod audit;
mod canonical;
mod digest;
mod files;
pub mod flows;
mod json;
pub mod secrets;
pub mod state;
mod time;
mod words;

pub use digest::{Digest, NotADigest};
pub use files::FileError;
pub use json::{JsonError, JsonText};
pub use time::{NotATime, Timestamp};
