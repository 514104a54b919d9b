//! Sessions of user functions, for one engine.
//!
//! The engine makes a socket pair for each session, keeps one end, and hands the other to
//! its broker (`lakekeep udf-broker`, its child), with the pipes for what the function
//! prints. The broker claims a sandbox, which serves this session and no other, and starts
//! the worker in it with that end as its standard input. From then on engine and worker talk
//! to each other alone (docs/udf-wire.md); the broker hears how the worker ends, and says it.
//!
//! An environment that is asked for the first time has its imports made by a zygote, which takes
//! as long as it takes. Its sessions wait for that in a queue; nothing and nobody else does.
//!
//! A manager makes sessions of the same [`WORKER`], with the same care for their
//! [`streams`], in sandboxes of its own.
//!
//! `lakekeep_udf_packets` tells what the two say to each other. The broker and all its
//! sandboxes end when their socket does.

mod answer;
mod blank;
mod broker;
mod claim;
mod environment;
mod kind;
mod limits;
mod pools;
pub mod streams;
mod waiting;

pub use broker::{BrokerError, serve};
pub use environment::{EnvironmentError, check_fit};
pub use kind::Ground;
pub use limits::{LimitsError, policy};

/// The program that decodes and calls functions, inside. It speaks docs/udf-wire.md.
pub const WORKER: &str = include!("../../worker/source.rs");
