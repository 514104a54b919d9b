//! The control socket of sessions of user functions, packet by packet.
//!
//! | packet | from | fields | descriptors | answered by |
//! |---|---|---|---|---|
//! | `open` | engine | [`Open`] | worker's end, stdout, stderr | `opened` or `failed` |
//! | `kill` | engine | `number` | | `ended` |
//! | `opened` | broker | `number`, `sandbox`, `warning` | | |
//! | `failed` | broker | `number`, `message` | | nothing is left of the session |
//! | `ended` | broker | `number`, `verdict`, `memory_peak`, `cpu_us` | | |
//!
//! Each packet is one JSON object on a socket of type SOCK_SEQPACKET, at most [`MAX_PACKET`]
//! bytes. All sandboxes of a control socket end when it does.

mod answer;
mod request;

pub use answer::{Answer, Verdict, bounded};
pub use request::{Limits, Open, Request, RequestError};

/// Largest packet, bytes.
pub const MAX_PACKET: usize = 64 * 1024;
