//! The gRPC interface `lakekeep.v1`, generated from the files in `proto/`, and the
//! words of its errors.
//!
//! The messages are the wire: the manager checks each and takes none inward.

mod reason;

pub use reason::{REMEDY, Reason, bounded};

/// The messages and services of `lakekeep.v1`.
#[allow(
    missing_docs,
    clippy::doc_markdown,
    clippy::too_many_lines,
    reason = "generated; the proto files carry the documentation"
)]
pub mod v1 {
    tonic::include_proto!("lakekeep.v1");
}

/// The encoded `FileDescriptorSet` of the interface, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The largest message that either side accepts, bytes.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The largest piece of a stream in one message, bytes.
pub const CHUNK: usize = 64 << 10;

/// Where clients are told which manager to speak to: a Unix socket's path, or
/// `https://HOST:PORT`.
pub const SOCKET_VARIABLE: &str = "LAKEKEEP_SOCKET";
