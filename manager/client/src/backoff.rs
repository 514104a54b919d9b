//! When to try again. Time is an argument.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The first and the longest pause.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Beyond this many attempts only the longest pause is left.
const DOUBLINGS: u32 = 16;

/// Pauses that double, within a window that begins with the first failure.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    window: Duration,
    began: Option<Instant>,
    attempts: u32,
}

impl Backoff {
    /// For `window`; zero: never again.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            began: None,
            attempts: 0,
        }
    }

    /// How long to wait before the next attempt; `None`: there is none. `hint` is what
    /// the manager asked for.
    pub fn after(&mut self, now: Instant, hint: Option<Duration>) -> Option<Duration> {
        let began = *self.began.get_or_insert(now);
        let doubled = FIRST.saturating_mul(1 << self.attempts.min(DOUBLINGS));
        self.attempts = self.attempts.saturating_add(1);
        let pause = spread(doubled.min(LONGEST)).max(hint.unwrap_or_default());
        (now + pause < began + self.window).then_some(pause)
    }

    /// What was tried works again.
    pub fn progressed(&mut self) {
        self.began = None;
        self.attempts = 0;
    }
}

/// Clients that failed at the same moment come back over the second half of a pause.
fn spread(pause: Duration) -> Duration {
    let chance = u32::try_from(chance() >> 44).unwrap_or(0);
    pause / 2 + (pause / 2).saturating_mul(chance) / (1 << 20)
}

/// A number that no other process has: the keys of a hash map are random.
pub(crate) fn chance() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_end_with_the_window() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        let mut now = Instant::now();
        let began = now;
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.after(now, None) {
            assert!(pause <= LONGEST);
            pauses.push(pause);
            now += pause;
        }
        assert!(pauses.len() > 10, "{pauses:?}");
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(now < began + Duration::from_secs(30));
        backoff.progressed();
        assert!(backoff.after(now, None).is_some());
    }

    #[test]
    fn the_managers_hint_counts_and_a_window_of_nothing_is_none() {
        let hint = Duration::from_secs(5);
        let mut backoff = Backoff::new(Duration::from_secs(30));
        assert_eq!(backoff.after(Instant::now(), Some(hint)), Some(hint));
        assert_eq!(
            Backoff::new(Duration::ZERO).after(Instant::now(), None),
            None
        );
    }
}
