//! What sandboxes have together: those of a profile, and all that this relay serves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakekeep_egress_rules::{Level, Ruleset, Total};
use tokio::time::Instant;

use crate::pace::TooLate;
use crate::places::{Place, Places};
use crate::turns::{Common, Share};

/// Who has something together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// All sandboxes of this relay, under the administrator's document.
    All,
    /// Those of a profile, under its owner's.
    Profile(String),
    /// One sandbox that is of no profile.
    One(String),
}

/// What is had together now. It comes with the first sandbox that shares it, and goes with the
/// last.
#[derive(Debug, Default)]
pub struct Totals(Mutex<BTreeMap<Whose, Counted>>);

#[derive(Debug)]
struct Counted {
    group: Arc<Group>,
    members: usize,
}

/// What the same sandboxes have together.
#[derive(Debug)]
struct Group {
    places: Arc<Places>,
    arrivals: Arc<Common>,
    out: Arc<Common>,
    back: Arc<Common>,
    now: Mutex<Total>,
}

/// A sandbox's part in it, until it is dropped.
#[derive(Debug)]
pub struct Member {
    totals: Arc<Totals>,
    whose: Whose,
    group: Arc<Group>,
    arrivals: Share,
}

/// A sandbox's part in what its profile has, and in what all have. A place is taken of the first
/// before one of the second: who waits for its own profile takes nothing from others.
#[derive(Debug)]
pub struct Together([Member; 2]);

impl Totals {
    fn join(self: &Arc<Self>, whose: Whose) -> Member {
        let mut groups = lock(&self.0);
        let counted = groups.entry(whose.clone()).or_insert_with(|| Counted {
            group: Arc::new(Group::unlimited()),
            members: 0,
        });
        counted.members += 1;
        let group = Arc::clone(&counted.group);
        Member {
            totals: Arc::clone(self),
            whose,
            arrivals: group.arrivals.share(),
            group,
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut groups = lock(&self.totals.0);
        if let Some(counted) = groups.get_mut(&self.whose) {
            counted.members -= 1;
            if counted.members == 0 {
                groups.remove(&self.whose);
            }
        }
    }
}

impl Group {
    fn unlimited() -> Self {
        Self {
            places: Places::new(u32::MAX),
            arrivals: Common::unlimited(),
            out: Common::unlimited(),
            back: Common::unlimited(),
            now: Mutex::default(),
        }
    }

    fn limit(&self, total: Total) {
        let mut now = lock(&self.now);
        // Each sandbox of a profile brings the same one after the other.
        if *now == total {
            return;
        }
        *now = total;
        self.places.bound(total.connections.unwrap_or(u32::MAX));
        self.arrivals.limit(total.new_per_second.map(u64::from));
        self.out.limit(total.bytes_per_second);
        self.back.limit(total.bytes_per_second);
    }
}

impl Member {
    /// What is had together now.
    pub fn total(&self) -> Total {
        *lock(&self.group.now)
    }

    /// Who has it.
    pub fn whose(&self) -> &Whose {
        &self.whose
    }
}

impl Together {
    /// The part of a sandbox in what its profile has and in what all have.
    pub fn join(totals: &Arc<Totals>, sandbox: &str, profile: Option<&str>) -> Self {
        let own = match profile {
            Some(profile) => Whose::Profile(profile.to_owned()),
            None => Whose::One(sandbox.to_owned()),
        };
        Self([totals.join(own), totals.join(Whose::All)])
    }

    /// What a sandbox's documents say holds for all with which it shares them. Who has a place
    /// keeps it.
    pub fn limit(&self, rules: &Ruleset) {
        for (member, level) in self.0.iter().zip([Level::Owner, Level::Administrator]) {
            member.group.limit(rules.total(level));
        }
    }

    /// Its shares of the bytes that leave.
    pub fn out(&self) -> [Share; 2] {
        self.0.each_ref().map(|member| member.group.out.share())
    }

    /// The same of those that come.
    pub fn back(&self) -> [Share; 2] {
        self.0.each_ref().map(|member| member.group.back.share())
    }

    /// A place in each, once there is one.
    pub async fn places(&self) -> [Place; 2] {
        let [own, all] = &self.0;
        let own = own.group.places.take().await;
        [own, all.group.places.take().await]
    }

    /// The first in which there is no place.
    pub fn full(&self) -> Option<&Member> {
        let mut members = self.0.iter();
        members.find(|member| member.group.places.is_full())
    }

    /// Returns when one more may come.
    ///
    /// # Errors
    /// Of which it did not have its turn until then.
    pub async fn arrive(&self, until: Instant) -> Result<(), &Member> {
        for member in &self.0 {
            let entered = member.arrivals.enter(until).await;
            entered.map_err(|TooLate| member)?;
        }
        Ok(())
    }
}

/// As words name it: `the profile lab's total`.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("the administrator's total"),
            Self::Profile(name) => write!(f, "the profile {name}'s total"),
            Self::One(_) => f.write_str("the owner's total"),
        }
    }
}

impl Whose {
    /// Where it is written.
    pub fn place(&self) -> &'static str {
        match self {
            Self::All => "[total] of the administrator's rules",
            Self::Profile(_) => "[egress.total] of the profile",
            Self::One(_) => "[total] of the owner's rules",
        }
    }
}

/// Locks plain data, in which nothing is half done when somebody panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lakekeep_egress_rules::EgressDoc;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    /// The documents of a sandbox.
    fn rules(owner: &str, administrator: &str) -> Ruleset {
        let read = |level, total: &str| {
            let text = format!("version = 1\n[total]\n{total}\n");
            Ruleset::check(level, &EgressDoc::from_toml("t", &text).unwrap()).unwrap()
        };
        let owner = read(Level::Owner, owner);
        owner.bounded_by(&read(Level::Administrator, administrator))
    }

    async fn place(together: &Together) -> Option<[Place; 2]> {
        tokio::time::timeout(SOON, together.places()).await.ok()
    }

    #[tokio::test]
    async fn a_profiles_sandboxes_have_their_places_together_and_others_have_theirs() {
        let totals = Arc::default();
        let [a, b] = ["a", "b"].map(|id| Together::join(&totals, id, Some("lab")));
        let other = Together::join(&totals, "c", Some("other"));
        a.limit(&rules("connections = 2", ""));
        let (first, second) = (place(&a).await.unwrap(), place(&b).await.unwrap());
        assert!(place(&a).await.is_none() && place(&b).await.is_none());
        assert_eq!(
            b.full().unwrap().whose().to_string(),
            "the profile lab's total"
        );
        assert!(other.full().is_none() && place(&other).await.is_some());
        drop(first);
        let third = place(&b).await.unwrap();
        // Nobody has had to go, and nobody comes before enough have.
        b.limit(&rules("connections = 1", ""));
        drop(second);
        assert!(place(&a).await.is_none());
        drop(third);
        assert!(place(&a).await.is_some());
        a.limit(&rules("", ""));
        assert!(a.full().is_none());
    }

    #[tokio::test]
    async fn the_administrators_total_is_of_all_profiles() {
        let totals = Arc::default();
        let [a, b] = ["lab", "other"].map(|name| Together::join(&totals, name, Some(name)));
        a.limit(&rules("", "connections = 1\nnew_per_second = 1"));
        let held = place(&a).await.unwrap();
        assert!(place(&b).await.is_none());
        assert_eq!(*b.full().unwrap().whose(), Whose::All);
        drop(held);
        assert!(place(&b).await.is_some());
        // The first waits for most of a second, and the other one for its turn.
        let until = || Instant::now() + SOON;
        let (first, late) = tokio::join!(a.arrive(until()), b.arrive(until()));
        assert!(first.is_ok());
        assert_eq!(late.unwrap_err().total().new_per_second, Some(1));
    }

    #[test]
    fn what_is_had_together_goes_with_the_last_who_has_it() {
        let totals: Arc<Totals> = Arc::default();
        let count = || lock(&totals.0).len();
        let one = Together::join(&totals, "a", Some("lab"));
        let two = Together::join(&totals, "b", Some("lab"));
        let alone = Together::join(&totals, "c", None);
        assert_eq!(count(), 3);
        one.limit(&rules("connections = 1", ""));
        drop((one, alone));
        assert_eq!(two.0[0].total().connections, Some(1));
        assert_eq!(count(), 2);
        drop(two);
        assert_eq!(count(), 0);
        // Whoever comes then finds nothing of it.
        let next = Together::join(&totals, "d", Some("lab"));
        assert!(next.0[0].total().is_unlimited());
    }
}
