//! Quantities of different kinds in one shape, so that one rule serves all.

use std::fmt;
use std::time::Duration;

use lakekeep_policy::{Bytes, Cpus, format_duration};

use crate::document::{LimitSetDoc, QuotasDoc, Span, UserQuotasDoc};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Bytes,
    /// Thousandths.
    Cpus,
    Millis,
}

/// A number with its unit, to compare with another of the same field and to
/// show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    value: u64,
    unit: Unit,
}

impl Amount {
    pub(crate) fn get(self) -> u64 {
        self.value
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<std::cmp::Ordering> {
        (self.unit == other.unit).then(|| self.value.cmp(&other.value))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Count => write!(f, "{}", self.value),
            Unit::Bytes => write!(f, "{}", Bytes(self.value)),
            // Saturates beyond four million CPUs, for the reader only.
            Unit::Cpus => {
                let millis = u32::try_from(self.value).unwrap_or(u32::MAX);
                write!(f, "{}", Cpus::from_millis(millis))
            }
            Unit::Millis => f.write_str(&format_duration(Duration::from_millis(self.value))),
        }
    }
}

macro_rules! amount_from {
    ($($type:ty, $unit:ident, $value:expr;)+) => { $(
        impl From<$type> for Amount {
            fn from(from: $type) -> Amount {
                let value: fn($type) -> u64 = $value;
                Amount { value: value(from), unit: Unit::$unit }
            }
        }
    )+ };
}

amount_from! {
    u32, Count, u64::from;
    u64, Count, |count| count;
    Bytes, Bytes, Bytes::get;
    Cpus, Cpus, |cpus| u64::from(cpus.millis());
    Duration, Millis, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Span, Millis, |span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
}

/// Fields by name, in the order of the documentation.
pub(crate) type Amounts<const N: usize> = [(&'static str, Option<Amount>); N];

macro_rules! amounts {
    ($($type:ty, $count:literal: $($field:ident)+;)+) => { $(
        impl $type {
            /// The fields by name.
            pub(crate) fn amounts(&self) -> Amounts<$count> {
                [$((stringify!($field), self.$field.map(Amount::from)),)+]
            }

            /// What is left out here is taken from `from`.
            pub(crate) fn or(mut self, from: &$type) -> $type {
                $(self.$field = self.$field.or(from.$field);)+
                self
            }
        }
    )+ };
}

amounts! {
    QuotasDoc, 7: sandboxes tasks cpus memory disk queued kernels;
    UserQuotasDoc, 7: sandboxes tasks cpus memory disk queued kernels;
    LimitSetDoc, 13: memory swap cpus pids wall_time cpu_time open_files file_size scratch_size
        scratch_inodes output idle_timeout max_lifetime;
}
