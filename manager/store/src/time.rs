//! Moments: microseconds since 1970, written as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MICROS: u64 = 1_000_000;
/// 9999-12-31T23:59:59.999999Z: RFC 3339 has no later one.
const LAST: u64 = 253_402_300_799 * MICROS + 999_999;

/// A moment in microseconds since 1970-01-01 UTC, at most the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// A text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: write it as 2026-01-31T23:59:59Z, with up to six decimals")]
pub struct NotATime;

impl Timestamp {
    /// This many microseconds after 1970; beyond the year 9999, its end.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(if micros < LAST { micros } else { LAST })
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// What the database stores; every moment fits.
    pub(crate) fn to_sql(self) -> i64 {
        self.0.cast_signed()
    }

    /// A negative number, which only a damaged row has, is 1970.
    pub(crate) fn from_sql(micros: i64) -> Timestamp {
        Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// This moment and `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Timestamp {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.0.saturating_add(micros))
    }

    /// This moment less `span`; not before 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Timestamp {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// The time since `earlier`; none if that is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A clock before 1970 is set wrongly; it reads as 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let span = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_micros(self.0);
        humantime::format_rfc3339_micros(time).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    /// Reads UTC alone: with offsets one moment would have many texts.
    fn from_str(text: &str) -> Result<Timestamp, NotATime> {
        // The longest form that is written here; the parser takes more decimals.
        const LONGEST: usize = "2026-01-31T23:59:59.000000Z".len();
        if text.len() > LONGEST {
            return Err(NotATime);
        }
        let time = humantime::parse_rfc3339(text).map_err(|_| NotATime)?;
        Ok(Timestamp::from(time))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_text() {
        for micros in [0, 1, 1_800_000_000_123_456, LAST] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        let text = Timestamp::from_micros(1_800_000_000_123_456).to_string();
        assert_eq!(text, "2027-01-15T08:00:00.123456Z");
    }

    #[test]
    fn later_than_rfc_3339_is_its_last_moment() {
        let last = Timestamp::from_micros(u64::MAX);
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(last.plus(Duration::from_secs(1)), last);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "now",
            "2026-01-31",
            "2026-01-31T00:00:00+01:00",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATime), "{text}");
        }
        let nanos = "2026-01-31T23:59:59.000000001Z";
        assert_eq!(nanos.parse::<Timestamp>(), Err(NotATime));
    }
}
