//! Points in time, as arguments.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970-01-01 00:00:00 UTC, as in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From seconds since the epoch.
    pub const fn new(seconds: u64) -> UnixTime {
        UnixTime(seconds)
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// The system's clock; a clock before 1970 reads as 1970.
    pub fn of_system(time: SystemTime) -> UnixTime {
        UnixTime(
            time.duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }

    /// Later by `span`, rounded down to seconds.
    #[must_use]
    pub const fn plus(self, span: Duration) -> UnixTime {
        UnixTime(self.0.saturating_add(span.as_secs()))
    }

    /// The time from `earlier` to this; nothing if `earlier` is later.
    pub const fn since(self, earlier: UnixTime) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// The present, by both clocks: the calendar's for what tokens claim, and the
/// one that never jumps for the age of what was fetched.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The calendar's clock.
    pub unix: UnixTime,
    /// The monotonic clock.
    pub monotonic: Instant,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Now {
        Now {
            unix: UnixTime::of_system(SystemTime::now()),
            monotonic: Instant::now(),
        }
    }

    /// Both clocks, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Now {
        Now {
            unix: self.unix.plus(span),
            monotonic: self.monotonic + span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let late = UnixTime::new(u64::MAX);
        assert_eq!(late.plus(Duration::from_secs(1)), late);
        assert_eq!(UnixTime::new(1).since(late), Duration::ZERO);
        assert_eq!(
            UnixTime::of_system(UNIX_EPOCH - Duration::from_secs(9)),
            UnixTime::new(0)
        );
    }
}
