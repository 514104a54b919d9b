//! Sessions of user functions, for one engine.
//!
//! The engine makes a socket pair for each session, keeps one end, and hands the other to
//! its broker (`lakekeep udf-broker`, its child), with the pipes for what the function
//! prints. The broker claims a sandbox, which serves this session and no other, and starts
//! the worker in it with that end as its standard input. From then on engine and worker talk
//! to each other alone (docs/udf-wire.md); the broker hears how the worker ends, and says it.
//!
//! | packet | from | fields | descriptors | answered by |
//! |---|---|---|---|---|
//! | `open` | engine | [`request::Open`] | worker's end, stdout, stderr | `opened` or `failed` |
//! | `kill` | engine | `number` | | `ended` |
//! | `opened` | broker | `number`, `sandbox`, `warning` | | |
//! | `failed` | broker | `number`, `message` | | nothing is left of the session |
//! | `ended` | broker | `number`, `verdict`, `memory_peak`, `cpu_us` | | |
//!
//! Each packet is one JSON object on a socket of type SOCK_SEQPACKET, at most
//! [`request::MAX_PACKET`] bytes. The broker and all its sandboxes end when that socket does.

mod answer;
mod broker;
mod pools;
pub mod request;

pub use broker::{BrokerError, serve};

/// The program that decodes and calls functions, inside. It speaks docs/udf-wire.md.
pub const WORKER: &str = include_str!("../../worker/worker.py");
