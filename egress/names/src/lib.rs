//! DNS as a sandbox sees it: every allowed name has an address of this sandbox's own,
//! every other name does not exist, and no question leaves.
//!
//! The address that a name gets is from 198.18.0.0/15 and from a local prefix of the
//! sandbox's; it means nothing elsewhere. A connection to it tells the relay the name, for
//! whatever protocol, and the relay resolves that name itself.
//!
//! [`Zone::answer`] takes one packet and returns one. Whether a name is allowed is asked of
//! the caller, who has the rules. Nothing here has a socket or a clock: time is given.

mod answer;
mod bucket;
mod frames;
mod pool;
mod query;

pub use answer::{Allowed, Answer, Limit, Outcome, Via, Zone};
pub use frames::{FrameError, Frames, framed};
pub use pool::{FakeNames, MAX_NAMES, PoolError, RESOLVER_V4};
pub use query::{MAX_QUERY_BYTES, Question, Unanswerable};
