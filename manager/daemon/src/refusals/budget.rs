//! How many refusals are written one by one, and what is kept of the others: a count.
//!
//! Pure: the time is an argument. Everything is bounded, whatever is asked: sources,
//! kinds of refusals of each, and how often a source causes a line.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Refusals of one source that are written one by one; each of them comes back after
/// [`SOURCE_EVERY`].
const SOURCE_BURST: u32 = 128;
const SOURCE_EVERY: Duration = Duration::from_secs(2);

/// The same for all together of whom nobody knows who they are.
const STRANGERS_BURST: u32 = 512;
const STRANGERS_EVERY: Duration = Duration::from_millis(500);

/// Most sources that are told apart, and most kinds of refusals of one.
const MOST_SOURCES: usize = 512;
const MOST_KINDS: usize = 16;

/// Who is held to account for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Somebody who is authenticated.
    User(String),
    /// A user number of the host's that is nobody here.
    Uid(u32),
    /// An address; of IPv6 the network, of which one machine has all addresses.
    Network(IpAddr),
    /// Everybody for whom there is no place.
    Others,
}

impl Source {
    /// The network of an address.
    pub fn network(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & (u128::MAX << 64);
                Self::Network(IpAddr::V6(network.into()))
            }
            v4 => Self::Network(v4),
        }
    }

    fn is_stranger(&self) -> bool {
        !matches!(self, Self::User(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Network(address @ IpAddr::V6(_)) => write!(f, "{address}/64"),
            Self::Network(address) => write!(f, "{address}"),
            Self::Others => f.write_str("others"),
        }
    }
}

/// What is alike: who, what, why in one word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub who: String,
    pub action: String,
    pub code: String,
}

/// Refusals that were not written one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<T> {
    /// The last of them.
    pub last: T,
    /// How many.
    pub count: u64,
    /// When the first one came.
    pub since: Duration,
    /// They are not all of the last one's kind.
    pub various: bool,
}

/// So many at once, and one more each time.
#[derive(Debug)]
struct Bucket {
    left: u32,
    most: u32,
    every: Duration,
    filled: Duration,
}

impl Bucket {
    fn full(most: u32, every: Duration, now: Duration) -> Self {
        Self {
            left: most,
            most,
            every,
            filled: now,
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled);
        let more = passed.as_millis() / self.every.as_millis().max(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(self.most);
        self.filled += self.every.saturating_mul(more);
        if self.left == self.most {
            self.filled = now;
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        self.fill(now);
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }

    fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.left == self.most
    }
}

#[derive(Debug)]
struct Account<T> {
    bucket: Bucket,
    counted: BTreeMap<Kind, Counted<T>>,
}

/// The books.
#[derive(Debug)]
pub struct Budget<T> {
    accounts: BTreeMap<Source, Account<T>>,
    strangers: Bucket,
}

impl<T> Budget<T> {
    /// Nobody was refused yet.
    pub fn new(now: Duration) -> Self {
        Self {
            accounts: BTreeMap::new(),
            strangers: Bucket::full(STRANGERS_BURST, STRANGERS_EVERY, now),
        }
    }

    /// Gives a refusal back that is to be written now; another one is counted.
    pub fn spend(&mut self, now: Duration, source: Source, kind: Kind, what: T) -> Option<T> {
        let room = self.accounts.len() < MOST_SOURCES || self.accounts.contains_key(&source);
        let source = if room { source } else { Source::Others };
        let stranger = source.is_stranger();
        let account = self.accounts.entry(source).or_insert_with(|| Account {
            bucket: Bucket::full(SOURCE_BURST, SOURCE_EVERY, now),
            counted: BTreeMap::new(),
        });
        // What came before is told before.
        let may = account.counted.is_empty()
            && account.bucket.take(now)
            && (!stranger || self.strangers.take(now));
        if may {
            return Some(what);
        }
        account.count(now, kind, what);
        None
    }

    /// What was counted and may be told now, the oldest first.
    pub fn due(&mut self, now: Duration) -> Vec<(Source, Counted<T>)> {
        let mut waiting: Vec<(Duration, Source, Kind)> = Vec::new();
        for (source, account) in &self.accounts {
            let kinds = account.counted.iter();
            waiting.extend(kinds.map(|(kind, some)| (some.since, source.clone(), kind.clone())));
        }
        waiting.sort();
        let mut due = Vec::new();
        for (_, source, kind) in waiting {
            let Some(account) = self.accounts.get_mut(&source) else {
                continue;
            };
            let may =
                account.bucket.take(now) && (!source.is_stranger() || self.strangers.take(now));
            let told = may.then(|| account.counted.remove(&kind)).flatten();
            due.extend(told.map(|told| (source, told)));
        }
        self.accounts
            .retain(|_, account| !account.counted.is_empty() || !account.bucket.is_full(now));
        due
    }

    /// Everything that was counted, at the end.
    pub fn rest(&mut self) -> Vec<(Source, Counted<T>)> {
        let accounts = std::mem::take(&mut self.accounts).into_iter();
        let rest = accounts.flat_map(|(source, account)| {
            let counted = account.counted.into_values();
            counted.map(move |some| (source.clone(), some))
        });
        rest.collect()
    }
}

impl<T> Account<T> {
    fn count(&mut self, now: Duration, kind: Kind, what: T) {
        let room = self.counted.len() < MOST_KINDS;
        if room || self.counted.contains_key(&kind) {
            let some = self.counted.entry(kind).or_insert(Counted {
                last: what,
                count: 0,
                since: now,
                various: false,
            });
            some.count = some.count.saturating_add(1);
        } else if let Some(mut some) = self.counted.last_entry() {
            let some = some.get_mut();
            some.last = what;
            some.count = some.count.saturating_add(1);
            some.various = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn kind(number: u64) -> Kind {
        Kind {
            who: "?".to_owned(),
            action: format!("a{number}"),
            code: "DENIED".to_owned(),
        }
    }

    fn network(number: u32) -> Source {
        Source::network(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_flood_of_one_source_is_a_burst_and_then_a_count() {
        let mut budget = Budget::new(START);
        let written = (0..1_000_000_u32)
            .filter(|number| budget.spend(START, network(1), kind(0), *number).is_some());
        assert_eq!(written.count(), 128);
        assert!(budget.due(START).is_empty());
        let later = START + SOURCE_EVERY;
        let due = budget.due(later);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1.count, 1_000_000 - 128);
        // The next one is counted again: the place was taken by the count.
        assert!(budget.spend(later, network(1), kind(0), 0).is_none());
        // Somebody else is not held to account for it.
        let other = Source::User("alice".to_owned());
        assert!(budget.spend(later, other, kind(0), 0).is_some());
    }

    #[test]
    fn many_strangers_together_are_bounded_and_users_are_not_held_up() {
        let mut budget = Budget::new(START);
        let mut written = 0;
        let mut lines = 0;
        for second in 0..60 {
            let now = START + Duration::from_secs(second);
            for number in 0..1000 {
                let spent = budget.spend(now, network(number), kind(second), ());
                written += usize::from(spent.is_some());
            }
            lines += budget.due(now).len();
            assert!(budget.accounts.len() <= MOST_SOURCES + 1);
            for account in budget.accounts.values() {
                assert!(account.counted.len() <= MOST_KINDS);
            }
            let user = Source::User(format!("user{second}"));
            // There may be no place of their own for them, but they are not strangers.
            if budget.accounts.len() < MOST_SOURCES {
                assert!(budget.spend(now, user, kind(0), ()).is_some());
            }
        }
        assert!(written + lines <= 512 + 2 * 60, "{written} and {lines}");
    }

    #[test]
    fn nothing_that_was_counted_is_forgotten() {
        let mut budget = Budget::new(START);
        let mut written = 0;
        for number in 0..10_000_u32 {
            let kind = kind(u64::from(number % 40));
            let spent = budget.spend(START, network(number % 700), kind, ());
            written += u64::from(spent.is_some());
        }
        let due = budget.due(START + Duration::from_secs(60));
        let rest = budget.rest();
        let counted: u64 = due.iter().chain(&rest).map(|(_, some)| some.count).sum();
        assert_eq!(written + counted, 10_000);
        assert!(rest.iter().any(|(_, some)| some.various));
        assert!(budget.rest().is_empty());
    }

    #[test]
    fn who_is_quiet_is_forgotten() {
        let mut budget = Budget::new(START);
        assert!(budget.spend(START, network(1), kind(0), ()).is_some());
        assert!(budget.due(START).is_empty());
        assert_eq!(budget.accounts.len(), 1);
        assert!(budget.due(START + SOURCE_EVERY).is_empty());
        assert!(budget.accounts.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |text: &str| Source::network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
