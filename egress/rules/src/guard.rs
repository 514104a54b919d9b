//! Addresses to which no name may lead, this host's own among them.

use core::net::IpAddr;
use std::collections::HashSet;

use crate::special::{Special, embedded, special};

/// What is known of the host, against which resolved addresses are held.
///
/// It holds in every mode: `off` lifts rules and not the guard.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    own: HashSet<IpAddr>,
}

/// A guarded address: the destination itself, or an IPv4 address that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The address that is special.
    pub address: IpAddr,
    /// What it is.
    pub special: Special,
}

impl Guard {
    /// A guard of a host that has these addresses, of whatever interface.
    pub fn new(own: impl IntoIterator<Item = IpAddr>) -> Guard {
        Guard {
            own: own
                .into_iter()
                .map(|address| address.to_canonical())
                .collect(),
        }
    }

    /// Everything special about an address and about what it carries; nothing of a host
    /// of the public internet.
    pub fn findings(&self, address: IpAddr) -> Vec<Guarded> {
        let carried = embedded(address).into_iter().map(IpAddr::V4);
        let mut all = vec![address.to_canonical()];
        all.extend(carried.filter(|carried| *carried != address.to_canonical()));
        let found = |address| {
            self.special(address)
                .map(|special| Guarded { address, special })
        };
        all.into_iter().filter_map(found).collect()
    }

    /// The host's own address is that before it is private; but a metadata address is that
    /// wherever it is configured.
    fn special(&self, address: IpAddr) -> Option<Special> {
        match special(address) {
            Some(never) if !never.may_be_named() => Some(never),
            _ if self.own.contains(&address) => Some(Special::OwnHost),
            other => other,
        }
    }
}
