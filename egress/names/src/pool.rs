//! The addresses that names get in one sandbox.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::HashMap;

use lakekeep_egress_rules::HostName;

/// Most names of one sandbox: what half of 198.18.0.0/15 holds.
pub const MAX_NAMES: u32 = 65_536;
/// An address of the pool that is no name's: for the sandbox's list of resolvers.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The first address of a name; those before it are for the sandbox's own services.
const FIRST: u32 = 256;
/// Where the first name's address may be: behind it there is room for all.
const STARTS: u64 = (1 << 17) - FIRST as u64 - MAX_NAMES as u64;
const POOL_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Names and their addresses, each of which stays the other's while the sandbox lives.
///
/// Nothing is ever taken out: an address that was one name's must not become another's
/// while a client may remember it. Full is full, and is told. Where another relay takes over,
/// with a prefix of its own, it begins elsewhere: an IPv4 address that a client remembers from
/// before is most likely nobody's then.
#[derive(Debug)]
pub struct FakeNames {
    numbers: HashMap<HostName, u32>,
    names: Vec<HostName>,
    prefix: u64,
    /// Number of the first name's address.
    start: u32,
    most: u32,
}

/// Why a name gets no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The prefix is not unique local.
    #[error(
        "{0} is not a unique local prefix of 64 bits; give one of fd00::/8 with zeros behind it"
    )]
    Prefix(Ipv6Addr),
    /// There are as many names as there may be.
    #[error("the sandbox has asked for {0} names already; raise limits.names, or ask for fewer")]
    Full(u32),
}

impl FakeNames {
    /// At most `most` names (not more than [`MAX_NAMES`]), with IPv6 addresses of this
    /// /64, which should be another in each sandbox.
    ///
    /// # Errors
    ///
    /// [`PoolError::Prefix`] if it is not of fd00::/8 or has bits beyond its 64.
    pub fn new(prefix: Ipv6Addr, most: u32) -> Result<FakeNames, PoolError> {
        let bits = prefix.to_bits();
        if prefix.octets()[0] != 0xfd || bits as u64 != 0 {
            return Err(PoolError::Prefix(prefix));
        }
        let prefix = (bits >> 64) as u64;
        Ok(FakeNames {
            numbers: HashMap::new(),
            names: Vec::new(),
            prefix,
            start: FIRST + (prefix % 0x1_0000 % STARTS) as u32,
            most: most.min(MAX_NAMES),
        })
    }

    /// At most so many from here on.
    pub(crate) fn limit(&mut self, most: u32) {
        self.most = most.min(MAX_NAMES);
    }

    /// An IPv6 address that is no name's: for the sandbox's list of resolvers.
    pub fn resolver_v6(&self) -> Ipv6Addr {
        self.v6(1)
    }

    /// The addresses of a name that has some.
    pub fn addresses(&self, name: &HostName) -> Option<(Ipv4Addr, Ipv6Addr)> {
        self.numbers.get(name).map(|number| self.pair(*number))
    }

    /// The addresses of a name, which it gets if it has none.
    ///
    /// # Errors
    ///
    /// [`PoolError::Full`] if no further name gets any.
    pub fn assign(&mut self, name: &HostName) -> Result<(Ipv4Addr, Ipv6Addr), PoolError> {
        if let Some(known) = self.addresses(name) {
            return Ok(known);
        }
        let number = self.names.len() as u32;
        if number >= self.most {
            return Err(PoolError::Full(self.most));
        }
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        Ok(self.pair(number))
    }

    /// The name whose address this is.
    pub fn name(&self, address: IpAddr) -> Option<&HostName> {
        let offset = match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_bits().checked_sub(POOL_V4.to_bits())?,
            IpAddr::V6(v6) if (v6.to_bits() >> 64) as u64 == self.prefix => {
                u32::try_from(v6.to_bits() as u64).ok()?
            }
            IpAddr::V6(_) => return None,
        };
        self.names.get(offset.checked_sub(self.start)? as usize)
    }

    /// How many names have addresses.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn pair(&self, number: u32) -> (Ipv4Addr, Ipv6Addr) {
        let v4 = Ipv4Addr::from_bits(POOL_V4.to_bits() + self.start + number);
        (v4, self.v6(u64::from(self.start + number)))
    }

    fn v6(&self, host: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(self.prefix) << 64 | u128::from(host))
    }
}
