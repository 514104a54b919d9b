//! Addresses that are not a host of the public internet, and those that hide another.
//!
//! Sources: the IANA special-purpose registries (RFC 6890 and its updates), the cloud
//! providers' documentation of their metadata services, and for transition addresses
//! RFC 4291 2.5.5 (mapped, compatible), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 6052 and
//! RFC 8215 (NAT64), RFC 5214 (ISATAP).

mod embedded;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use crate::cidr::{Cidr, masked};

pub use embedded::embedded;

/// Why an address is not reached because a name leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Special {
    /// The metadata service of a cloud: the host's own credentials.
    Metadata,
    /// "This network", the unspecified address: the kernel takes it for the host itself.
    Unspecified,
    /// The host's loopback.
    Loopback,
    /// One of the host's own addresses.
    OwnHost,
    /// Private use (RFC 1918).
    Private,
    /// Shared with the provider's network (RFC 6598).
    Shared,
    /// The link alone.
    LinkLocal,
    /// Unique local (RFC 4193).
    UniqueLocal,
    /// Site local, deprecated (RFC 3879).
    SiteLocal,
    /// Multicast.
    Multicast,
    /// Limited broadcast.
    Broadcast,
    /// Reserved, or given to a protocol.
    Reserved,
    /// Documentation.
    Documentation,
    /// Benchmarking (RFC 2544); the sandbox's own fake addresses are of it.
    Benchmarking,
    /// IPv6 that carries an IPv4 address past an IPv4 rule.
    Transition,
}

impl Special {
    /// Whether a rule that names the address reaches it. The others are no host that
    /// anybody could mean, or the host's own credentials.
    pub fn may_be_named(self) -> bool {
        !matches!(
            self,
            Special::Metadata
                | Special::Unspecified
                | Special::Multicast
                | Special::Broadcast
                | Special::Reserved
                | Special::Transition
        )
    }

    /// In words, to follow "is".
    pub fn as_str(self) -> &'static str {
        match self {
            Special::Metadata => "a cloud's metadata service",
            Special::Unspecified => "no host's address",
            Special::Loopback => "the host's loopback",
            Special::OwnHost => "an address of the host itself",
            Special::Private => "private",
            Special::Shared => "shared address space of a provider",
            Special::LinkLocal => "link-local",
            Special::UniqueLocal => "unique local",
            Special::SiteLocal => "site local",
            Special::Multicast => "multicast",
            Special::Broadcast => "broadcast",
            Special::Reserved => "reserved",
            Special::Documentation => "for documentation",
            Special::Benchmarking => "for benchmarks",
            Special::Transition => "IPv6 that carries an IPv4 address",
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A block, its first address in bits, and what it is. The first that holds an address
/// tells what it is, so the narrower stand first.
type Row<A> = (A, u8, Special);

const V4: &[Row<Ipv4Addr>] = &[
    // AWS, Azure, GCP, Oracle, DigitalOcean, OpenStack.
    (Ipv4Addr::new(169, 254, 169, 254), 32, Special::Metadata),
    // AWS: resolver, time; ECS task and EKS pod credentials.
    (Ipv4Addr::new(169, 254, 169, 253), 32, Special::Metadata),
    (Ipv4Addr::new(169, 254, 170, 2), 32, Special::Metadata),
    (Ipv4Addr::new(169, 254, 170, 23), 32, Special::Metadata),
    // Scaleway.
    (Ipv4Addr::new(169, 254, 42, 42), 32, Special::Metadata),
    // Alibaba; Oracle's older one; Azure's host agent, a public address.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Special::Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Special::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Special::Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Special::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Special::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Special::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Special::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Special::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Special::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Special::Documentation),
    // 6to4 relay anycast, AS112, AMT: deprecated or infrastructure.
    (Ipv4Addr::new(192, 88, 99, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Special::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Special::Benchmarking),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Special::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Special::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Special::Multicast),
    (Ipv4Addr::new(255, 255, 255, 255), 32, Special::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Special::Reserved),
];

const V6: &[Row<Ipv6Addr>] = &[
    // AWS: metadata, resolver, time, EKS pod credentials; GCP.
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
        Special::Metadata,
    ),
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
        128,
        Special::Metadata,
    ),
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
        128,
        Special::Metadata,
    ),
    (
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
        Special::Metadata,
    ),
    // Scaleway.
    (
        Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
        128,
        Special::Metadata,
    ),
    (Ipv6Addr::UNSPECIFIED, 128, Special::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    // Mapped addresses are looked at as IPv4 before; what is left of these is compatible.
    (Ipv6Addr::UNSPECIFIED, 96, Special::Transition),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        96,
        Special::Transition,
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        Special::Transition,
    ),
    (
        Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0),
        64,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0),
        64,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        32,
        Special::Transition,
    ),
    (
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0),
        48,
        Special::Benchmarking,
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Special::Documentation,
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        Special::Transition,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Special::Documentation,
    ),
    (
        Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0),
        16,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Special::UniqueLocal,
    ),
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::LinkLocal,
    ),
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::SiteLocal,
    ),
    (
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
        Special::Multicast,
    ),
];

/// Global unicast: IANA gives out nothing beyond it.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// The well-known prefix of NAT64, which lies outside of it.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What is special about one address itself, whatever it carries; `None` for a host of the
/// public internet. IPv4-mapped addresses are the address that they map.
pub fn special(address: IpAddr) -> Option<Special> {
    match address.to_canonical() {
        IpAddr::V4(v4) => first_of(V4, v4.into()),
        IpAddr::V6(v6) => first_of(V6, v6.into()).or_else(|| outside_of_global(v6)),
    }
}

fn first_of<A: Copy + Into<IpAddr>>(rows: &[Row<A>], address: IpAddr) -> Option<Special> {
    let holds = |row: &&Row<A>| masked(address, row.1) == row.0.into();
    rows.iter().find(holds).map(|row| row.2)
}

/// A NAT64 address of the well-known prefix is the IPv4 address that it carries, which is
/// looked at beside it; another ISATAP interface could be anywhere.
fn outside_of_global(v6: Ipv6Addr) -> Option<Special> {
    let within = |block: (Ipv6Addr, u8)| masked(v6.into(), block.1) == IpAddr::V6(block.0);
    if within(NAT64) {
        return None;
    }
    if embedded::isatap(v6).is_some() {
        return Some(Special::Transition);
    }
    (!within(GLOBAL_V6)).then_some(Special::Reserved)
}

/// Whether all of a block is of one special kind, so that whoever wrote it meant that
/// kind: `10.0.0.0/8` is, `0.0.0.0/0` is not.
pub(crate) fn is_special_block(block: &Cidr) -> bool {
    let within = |start: IpAddr, length: u8| {
        Cidr::new(start, length).is_some_and(|special| special.covers(block))
    };
    V4.iter().any(|row| within(row.0.into(), row.1))
        || V6.iter().any(|row| within(row.0.into(), row.1))
}
