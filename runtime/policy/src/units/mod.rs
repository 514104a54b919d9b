//! Quantities with units: bytes, CPUs, spans of time; as written in documents
//! and in flags.

mod bytes;
mod cpus;
mod duration;

pub use bytes::{Bytes, BytesError};
pub use cpus::{Cpus, CpusError};
pub use duration::{DurationError, format_duration, parse_duration};

/// Serde form of an optional span of time: text with units, or whole seconds.
pub(crate) mod serde_duration {
    pub(crate) use super::duration::{deserialize, serialize};
}

/// Splits `"1.5GiB"` into `"1.5"` and `"GiB"`.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}
