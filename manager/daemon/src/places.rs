//! How many connections there may be, all together and from one peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::refusals::Source;
use crate::sandbox::lock;

/// Places for connections.
#[derive(Debug, Clone)]
pub struct Places<Peer: Ord = Source> {
    bounds: Bounds,
    taken: Taken<Peer>,
}

type Taken<Peer> = Arc<Mutex<BTreeMap<Peer, usize>>>;

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// For one peer.
    pub one: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// For anybody.
    #[error("{0} connections are open, and no more may be; come again when some have ended")]
    All(usize),
    /// For this peer.
    #[error("{0} connections of this peer are open, and no more may be; end some of them")]
    Peer(usize),
}

/// A place. Dropped, it is given back.
#[derive(Debug)]
pub struct Place<Peer: Ord + Clone = Source> {
    peer: Peer,
    taken: Taken<Peer>,
}

impl<Peer: Ord + Clone> Places<Peer> {
    /// All are free.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            taken: Arc::default(),
        }
    }

    /// One of them, for this peer.
    ///
    /// # Errors
    /// [`Full`]: there is none.
    pub fn take(&self, peer: Peer) -> Result<Place<Peer>, Full> {
        let mut taken = lock(&self.taken);
        let Bounds { all, one } = self.bounds;
        if taken.get(&peer).is_some_and(|count| *count >= one) {
            return Err(Full::Peer(one));
        }
        if taken.values().sum::<usize>() >= all {
            return Err(Full::All(all));
        }
        *taken.entry(peer.clone()).or_default() += 1;
        drop(taken);
        Ok(Place {
            peer,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl<Peer: Ord + Clone> Drop for Place<Peer> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        let left = taken.get(&self.peer).map_or(0, |count| count - 1);
        match left {
            0 => taken.remove(&self.peer),
            left => taken.insert(self.peer.clone(), left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Source {
        Source::network(text.parse().unwrap())
    }

    #[test]
    fn one_peer_does_not_take_the_others_places() {
        let places = Places::new(Bounds { all: 3, one: 2 });
        let (a, b) = (|| address("10.0.0.1"), || Source::Uid(7));
        let mut hers = vec![places.take(a()).unwrap(), places.take(a()).unwrap()];
        assert_eq!(places.take(a()).unwrap_err(), Full::Peer(2));
        let his = places.take(b()).unwrap();
        assert_eq!(places.take(b()).unwrap_err(), Full::All(3));
        hers.pop();
        let again = places.take(b()).unwrap();
        drop((hers, his, again));
        assert!(lock(&places.taken).is_empty());
    }

    #[test]
    fn a_machine_s_many_addresses_are_one_peer() {
        let places = Places::new(Bounds { all: 9, one: 1 });
        let _held = places.take(address("2001:db8::1")).unwrap();
        let same = places.take(address("2001:db8::2"));
        assert_eq!(same.unwrap_err(), Full::Peer(1));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
        let _v4 = places.take(address("10.0.0.1")).unwrap();
        let mapped = places.take(address("::ffff:10.0.0.1"));
        assert_eq!(mapped.unwrap_err(), Full::Peer(1));
    }
}
