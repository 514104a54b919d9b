//! How much may leave all sandboxes of a document together.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{Outside, Row, bytes_per_second, connections, new_per_second, outside};

/// `[total]` of a document; what is left out has no limit beside each sandbox's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TotalDoc {
    /// Connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// New connections each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_per_second: Option<u32>,
    /// Bytes each second, each way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
}

/// What the sandboxes have together for which a document holds; `None`: as much as there is.
///
/// Displays as `8 connections, 20 new connections a second`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// New connections each second.
    pub new_per_second: Option<u32>,
    /// Bytes each second, each way.
    pub bytes_per_second: Option<u64>,
}

impl TotalDoc {
    /// Whether nothing is written in it.
    pub fn is_empty(&self) -> bool {
        *self == TotalDoc::default()
    }

    fn rows(&self) -> [Row; 3] {
        [
            connections(self.connections),
            new_per_second(self.new_per_second),
            bytes_per_second(self.bytes_per_second),
        ]
    }

    /// The fields that are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &'static str> {
        let written = |(field, value, ..): Row| value.map(|_| field);
        self.rows().into_iter().filter_map(written)
    }

    /// Each field that is out of its range.
    pub(crate) fn out_of_range(&self) -> Vec<Outside> {
        outside(self.rows())
    }

    pub(crate) fn total(&self) -> Total {
        Total {
            connections: self.connections,
            new_per_second: self.new_per_second,
            bytes_per_second: self.bytes_per_second,
        }
    }
}

impl Total {
    /// The lower of each.
    pub(crate) fn lower(self, other: Total) -> Total {
        Total {
            connections: least(self.connections, other.connections),
            new_per_second: least(self.new_per_second, other.new_per_second),
            bytes_per_second: least(self.bytes_per_second, other.bytes_per_second),
        }
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Total::default()
    }

    /// In an order that never changes, for the digest; 0 where there is no limit, which no
    /// limit is.
    pub(crate) fn numbers(self) -> [u64; 3] {
        [
            self.connections.unwrap_or(0).into(),
            self.new_per_second.unwrap_or(0).into(),
            self.bytes_per_second.unwrap_or(0),
        ]
    }
}

/// The lower of two limits, of which there may be none.
pub(crate) fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.connections.map(u64::from), "connections"),
            (
                self.new_per_second.map(u64::from),
                "new connections a second",
            ),
            (self.bytes_per_second, "bytes a second each way"),
        ];
        let said = words
            .into_iter()
            .filter_map(|(limit, what)| limit.map(|limit| format!("{limit} {what}")));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}
