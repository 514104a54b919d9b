//! Spans of time.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserializer, Serializer};

use super::split_unit;
use crate::show::quoted;

/// The units and their milliseconds, from the largest.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing that reads as a whole number comes first.
    #[error("{} is not a span of time", quoted(.0))]
    NotANumber(String),
    /// The unit is unknown, or follows a smaller one or itself.
    #[error("{} has an unknown or misplaced unit", quoted(.0))]
    Unit(String),
    /// More milliseconds than can be counted.
    #[error("{} is more than can be counted", quoted(.0))]
    Overflow(String),
}

/// Reads a span of time: whole numbers with the units `d`, `h`, `m`, `s`, `ms`
/// from the largest to the smallest (`"90s"`, `"1h30m"`), or a bare whole
/// number of seconds.
///
/// # Errors
///
/// [`DurationError`], which holds the text.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lakekeep_policy::parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut units = UNITS.as_slice();
    let whole = rest;
    loop {
        let (number, after) = split_unit(rest);
        if number.is_empty() || number.contains('.') {
            return Err(DurationError::NotANumber(text.to_owned()));
        }
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        // Bare seconds are the whole text, not the tail of "1h30".
        let unit = if after.is_empty() && number == whole {
            "s"
        } else {
            unit
        };
        let place = units
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| DurationError::Unit(text.to_owned()))?;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(units[place].1)?.checked_add(total))
            .ok_or_else(|| DurationError::Overflow(text.to_owned()))?;
        units = &units[place + 1..];
        rest = next;
        if rest.is_empty() {
            return Ok(Duration::from_millis(total));
        }
    }
}

/// Writes a span of time as [`parse_duration`] reads it, in whole milliseconds
/// (rounded down).
///
/// ```
/// use std::time::Duration;
/// assert_eq!(lakekeep_policy::format_duration(Duration::from_millis(90_500)), "1m30s500ms");
/// ```
pub fn format_duration(span: Duration) -> String {
    let mut left = span.as_millis();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, millis) in UNITS {
        let count = left / u128::from(millis);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            left -= count * u128::from(millis);
        }
    }
    text
}

pub(crate) fn serialize<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => serializer.serialize_str(&format_duration(*span)),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Option<Duration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Duration>, E> {
        parse_duration(text).map(Some).map_err(E::custom)
    }

    /// JSON's `null` leaves a field out, as it does for the other fields.
    fn visit_unit<E: serde::de::Error>(self) -> Result<Option<Duration>, E> {
        Ok(None)
    }

    fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Option<Duration>, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Option<Duration>, E> {
        let seconds =
            u64::try_from(seconds).map_err(|_| E::custom(format_args!("{seconds} is negative")))?;
        self.visit_u64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u128> {
        parse_duration(text).ok().map(|span| span.as_millis())
    }

    #[test]
    fn units_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("60", 60_000),
            ("60s", 60_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("18446744073709551615ms", u128::from(u64::MAX)),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        let refused = |text: &str| parse_duration(text).unwrap_err().to_string();
        for text in ["", "s", "-1s", "1.5s", "1s-"] {
            assert!(refused(text).contains("not a span of time"), "{text}");
        }
        for text in ["1w", "1h30", "1m1h", "1s1s", "1 s", "1S", "1µs"] {
            assert!(refused(text).contains("misplaced unit"), "{text}");
        }
        for text in ["18446744073709551616ms", "99999999999999999d"] {
            assert!(refused(text).contains("more than"), "{text}");
        }
    }
}
