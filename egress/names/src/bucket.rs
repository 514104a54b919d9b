//! A token bucket that is told the time.

use std::time::Duration;

/// Tokens that come back at a steady pace, up to a minute's worth.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_minute: u32,
    /// In parts of which a token has 60,000, so that a millisecond brings a whole number.
    parts: u64,
    last: Duration,
}

const PARTS: u64 = 60_000;

impl Bucket {
    /// Full, at whatever time it is first asked.
    pub(crate) fn new(per_minute: u32) -> Bucket {
        Bucket {
            per_minute,
            parts: u64::from(per_minute) * PARTS,
            last: Duration::ZERO,
        }
    }

    /// Another pace from here on. What a higher one adds comes with time.
    pub(crate) fn limit(&mut self, per_minute: u32) {
        self.per_minute = per_minute;
    }

    /// Takes so many tokens, or none. A clock that goes back brings nothing.
    pub(crate) fn take(&mut self, tokens: u32, now: Duration) -> bool {
        let passed = now
            .saturating_sub(self.last)
            .as_millis()
            .min(u128::from(PARTS)) as u64;
        // What is beyond whole milliseconds counts the next time.
        if passed > 0 {
            self.last = now;
        }
        let full = u64::from(self.per_minute) * PARTS;
        self.parts = full.min(self.parts + passed * u64::from(self.per_minute));
        let cost = u64::from(tokens) * PARTS;
        let affordable = cost <= self.parts;
        if affordable {
            self.parts -= cost;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_and_not_beyond_a_minute() {
        let mut bucket = Bucket::new(2);
        let at = Duration::from_secs;
        assert!(bucket.take(2, at(1000)));
        assert!(!bucket.take(1, at(1029)));
        assert!(bucket.take(1, at(1030)));
        assert!(!bucket.take(1, at(900)), "the clock went back");
        assert!(!bucket.take(3, at(9000)));
        assert!(bucket.take(2, at(9000)));
        assert!(!bucket.take(1, at(9000)));
    }

    #[test]
    fn another_pace_holds_from_there_on() {
        let mut bucket = Bucket::new(60);
        let at = Duration::from_secs;
        assert!(bucket.take(1, at(1000)));
        bucket.limit(2);
        assert!(!bucket.take(3, at(1001)), "no more than a minute's");
        assert!(bucket.take(2, at(1001)));
        bucket.limit(60);
        assert!(!bucket.take(2, at(1002)));
        assert!(bucket.take(2, at(1003)));
    }
}
