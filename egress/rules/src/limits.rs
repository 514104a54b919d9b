//! How much may leave a sandbox, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::total::least;

/// `[limits]` of a document; what is left out is the default of [`Limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDoc {
    /// Connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// New connections each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_per_second: Option<u32>,
    /// Bytes each second, each way, of all connections together; no limit if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Seconds after which a connection without traffic ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
    /// Seconds in which a destination must have accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_seconds: Option<u32>,
    /// Seconds in which a connection must have said for whom it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bytes_seconds: Option<u32>,
    /// Names that a sandbox can have asked for and got an address of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<u32>,
    /// New names below wildcards each minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_names_per_minute: Option<u32>,
}

/// Limits of one sandbox, all of them set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// New connections each second.
    pub new_per_second: u32,
    /// Bytes each second, each way; `None` for as many as there are.
    pub bytes_per_second: Option<u64>,
    /// A connection without traffic ends after it.
    pub idle: Duration,
    /// A destination must have accepted within it.
    pub connect: Duration,
    /// A connection must have said for whom it is within it.
    pub first_bytes: Duration,
    /// Names with an address.
    pub names: u32,
    /// New names below wildcards each minute.
    pub new_names_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 512,
            new_per_second: 100,
            bytes_per_second: None,
            idle: Duration::from_secs(300),
            connect: Duration::from_secs(10),
            first_bytes: Duration::from_secs(10),
            names: 4096,
            new_names_per_minute: 60,
        }
    }
}

/// A row for each field: name, value, least and most that are taken.
pub(crate) type Row = (&'static str, Option<u64>, u64, u64);

/// A field that is out of its range: field, value, least, most.
pub(crate) type Outside = (&'static str, u64, u64, u64);

const DAY: u64 = 86_400;

/// The rows that one sandbox's limits and those of many together have in common.
pub(crate) fn connections(value: Option<u32>) -> Row {
    ("connections", value.map(u64::from), 1, 65_536)
}

pub(crate) fn new_per_second(value: Option<u32>) -> Row {
    ("new_per_second", value.map(u64::from), 1, 100_000)
}

/// Below its least, a handshake takes longer than its peer waits.
pub(crate) fn bytes_per_second(value: Option<u64>) -> Row {
    ("bytes_per_second", value, 1024, u64::MAX)
}

pub(crate) fn outside(rows: impl IntoIterator<Item = Row>) -> Vec<Outside> {
    let outside = |(field, value, least, most): Row| {
        value
            .filter(|value| !(least..=most).contains(value))
            .map(|value| (field, value, least, most))
    };
    rows.into_iter().filter_map(outside).collect()
}

impl LimitsDoc {
    fn rows(&self) -> [Row; 8] {
        [
            connections(self.connections),
            new_per_second(self.new_per_second),
            bytes_per_second(self.bytes_per_second),
            ("idle_seconds", self.idle_seconds.map(u64::from), 1, DAY),
            (
                "connect_seconds",
                self.connect_seconds.map(u64::from),
                1,
                300,
            ),
            (
                "first_bytes_seconds",
                self.first_bytes_seconds.map(u64::from),
                1,
                300,
            ),
            ("names", self.names.map(u64::from), 1, 65_536),
            (
                "new_names_per_minute",
                self.new_names_per_minute.map(u64::from),
                1,
                60_000,
            ),
        ]
    }

    /// Each field that is out of its range.
    pub(crate) fn out_of_range(&self) -> Vec<Outside> {
        outside(self.rows())
    }

    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        let seconds =
            |value: Option<u32>, usual| value.map_or(usual, |s| Duration::from_secs(s.into()));
        Limits {
            connections: self.connections.unwrap_or(usual.connections),
            new_per_second: self.new_per_second.unwrap_or(usual.new_per_second),
            bytes_per_second: self.bytes_per_second.or(usual.bytes_per_second),
            idle: seconds(self.idle_seconds, usual.idle),
            connect: seconds(self.connect_seconds, usual.connect),
            first_bytes: seconds(self.first_bytes_seconds, usual.first_bytes),
            names: self.names.unwrap_or(usual.names),
            new_names_per_minute: self
                .new_names_per_minute
                .unwrap_or(usual.new_names_per_minute),
        }
    }
}

impl Limits {
    /// The lower of each.
    pub(crate) fn lower(self, other: Limits) -> Limits {
        Limits {
            connections: self.connections.min(other.connections),
            new_per_second: self.new_per_second.min(other.new_per_second),
            bytes_per_second: least(self.bytes_per_second, other.bytes_per_second),
            idle: self.idle.min(other.idle),
            connect: self.connect.min(other.connect),
            first_bytes: self.first_bytes.min(other.first_bytes),
            names: self.names.min(other.names),
            new_names_per_minute: self.new_names_per_minute.min(other.new_names_per_minute),
        }
    }

    /// In an order that never changes, for the digest; 0 where there is no limit, which no
    /// limit is.
    pub(crate) fn numbers(self) -> [u64; 8] {
        [
            self.connections.into(),
            self.new_per_second.into(),
            self.bytes_per_second.unwrap_or(0),
            self.idle.as_secs(),
            self.connect.as_secs(),
            self.first_bytes.as_secs(),
            self.names.into(),
            self.new_names_per_minute.into(),
        ]
    }
}
