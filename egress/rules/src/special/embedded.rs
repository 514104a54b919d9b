//! IPv4 addresses that travel within IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 addresses that reaching `address` may mean, beside itself: of a mapped,
/// compatible, translated, 6to4, Teredo (server and client), NAT64 or ISATAP address.
pub fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = address else {
        return Vec::new();
    };
    let mut found = match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => vec![low_bits(v6)],
        // The unspecified address and loopback are no IPv4 of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        [0, 0, 0, 0, 0, 0, ..] => vec![low_bits(v6)],
        // IPv4-translated (RFC 2765), deprecated.
        [0, 0, 0, 0, 0xffff, 0, ..] => vec![low_bits(v6)],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![low_bits(v6)],
        [0x64, 0xff9b, 1, ..] => local_nat64(v6),
        [0x2002, high, low, ..] => vec![joined(high, low)],
        // The client's address is stored with its bits inverted (RFC 4380, 4).
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            vec![joined(high, low), joined(!client_high, !client_low)]
        }
        _ => Vec::new(),
    };
    found.extend(isatap(v6));
    found
}

/// The IPv4 address of an ISATAP interface identifier, `::0:5efe:a.b.c.d` or with the
/// universal bit, in any /64 (RFC 5214, 6.1).
pub(super) fn isatap(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(low_bits(v6)),
        _ => None,
    }
}

/// Which prefix length below 64:ff9b:1::/48 a network uses cannot be known: every place at
/// which RFC 6052 (2.2) puts the address; the octet at bits 64 to 71 is skipped.
fn local_nat64(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let [_, _, _, _, _, _, a, b, _, c, d, e, f, g, h, i] = v6.octets();
    let at_48 = Ipv4Addr::new(a, b, c, d);
    let at_56 = Ipv4Addr::new(b, c, d, e);
    let at_64 = Ipv4Addr::new(c, d, e, f);
    let at_96 = Ipv4Addr::new(f, g, h, i);
    vec![at_48, at_56, at_64, at_96]
}

fn low_bits(v6: Ipv6Addr) -> Ipv4Addr {
    let [.., high, low] = v6.segments();
    joined(high, low)
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
