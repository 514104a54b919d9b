//! A number of bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::split_unit;
use crate::show::quoted;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Longest number of digits after the point.
const FRACTION_DIGITS: usize = 9;

/// A number of bytes.
///
/// Written as a whole number, or with a unit in any case: `KiB`, `MiB`, `GiB`,
/// `TiB` and the bare `K`, `M`, `G`, `T` are powers of 1024; `KB`, `MB`, `GB`,
/// `TB` are powers of 1000; `B` is one. A decimal fraction is accepted if it
/// makes a whole number of bytes (`1.5GiB`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Why a text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Nothing that reads as a number comes first.
    #[error("{} is not a size", quoted(.0))]
    NotANumber(String),
    /// The unit is unknown.
    #[error("{} has no known unit", quoted(.0))]
    UnknownUnit(String),
    /// The fraction does not make a whole number of bytes.
    #[error("{} is not a whole number of bytes", quoted(.0))]
    Fraction(String),
    /// More than 2^64 - 1 bytes.
    #[error("{} is more than can be counted", quoted(.0))]
    Overflow(String),
}

impl Bytes {
    /// No bytes.
    pub const ZERO: Bytes = Bytes(0);

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn mib(count: u64) -> Bytes {
        Bytes(count * MIB)
    }

    pub(crate) const fn gib(count: u64) -> Bytes {
        Bytes(count * GIB)
    }
}

/// Bytes in one of `unit`, or `None` if the unit is unknown.
fn multiplier(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        "t" | "tib" => TIB,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Bytes, BytesError> {
        let (number, unit) = split_unit(text.trim());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(BytesError::NotANumber(text.to_owned()));
        }
        let unit = multiplier(unit.trim_start())
            .ok_or_else(|| BytesError::UnknownUnit(text.to_owned()))?;
        let fraction =
            fraction_of(fraction, unit).ok_or_else(|| BytesError::Fraction(text.to_owned()))?;
        whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(unit)?.checked_add(fraction))
            .map(Bytes)
            .ok_or_else(|| BytesError::Overflow(text.to_owned()))
    }
}

/// `0.<digits>` of `unit`, if that is a whole number.
fn fraction_of(digits: &str, unit: u64) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if digits.len() > FRACTION_DIGITS {
        return None;
    }
    // At most 10^9 parts of at most 2^40: no overflow in 128 bits.
    let parts = digits.parse::<u128>().ok()? * u128::from(unit);
    let whole = digits.bytes().fold(1_u128, |scale, _| scale * 10);
    if !parts.is_multiple_of(whole) {
        return None;
    }
    u64::try_from(parts / whole).ok()
}

/// The largest binary unit that divides the number, else plain bytes; reads
/// back as the same number.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
        let fitting = units
            .iter()
            .find(|(size, _)| self.0 != 0 && self.0.is_multiple_of(*size));
        match fitting {
            Some((size, unit)) => f.pad(&format!("{}{unit}", self.0 / size)),
            None => f.pad(&format!("{}B", self.0)),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Bytes, E> {
        Ok(Bytes(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Bytes, E> {
        u64::try_from(number)
            .map(Bytes)
            .map_err(|_| E::custom(format_args!("{number} is negative")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, BytesError> {
        text.parse::<Bytes>().map(Bytes::get)
    }

    #[test]
    fn units_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("512MiB", 512 << 20),
            ("512 MiB", 512 << 20),
            ("512m", 512 << 20),
            ("2K", 2048),
            ("2kb", 2000),
            ("3GB", 3_000_000_000),
            ("1TiB", 1 << 40),
            ("1.5GiB", 3 << 29),
            ("1.50k", 1536),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(read(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        let refused = |text: &str| read(text).unwrap_err().to_string();
        for text in ["", " ", "MiB", "-1", "+1", ".5G", "1.", "1.2.3", "١"] {
            assert!(refused(text).contains("is not a size"), "{text}");
        }
        for text in ["1XiB", "1 Mi", "1 2", "0x10", "1e9", "5µ"] {
            assert!(refused(text).contains("no known unit"), "{text}");
        }
        for text in ["1.5", "0.3KiB", "1.0000000001T"] {
            assert!(refused(text).contains("whole number"), "{text}");
        }
        for text in ["18446744073709551616", "16777216TiB", "99999999999T"] {
            assert!(refused(text).contains("more than"), "{text}");
        }
    }

    #[test]
    fn display_uses_the_largest_exact_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (1536 << 20, "1536MiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
