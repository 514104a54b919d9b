//! How much a second: connections, or bytes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// So much is waited for already that the rate would not let it pass in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate;

/// A rate that several flows share. What is above it waits, in the order in which it came. The
/// rate can change meanwhile: those who wait then wait as long as they would at the new one.
#[derive(Debug)]
pub struct Pace {
    /// `None`: whatever comes.
    rate: watch::Sender<Option<u64>>,
    /// When all that was taken so far has been paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// `per_second` units; `None` for as many as come.
    pub fn new(per_second: Option<u64>) -> Self {
        Self {
            rate: watch::Sender::new(at_least_one(per_second)),
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Another rate from now on.
    pub fn limit(&self, per_second: Option<u64>) {
        let (new, now) = (at_least_one(per_second), Instant::now());
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.rate.send_replace(new);
        *paid = rescaled(*paid, now, (old, new));
    }

    /// Whether anything waits at all.
    pub fn is_limited(&self) -> bool {
        self.rate.borrow().is_some()
    }

    /// Takes `units`, and returns when they may be used.
    pub async fn take(&self, units: u64) {
        let rate = self.rate.subscribe();
        wait(self.due(units, Instant::now()), rate).await;
    }

    /// Takes one unit and returns when it may be used, unless that would be later than in
    /// `patience`: then it is not taken.
    ///
    /// # Errors
    /// [`TooLate`] at once.
    pub async fn take_within(&self, patience: Duration) -> Result<(), TooLate> {
        let rate = self.rate.subscribe();
        let due = self.due_within(Instant::now(), patience).ok_or(TooLate)?;
        wait(due, rate).await;
        Ok(())
    }

    /// Units that one flow should take at a time, so that others have their turn: what comes in
    /// a quarter of the burst. `None`: as many as it likes.
    pub fn piece(&self) -> Option<usize> {
        let per_second = (*self.rate.borrow())?;
        let burst = u128::from(per_second) * BURST.as_millis() / 1000;
        Some(usize::try_from(burst / 4).unwrap_or(usize::MAX).max(1))
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
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(per_second) = *self.rate.borrow() else {
            return now;
        };
        let cost = u128::from(units) * 1_000_000_000 / u128::from(per_second);
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        *paid = (*paid).max(now) + cost;
        paid.checked_sub(BURST).unwrap_or(now)
    }
}

/// Returns at `due`, or when that is at the rates to which it changes meanwhile.
async fn wait(mut due: Instant, mut rate: watch::Receiver<Option<u64>>) {
    let mut old = *rate.borrow_and_update();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return,
            // An error: nobody is there to change it.
            Ok(()) = rate.changed() => {
                let new = *rate.borrow_and_update();
                due = rescaled(due, Instant::now(), (old, new));
                old = new;
            }
        }
    }
}

/// When something is due at another rate: what is left of the wait is so much longer or shorter.
fn rescaled(due: Instant, now: Instant, (old, new): (Option<u64>, Option<u64>)) -> Instant {
    let (Some(old), Some(new)) = (old, new) else {
        return now;
    };
    let left = due.saturating_duration_since(now).as_nanos();
    let left = left.saturating_mul(u128::from(old)) / u128::from(new);
    now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

/// None is taken for one: nothing would ever pass.
fn at_least_one(per_second: Option<u64>) -> Option<u64> {
    per_second.map(|rate| rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_its_turn() {
        let pace = Pace::new(Some(100));
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
        let pace = Pace::new(Some(10));
        let (now, patience) = (Instant::now(), Duration::from_secs(2));
        let taken = (0..100).filter(|_| pace.due_within(now, patience).is_some());
        // Two seconds of ten, the burst, and the one that is due at the end.
        assert_eq!(taken.count(), 23);
        let later = now + Duration::from_secs(1);
        assert!(pace.due_within(later, patience).is_some());
    }

    #[test]
    fn a_flow_takes_a_share_of_the_burst_and_at_least_a_byte() {
        assert_eq!(Pace::new(Some(1 << 20)).piece(), Some(65_536));
        assert_eq!(Pace::new(Some(1)).piece(), Some(1));
        assert_eq!(Pace::new(None).piece(), None);
    }

    #[test]
    fn a_pause_earns_no_more_than_the_burst() {
        let pace = Pace::new(Some(1000));
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(pace.due(1250, later), later + Duration::from_secs(1));
    }

    #[test]
    fn without_a_rate_nothing_waits_and_nothing_is_owed_later() {
        let pace = Pace::new(None);
        let now = Instant::now();
        assert_eq!(pace.due(u64::MAX, now), now);
        pace.limit(Some(1));
        assert!(pace.due(0, Instant::now()) <= Instant::now());
    }

    /// How long it took until so many units might be used, where the rate changed meanwhile.
    async fn took(units: u64, from: u64, to: Option<u64>) -> Duration {
        let pace = Pace::new(Some(from));
        let began = Instant::now();
        let change = async {
            tokio::task::yield_now().await;
            pace.limit(to);
        };
        tokio::join!(pace.take(units), change);
        began.elapsed()
    }

    #[tokio::test]
    async fn who_waits_already_follows_another_rate() {
        // A minute, beside the burst, becomes a tenth of a second, or nothing.
        let faster = took(6025, 100, Some(60_000)).await;
        assert!(faster >= Duration::from_millis(90), "{faster:?}");
        let free = took(6025, 100, None).await;
        assert!(
            faster.max(free) < Duration::from_secs(30),
            "{faster:?}, {free:?}"
        );
        // A tenth of a second becomes two.
        let slower = took(350, 1000, Some(500)).await;
        assert!(slower >= Duration::from_millis(190), "{slower:?}");
    }
}
