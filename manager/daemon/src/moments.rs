//! Moments, between the clock, the store and the interface.

use std::time::{Duration, SystemTime};

use lakekeep_store::Timestamp;

/// As the store has it. What is before 1970 is 1970.
pub fn stored(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The reverse.
pub fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(at.as_micros())
}

/// A stored moment, as callers are told it.
pub fn told(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp::from(time(at)))
}

/// The moment that a caller names. One before 1970 is none: everything is later.
pub fn asked(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    let seconds = u64::try_from(time.seconds).ok()?;
    let micros = u64::try_from(time.nanos).ok()? / 1000;
    Some(Timestamp::from_micros(
        seconds.saturating_mul(1_000_000).saturating_add(micros),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back_to_the_microsecond() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(stored(time(at)), at);
        assert_eq!(asked(told(at)), Some(at));
        assert_eq!(asked(None), None);
    }

    #[test]
    fn what_is_before_1970_is_its_beginning_when_stored_and_none_when_asked_for() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(stored(before), Timestamp::from_micros(0));
        assert_eq!(asked(Some(before.into())), None);
        let far = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(asked(Some(far)), Some(Timestamp::from_micros(u64::MAX)));
    }
}
