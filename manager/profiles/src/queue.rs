//! The queue of requests that wait for admission: a pure state machine. Time is
//! an input, so that nothing here reads a clock.
//!
//! - Bounded for each user and in all; each entry has a deadline.
//! - Fair between users: each gets one turn, in a ring, however many entries
//!   wait. First come, first served within one user and profile.
//! - An entry that does not fit holds up nobody of another user or profile;
//!   only when it has been passed over often for want of its *profile's* room
//!   does the profile wait for it, so that a large request is not starved by
//!   small ones. A user at the own quota never holds up others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::names::ProfileName;
use crate::quota::{Admission, Scope, Shortage};

/// Time since any fixed moment, such as the start of the manager.
pub type Moment = Duration;

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Most entries of all users together.
    pub total: usize,
    /// Most entries of one user in all profiles.
    pub per_user: usize,
    /// How often an entry may be passed over within its profile.
    pub patience: u32,
    /// The hint in a refusal, until the queue has measured its own pace.
    pub retry_after: Duration,
}

impl Default for QueueBounds {
    /// 10,000 in all, 1,000 a user, passed over 64 times, a second.
    fn default() -> QueueBounds {
        QueueBounds {
            total: 10_000,
            per_user: 1_000,
            patience: 64,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Names an entry; never used twice by one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Who waits for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<T> {
    /// Names this entry.
    pub ticket: Ticket,
    /// The user whose turn it takes.
    pub user: String,
    /// The profile whose quotas it needs.
    pub profile: ProfileName,
    /// When it came.
    pub since: Moment,
    /// When it is given up.
    pub deadline: Moment,
    /// What is asked for.
    pub ask: T,
    passed_over: u32,
}

/// A request that may not wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueRefusal {
    /// The user has as many waiting as one may.
    #[error(
        "{waiting} requests of user {user} wait already, of {limit} allowed; \
         try again in {} ms, or cancel some", .retry_after.as_millis()
    )]
    UserFull {
        /// The user.
        user: String,
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The profile has as many waiting as it may.
    #[error(
        "{waiting} requests wait for profile {profile} already, of {limit} allowed; \
         try again in {} ms", .retry_after.as_millis()
    )]
    ProfileFull {
        /// The profile.
        profile: ProfileName,
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue is full.
    #[error(
        "{limit} requests wait already, which is all the manager keeps; \
         try again in {} ms", .retry_after.as_millis()
    )]
    Full {
        /// How many may wait.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline is not after the request.
    #[error("the deadline has passed; give a later one")]
    TooLate,
}

impl QueueRefusal {
    /// When to try again; `None` if that would be in vain.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            QueueRefusal::UserFull { retry_after, .. }
            | QueueRefusal::ProfileFull { retry_after, .. }
            | QueueRefusal::Full { retry_after, .. } => Some(*retry_after),
            QueueRefusal::TooLate => None,
        }
    }
}

/// A request to wait.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// The user whose turn it takes.
    pub user: String,
    /// The profile whose quotas it needs.
    pub profile: ProfileName,
    /// When it is given up.
    pub deadline: Moment,
    /// The profile's bounds of waiting requests, of each user and in all
    /// (`quotas.per_user.queued`, `quotas.queued`); `None` for no own bound.
    pub queued: (Option<u64>, Option<u64>),
    /// What is asked for.
    pub ask: T,
}

/// What left the queue in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving<T> {
    /// Admitted: what it asked for has been counted by the caller's closure.
    Admitted(Waiting<T>),
    /// Can never be admitted: the quotas have changed meanwhile.
    Refused(Waiting<T>, Shortage),
}

/// The queue. See the module's documentation for what it promises.
#[derive(Debug)]
pub struct AdmissionQueue<T> {
    bounds: QueueBounds,
    next_ticket: u64,
    /// Users with entries, in the order of their turns; each once.
    ring: VecDeque<String>,
    /// Each user's entries, oldest first; never empty.
    lanes: BTreeMap<String, VecDeque<Waiting<T>>>,
    /// Deadlines, soonest first, with whose lane holds the ticket.
    deadlines: BTreeMap<(Moment, Ticket), String>,
    /// How many wait for each profile.
    profiles: BTreeMap<ProfileName, usize>,
    /// When the last one was admitted, and the smoothed time between two.
    pace: (Option<Moment>, Option<Duration>),
}

impl<T> AdmissionQueue<T> {
    /// An empty queue.
    pub fn new(bounds: QueueBounds) -> AdmissionQueue<T> {
        AdmissionQueue {
            bounds,
            next_ticket: 0,
            ring: VecDeque::new(),
            lanes: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            profiles: BTreeMap::new(),
            pace: (None, None),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// How many of `user`'s wait.
    pub fn waiting_of(&self, user: &str) -> usize {
        self.lanes.get(user).map_or(0, VecDeque::len)
    }

    /// Every entry, by user, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.lanes.values().flatten()
    }

    /// The soonest deadline: when to call [`AdmissionQueue::expire`] next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Puts a request at the end of its user's lane. Call
    /// [`AdmissionQueue::admit`] afterwards: there may be room at once.
    ///
    /// # Errors
    ///
    /// [`QueueRefusal`], with a hint when to try again.
    pub fn enter(&mut self, now: Moment, entry: Entry<T>) -> Result<Ticket, QueueRefusal> {
        self.bounded(now, &entry)?;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Entry {
            user,
            profile,
            deadline,
            ask,
            ..
        } = entry;
        self.deadlines.insert((deadline, ticket), user.clone());
        *self.profiles.entry(profile.clone()).or_default() += 1;
        if !self.lanes.contains_key(&user) {
            self.ring.push_back(user.clone());
        }
        self.lanes
            .entry(user.clone())
            .or_default()
            .push_back(Waiting {
                ticket,
                user,
                profile,
                since: now,
                deadline,
                ask,
                passed_over: 0,
            });
        Ok(ticket)
    }

    fn bounded(&self, now: Moment, entry: &Entry<T>) -> Result<(), QueueRefusal> {
        if entry.deadline <= now {
            return Err(QueueRefusal::TooLate);
        }
        let retry_after = self.retry_after();
        let (own, whole) = entry.queued;
        let own = own.map_or(self.bounds.per_user, |own| {
            at_most(own, self.bounds.per_user)
        });
        let waiting = self.waiting_of(&entry.user);
        if waiting >= own {
            let user = entry.user.clone();
            return Err(QueueRefusal::UserFull {
                user,
                waiting,
                limit: own,
                retry_after,
            });
        }
        let limit = whole.map_or(self.bounds.total, |whole| at_most(whole, self.bounds.total));
        let waiting = self
            .profiles
            .get(&entry.profile)
            .copied()
            .unwrap_or_default();
        if waiting >= limit && limit < self.bounds.total {
            let profile = entry.profile.clone();
            return Err(QueueRefusal::ProfileFull {
                profile,
                waiting,
                limit,
                retry_after,
            });
        }
        if self.len() >= self.bounds.total {
            return Err(QueueRefusal::Full {
                limit: self.bounds.total,
                retry_after,
            });
        }
        Ok(())
    }

    /// The time in which one place becomes free, as measured so far.
    fn retry_after(&self) -> Duration {
        self.pace.1.unwrap_or(self.bounds.retry_after)
    }

    /// Takes an entry out; `None` if it has left already.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        let key = self
            .deadlines
            .keys()
            .find(|(_, other)| *other == ticket)
            .copied()?;
        let user = self.deadlines.get(&key)?.clone();
        self.take(&user, ticket)
    }

    /// Takes out every entry whose deadline is not after `now`, soonest first.
    pub fn expire(&mut self, now: Moment) -> Vec<Waiting<T>> {
        let mut expired = Vec::new();
        while let Some(((deadline, ticket), user)) = self.deadlines.first_key_value() {
            if *deadline > now {
                break;
            }
            let (ticket, user) = (*ticket, user.clone());
            expired.extend(self.take(&user, ticket));
        }
        expired
    }

    /// Admits whoever is next and fits, until nobody fits: call it after every
    /// [`AdmissionQueue::enter`], release, raise of a quota, cancellation and
    /// expiry. `try_admit` looks at one entry, and counts it if it says
    /// [`Admission::Admit`].
    pub fn admit(
        &mut self,
        now: Moment,
        mut try_admit: impl FnMut(&Waiting<T>) -> Admission,
    ) -> Vec<Leaving<T>> {
        let mut leaving = Vec::new();
        loop {
            let before = leaving.len();
            let mut round = Round {
                now,
                reserved: BTreeMap::new(),
                blocked: BTreeSet::new(),
            };
            leaving.extend(self.starving(&mut round, &mut try_admit));
            let users: Vec<String> = self.ring.iter().cloned().collect();
            for user in users {
                if let Some(left) = self.turn(&user, &mut round, &mut try_admit) {
                    leaving.push(left);
                    self.end_turn(&user);
                }
            }
            if leaving.len() == before {
                return leaving;
            }
        }
    }

    /// A user who was served goes to the end of the ring; one who was not keeps
    /// the place.
    fn end_turn(&mut self, user: &str) {
        if let Some(index) = self.ring.iter().position(|other| other == user)
            && let Some(user) = self.ring.remove(index)
        {
            self.ring.push_back(user);
        }
    }

    /// Entries that have been passed over too often come first. Of each
    /// profile, the oldest that still finds no room there reserves it: nobody
    /// else of the profile is admitted before it. One that lacks its own user's
    /// room reserves nothing.
    fn starving(
        &mut self,
        round: &mut Round,
        try_admit: &mut impl FnMut(&Waiting<T>) -> Admission,
    ) -> Vec<Leaving<T>> {
        let patience = self.bounds.patience;
        let starving = self
            .iter()
            .filter(|waiting| waiting.passed_over >= patience);
        let mut starving: Vec<(Ticket, String)> = starving
            .map(|waiting| (waiting.ticket, waiting.user.clone()))
            .collect();
        starving.sort_unstable();
        let mut leaving = Vec::new();
        for (ticket, user) in starving {
            let lane = self.lanes.get(&user).into_iter().flatten();
            let Some(waiting) = lane.into_iter().find(|waiting| waiting.ticket == ticket) else {
                continue;
            };
            if round.reserved.contains_key(&waiting.profile) {
                continue;
            }
            match try_admit(waiting) {
                Admission::Wait(shortage) => {
                    if shortage.scope == Scope::Profile {
                        round.reserved.insert(waiting.profile.clone(), ticket);
                    }
                }
                Admission::Admit => leaving.extend(self.leave(&user, ticket, None, round)),
                Admission::Refuse(short) => {
                    leaving.extend(self.leave(&user, ticket, Some(short), round));
                }
            }
        }
        leaving
    }

    /// One user's turn: the oldest entry of each profile is tried, until one
    /// leaves.
    fn turn(
        &mut self,
        user: &str,
        round: &mut Round,
        try_admit: &mut impl FnMut(&Waiting<T>) -> Admission,
    ) -> Option<Leaving<T>> {
        let mut tried: BTreeSet<&ProfileName> = BTreeSet::new();
        let mut result = None;
        for waiting in self.lanes.get(user)? {
            let reserved = round.reserved.contains_key(&waiting.profile);
            if reserved || !tried.insert(&waiting.profile) {
                continue;
            }
            match try_admit(waiting) {
                Admission::Admit => {
                    result = Some((waiting.ticket, None));
                    break;
                }
                Admission::Refuse(shortage) => {
                    result = Some((waiting.ticket, Some(shortage)));
                    break;
                }
                Admission::Wait(shortage) if shortage.scope == Scope::Profile => {
                    round.blocked.insert(waiting.ticket);
                }
                Admission::Wait(_) => {}
            }
        }
        let (ticket, refused) = result?;
        self.leave(user, ticket, refused, round)
    }

    fn leave(
        &mut self,
        user: &str,
        ticket: Ticket,
        refused: Option<Shortage>,
        round: &Round,
    ) -> Option<Leaving<T>> {
        let waiting = self.take(user, ticket)?;
        Some(match refused {
            Some(shortage) => Leaving::Refused(waiting, shortage),
            None => {
                self.passed_over(&waiting, &round.blocked);
                self.measure(round.now);
                Leaving::Admitted(waiting)
            }
        })
    }

    /// The entries that were tried in this round, did not fit their profile,
    /// and saw `admitted`, a later one of the same profile, go first.
    fn passed_over(&mut self, admitted: &Waiting<T>, blocked: &BTreeSet<Ticket>) {
        if blocked.is_empty() {
            return;
        }
        for waiting in self.lanes.values_mut().flatten() {
            let same = waiting.profile == admitted.profile && waiting.ticket < admitted.ticket;
            if same && blocked.contains(&waiting.ticket) {
                waiting.passed_over = waiting.passed_over.saturating_add(1);
            }
        }
    }

    fn measure(&mut self, now: Moment) {
        let (last, smoothed) = self.pace;
        if let Some(last) = last {
            let between = now.saturating_sub(last);
            let smoothed = smoothed.map_or(between, |smoothed| (smoothed * 7 + between) / 8);
            // A burst says nothing about the next place; keep the hint useful.
            self.pace.1 = Some(smoothed.max(Duration::from_millis(10)));
        }
        self.pace.0 = Some(now);
    }

    fn take(&mut self, user: &str, ticket: Ticket) -> Option<Waiting<T>> {
        let lane = self.lanes.get_mut(user)?;
        let index = lane.iter().position(|waiting| waiting.ticket == ticket)?;
        let waiting = lane.remove(index)?;
        if lane.is_empty() {
            self.lanes.remove(user);
            self.ring.retain(|other| other != user);
        }
        self.deadlines.remove(&(waiting.deadline, ticket));
        if let Some(count) = self.profiles.get_mut(&waiting.profile) {
            *count -= 1;
            if *count == 0 {
                self.profiles.remove(&waiting.profile);
            }
        }
        Some(waiting)
    }
}

/// What one round knows.
struct Round {
    now: Moment,
    /// Profiles that wait for one entry.
    reserved: BTreeMap<ProfileName, Ticket>,
    /// Entries for which their profile has no room.
    blocked: BTreeSet<Ticket>,
}

fn at_most(bound: u64, most: usize) -> usize {
    usize::try_from(bound).map_or(most, |bound| bound.min(most))
}
