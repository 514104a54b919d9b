//! How much a second: connections, or bytes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// A rate that several flows share. What is above it waits, in the order in which it came.
#[derive(Debug)]
pub struct Pace {
    per_second: u64,
    /// When all that was taken so far has been paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// `per_second` units; none is taken for one.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Takes `units`, and returns when they may be used.
    pub async fn take(&self, units: u64) {
        tokio::time::sleep_until(self.due(units, Instant::now())).await;
    }

    fn due(&self, units: u64, now: Instant) -> Instant {
        let cost = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + cost;
        paid.checked_sub(BURST).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_its_turn() {
        let pace = Pace::new(100);
        let now = Instant::now();
        let due: Vec<Instant> = (0..50).map(|_| pace.due(1, now)).collect();
        assert!(
            due[..25]
                .iter()
                .all(|due| *due <= now + Duration::from_millis(1))
        );
        let last = due[49] - now;
        assert!(
            last >= Duration::from_millis(240) && last <= Duration::from_millis(260),
            "{last:?}"
        );
    }

    #[test]
    fn a_pause_earns_no_more_than_the_burst() {
        let pace = Pace::new(1000);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(pace.due(1250, later), later + Duration::from_secs(1));
    }
}
