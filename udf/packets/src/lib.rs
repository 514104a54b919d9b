//! The control socket of sessions of user functions, packet by packet.
//!
//! | packet | from | fields | descriptors | answered by |
//! |---|---|---|---|---|
//! | `open` | engine | [`Open`] | worker's end, stdout, stderr | `opened` or `failed` |
//! | `kill` | engine | `number` | | `ended`, or `failed` before `opened` |
//! | `used` | engine | `number`, [`Counts`] | | |
//! | `opened` | broker | `number`, `sandbox`, `warning` | | |
//! | `failed` | broker | `number`, `message`, `code`, `retry_after_ms` | | nothing is left of the session |
//! | `ended` | broker | `number`, `verdict`, `memory_peak`, `cpu_us` | | |
//!
//! Each packet is one JSON object on a socket of type SOCK_SEQPACKET, at most [`MAX_PACKET`]
//! bytes. All sandboxes of a control socket end when it does.
//!
//! A broker is an engine's own child and makes sandboxes for it alone. A manager speaks the
//! same on a socket of its own, where each request is held against the caller's profile.

mod answer;
mod request;

pub use answer::{Answer, Verdict, bounded};
pub use request::{Counts, Limits, Open, Request, RequestError};

/// Largest packet, bytes.
pub const MAX_PACKET: usize = 64 * 1024;
