//! A rate that sandboxes have together, in turns.
//!
//! First come, first served would give a sandbox as much as it has streams. Here the flows of one
//! sandbox wait in a queue of their own, and only its first waits among the other sandboxes':
//! they follow one another, a piece each, however many streams one of them has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::pace::{Pace, TooLate};

/// The rate.
#[derive(Debug)]
pub struct Common {
    pace: Pace,
    /// Held by the one sandbox whose turn it is; the others follow in the order in which they came.
    turn: Mutex<()>,
}

/// One sandbox's part of it.
#[derive(Debug)]
pub struct Share {
    common: Arc<Common>,
    /// Units that the sandbox has used since it was bounded, in turn or not yet.
    used: AtomicU64,
    /// Of these, how many have had their turn. Held by the one flow that waits among other
    /// sandboxes'.
    paid: Mutex<u64>,
}

/// What must have had its turn before a flow goes on; `None`: nothing.
#[derive(Debug, Clone, Copy)]
pub struct Mark(Option<u64>);

impl Common {
    /// As many units as come.
    pub fn unlimited() -> Arc<Self> {
        Arc::new(Self {
            pace: Pace::new(None),
            turn: Mutex::default(),
        })
    }

    /// Another rate from now on; `None` for as many as come.
    pub fn limit(&self, per_second: Option<u64>) {
        self.pace.limit(per_second);
    }

    /// One sandbox's part.
    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            common: Arc::clone(self),
            used: AtomicU64::new(0),
            paid: Mutex::default(),
        }
    }
}

impl Share {
    /// Whether anything waits at all.
    pub fn is_limited(&self) -> bool {
        self.common.pace.is_limited()
    }

    /// Units that should be used at a time ([`Pace::piece`]).
    pub fn piece(&self) -> Option<usize> {
        self.common.pace.piece()
    }

    /// Notes that so many units were used. They are the sandbox's to wait for, whatever becomes of
    /// the flow that used them.
    pub fn charge(&self, units: u64) -> Mark {
        let limited = self.is_limited();
        Mark(limited.then(|| self.used.fetch_add(units, Ordering::Relaxed) + units))
    }

    /// Returns when all that was used up to the mark has had its turn, but for a piece: so a turn is
    /// of a whole one also where a flow takes less at a time.
    pub async fn settle(&self, Mark(used): Mark) {
        let Some(used) = used else { return };
        let mut paid = self.paid.lock().await;
        loop {
            let owed = used.saturating_sub(*paid);
            let Some(piece) = self.piece().map(|piece| piece as u64) else {
                // Nothing is bounded any more, and nothing is owed when it is again.
                *paid += owed;
                return;
            };
            if owed <= piece {
                return;
            }
            let turn = self.common.turn.lock().await;
            // Before it is waited for: who is dropped meanwhile has been charged.
            *paid += piece;
            self.common.pace.take(piece).await;
            drop(turn);
        }
    }

    /// Takes one unit and returns when it may be used, unless that would be later than `until`:
    /// then it is not taken.
    ///
    /// # Errors
    /// [`TooLate`], at `until` at the latest.
    pub async fn enter(&self, until: Instant) -> Result<(), TooLate> {
        if !self.is_limited() {
            return Ok(());
        }
        let turn = async {
            let own = self.paid.lock().await;
            (own, self.common.turn.lock().await)
        };
        let turn = timeout_at(until, turn).await.map_err(|_| TooLate)?;
        let left = until.saturating_duration_since(Instant::now());
        let entered = self.common.pace.take_within(left).await;
        drop(turn);
        entered
    }
}

/// What one way of a sandbox's bytes waits for: the sandbox's own rate, and those that it has
/// together with others.
#[derive(Debug)]
pub struct Toll {
    own: Pace,
    shares: [Share; 2],
}

impl Toll {
    /// `per_second` bytes of the sandbox alone; `None` for as many as come.
    pub fn new(per_second: Option<u64>, shares: [Share; 2]) -> Self {
        Self {
            own: Pace::new(per_second),
            shares,
        }
    }

    /// Another rate for the sandbox alone.
    pub fn limit(&self, per_second: Option<u64>) {
        self.own.limit(per_second);
    }

    /// Whether anything waits at all.
    pub fn is_limited(&self) -> bool {
        self.own.is_limited() || self.shares.iter().any(Share::is_limited)
    }

    /// Bytes that one flow should take at a time, so that others have their turn; `None`: as many as
    /// it likes.
    pub fn piece(&self) -> Option<usize> {
        let shared = self.shares.iter().filter_map(Share::piece);
        shared.chain(self.own.piece()).min()
    }

    /// Takes `bytes`, and returns when they have had their turn everywhere. None: when all has that
    /// was taken before.
    pub async fn take(&self, bytes: u64) {
        // All are charged at once: a flow that ends while it waits for one has used the others too.
        let marks = self.shares.each_ref().map(|share| share.charge(bytes));
        if self.own.is_limited() {
            self.own.take(bytes).await;
        }
        for (share, mark) in self.shares.iter().zip(marks) {
            share.settle(mark).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A rate: a quarter of a second's comes at once, in four pieces.
    fn common(per_second: u64) -> Arc<Common> {
        let common = Common::unlimited();
        common.limit(Some(per_second));
        common
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Takes `units` again and again, and counts how often.
    fn stream(share: &Arc<Share>, units: u64, turns: &Arc<AtomicU32>) {
        let (share, turns) = (Arc::clone(share), Arc::clone(turns));
        tokio::spawn(async move {
            loop {
                share.settle(share.charge(units)).await;
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    #[tokio::test]
    async fn many_streams_of_one_sandbox_have_no_more_than_one_of_another() {
        let common = common(100_000);
        let (many, one) = (Arc::new(common.share()), Arc::new(common.share()));
        let greedy = Arc::new(AtomicU32::new(0));
        // A tenth of a piece.
        let units = 625;
        (0..16).for_each(|_| stream(&many, units, &greedy));
        // The burst is theirs.
        while greedy.load(Ordering::Relaxed) < 40 {
            tokio::task::yield_now().await;
        }
        let before = greedy.load(Ordering::Relaxed);
        for _ in 0..100 {
            one.settle(one.charge(units)).await;
        }
        let meanwhile = greedy.load(Ordering::Relaxed) - before;
        assert!((60..=140).contains(&meanwhile), "{meanwhile} to 100");
    }

    #[tokio::test]
    async fn what_was_used_is_the_sandboxs_to_wait_for_when_its_flow_has_gone() {
        let common = common(10_000);
        let (one, other) = (common.share(), common.share());
        let began = Instant::now();
        // Flows that carry half a second's bytes and end.
        for _ in 0..3 {
            let flow = one.settle(one.charge(5_000));
            drop(timeout(Duration::ZERO, flow).await);
        }
        // The other one does not wait for them.
        other.settle(other.charge(100)).await;
        let paid = *one.paid.lock().await;
        assert!(paid < 10_000, "{paid}");
        // The next flow of the sandbox does, before it carries anything.
        one.settle(one.charge(0)).await;
        assert!(*one.paid.lock().await >= 15_000 - 625);
        // At 10,000 a second, of which 2,500 come at once.
        let all = began.elapsed();
        assert!(all >= Duration::from_millis(1100), "{all:?}");
    }

    #[tokio::test]
    async fn what_waits_follows_another_rate_and_none() {
        let common = common(1);
        let share = Arc::new(common.share());
        let waiting = Arc::clone(&share);
        let waits = tokio::spawn(async move { waiting.settle(waiting.charge(1 << 30)).await });
        tokio::task::yield_now().await;
        common.limit(None);
        timeout(Duration::from_secs(30), waits)
            .await
            .unwrap()
            .unwrap();
        // Nothing is noted where nothing is bounded, and nothing is owed for it later.
        share.settle(share.charge(u64::MAX)).await;
        common.limit(Some(1_000));
        let began = Instant::now();
        share.settle(share.charge(450)).await;
        // But for the burst, and for a piece of 62.
        assert!(began.elapsed() >= Duration::from_millis(130));
    }

    #[tokio::test]
    async fn a_newcomer_waits_behind_the_other_sandboxes_and_not_behind_their_flows() {
        let (common, began) = (common(100), Instant::now());
        let (flood, one) = (Arc::new(common.share()), common.share());
        let served = Arc::new(AtomicU32::new(0));
        for _ in 0..1000 {
            let (flood, served) = (Arc::clone(&flood), Arc::clone(&served));
            tokio::spawn(async move {
                flood.enter(later()).await.unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            });
        }
        while served.load(Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
        let before = served.load(Ordering::Relaxed);
        one.enter(later()).await.unwrap();
        let ahead = served.load(Ordering::Relaxed) - before;
        assert!(ahead <= 8, "{ahead} came first");
        // Who would be late is told so, and takes nothing of who comes after.
        for _ in 0..1000 {
            assert_eq!(one.enter(began).await, Err(TooLate));
        }
        one.enter(later()).await.unwrap();
    }

    #[tokio::test]
    async fn a_toll_is_the_strictest_of_its_rates() {
        let (one, other) = (common(1 << 20), Common::unlimited());
        let toll = Toll::new(Some(2 << 20), [one.share(), other.share()]);
        assert_eq!(toll.piece(), Some(65_536));
        toll.limit(Some(1 << 19));
        assert_eq!(toll.piece(), Some(32_768));
        one.limit(None);
        toll.limit(None);
        assert!(!toll.is_limited());
        other.limit(Some(1_000));
        assert!(toll.is_limited());
        let began = Instant::now();
        toll.take(450).await;
        assert!(began.elapsed() >= Duration::from_millis(130));
    }
}
