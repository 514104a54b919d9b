//! How much a second: connections, or bytes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// So much is waited for already that the rate would not let it pass in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate;

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

    /// Takes one unit and returns when it may be used, unless that would be later than in
    /// `patience`: then it is not taken.
    ///
    /// # Errors
    /// [`TooLate`] at once.
    pub async fn take_within(&self, patience: Duration) -> Result<(), TooLate> {
        let now = Instant::now();
        let due = self.due_within(now, patience).ok_or(TooLate)?;
        tokio::time::sleep_until(due).await;
        Ok(())
    }

    /// Units that one flow should take at a time, so that others have their turn: what comes in
    /// a quarter of the burst.
    pub fn piece(&self) -> usize {
        let burst = u128::from(self.per_second) * BURST.as_millis() / 1000;
        usize::try_from(burst / 4).unwrap_or(usize::MAX).max(1)
    }

    fn due_within(&self, now: Instant, patience: Duration) -> Option<Instant> {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = paid
            .checked_sub(BURST)
            .is_some_and(|due| due > now + patience);
        (!is_late).then(|| self.due(1, now))
    }

    /// Takes `units`, and says when they may be used.
    pub fn due(&self, units: u64, now: Instant) -> Instant {
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
    fn what_would_be_late_is_not_taken() {
        let pace = Pace::new(10);
        let (now, patience) = (Instant::now(), Duration::from_secs(2));
        let taken = (0..100).filter(|_| pace.due_within(now, patience).is_some());
        // Two seconds of ten, the burst, and the one that is due at the end.
        assert_eq!(taken.count(), 23);
        let later = now + Duration::from_secs(1);
        assert!(pace.due_within(later, patience).is_some());
    }

    #[test]
    fn a_flow_takes_a_share_of_the_burst_and_at_least_a_byte() {
        assert_eq!(Pace::new(1 << 20).piece(), 65_536);
        assert_eq!(Pace::new(1).piece(), 1);
    }

    #[test]
    fn a_pause_earns_no_more_than_the_burst() {
        let pace = Pace::new(1000);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(pace.due(1250, later), later + Duration::from_secs(1));
    }
}
