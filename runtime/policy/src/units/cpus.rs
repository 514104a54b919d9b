//! CPU bandwidth.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::show::quoted;

/// Most CPUs that can be written; beyond any machine.
const MOST: f64 = 1_000_000.0;

/// CPU bandwidth in thousandths of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u32);

/// Why a number is not a number of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpusError {
    /// The text is not a number.
    #[error("{} is not a number of CPUs", quoted(.0))]
    NotANumber(String),
    /// Negative, not finite, or more than a million.
    #[error("{0} CPUs is out of range")]
    OutOfRange(String),
    /// Finer than a thousandth of a CPU.
    #[error("{0} CPUs is not a whole number of thousandths")]
    TooFine(String),
}

impl Cpus {
    /// `count` whole CPUs.
    pub(crate) const fn whole(count: u32) -> Cpus {
        Cpus(count * 1000)
    }

    /// Thousandths of a CPU.
    pub const fn from_millis(millis: u32) -> Cpus {
        Cpus(millis)
    }

    /// Checks a number of CPUs such as `1.5`.
    ///
    /// # Errors
    ///
    /// [`CpusError`] if it is negative, not finite, more than a million, or
    /// finer than a thousandth.
    pub fn new(cpus: f64) -> Result<Cpus, CpusError> {
        if !(0.0..=MOST).contains(&cpus) {
            return Err(CpusError::OutOfRange(cpus.to_string()));
        }
        let millis = (cpus * 1000.0).round();
        // The nearest double to a decimal with three digits is far nearer than this.
        if (cpus * 1000.0 - millis).abs() > 1e-6 * millis.max(1.0) {
            return Err(CpusError::TooFine(cpus.to_string()));
        }
        Ok(Cpus(millis as u32))
    }

    /// Thousandths of a CPU.
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// The CPU time that may be used in each `period`.
    pub fn quota(self, period: Duration) -> Duration {
        period.saturating_mul(self.0) / 1000
    }
}

impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(text: &str) -> Result<Cpus, CpusError> {
        let number = text.trim().parse::<f64>();
        Cpus::new(number.map_err(|_| CpusError::NotANumber(text.to_owned()))?)
    }
}

/// In CPUs, with as many decimals as it takes (`1.5`).
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&(f64::from(self.0) / 1000.0).to_string())
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
        deserializer.deserialize_any(CpusVisitor)
    }
}

struct CpusVisitor;

impl Visitor<'_> for CpusVisitor {
    type Value = Cpus;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of CPUs")
    }

    fn visit_f64<E: serde::de::Error>(self, cpus: f64) -> Result<Cpus, E> {
        Cpus::new(cpus).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, cpus: u64) -> Result<Cpus, E> {
        self.visit_f64(cpus as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, cpus: i64) -> Result<Cpus, E> {
        self.visit_f64(cpus as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thousandth_reads_back() {
        for millis in (0..20_000).chain([999_999_999, 1_000_000_000]) {
            let cpus = Cpus::from_millis(millis);
            assert_eq!(cpus.to_string().parse(), Ok(cpus));
        }
    }

    #[test]
    fn other_numbers_are_refused() {
        for text in ["-1", "inf", "NaN", "1000001"] {
            let error = text.parse::<Cpus>().unwrap_err();
            assert!(matches!(error, CpusError::OutOfRange(_)), "{text}");
        }
        assert!(matches!(
            "0.0005".parse::<Cpus>(),
            Err(CpusError::TooFine(_))
        ));
        assert!(matches!(
            "two".parse::<Cpus>(),
            Err(CpusError::NotANumber(_))
        ));
    }

    #[test]
    fn quota_is_a_share_of_the_period() {
        let period = Duration::from_millis(100);
        assert_eq!(
            Cpus::from_millis(1500).quota(period),
            Duration::from_millis(150)
        );
    }
}
