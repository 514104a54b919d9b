//! Addresses and blocks of addresses, in their one written form.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// A block of addresses whose bits beyond the prefix are zero.
///
/// A block below `::ffff:0:0/96` is kept as the IPv4 block that it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Why a text is not an address or a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address in its one written form.
    #[error(
        "not an address; write IPv4 as four decimal numbers without leading zeros, such as 192.0.2.1, \
         and IPv6 as in 2001:db8::1, without a zone"
    )]
    Address,
    /// The text after the slash is not a prefix length of that family.
    #[error("not a prefix length; write a number from 0 to {0}")]
    Length(u8),
    /// Bits are set that the prefix does not cover: one of the two is a mistake.
    #[error("the address has bits beyond the prefix; write {0}")]
    HostBits(Cidr),
}

impl Cidr {
    /// The block of one address.
    pub fn host(address: IpAddr) -> Cidr {
        let address = address.to_canonical();
        Cidr {
            address,
            length: width(address),
        }
    }

    /// The block with this prefix; `None` if the prefix is longer than an address or does
    /// not cover all bits that are set.
    pub fn new(address: IpAddr, length: u8) -> Option<Cidr> {
        if length > width(address) || masked(address, length) != address {
            return None;
        }
        let canonical = address.to_canonical();
        let shorter = width(address) - width(canonical);
        match length.checked_sub(shorter) {
            Some(length) => Some(Cidr {
                address: canonical,
                length,
            }),
            None => Some(Cidr { address, length }),
        }
    }

    /// Reads an address, or an address, a slash and a prefix length.
    ///
    /// # Errors
    ///
    /// [`CidrError`] if it is neither, in the one form in which it is written.
    pub fn parse(text: &str) -> Result<Cidr, CidrError> {
        let (address, length) = match text.split_once('/') {
            None => {
                return parse_address(text)
                    .map(Cidr::host)
                    .ok_or(CidrError::Address);
            }
            Some(parts) => parts,
        };
        let address = parse_address(address).ok_or(CidrError::Address)?;
        let most = width(address);
        let length = parse_number(length)
            .and_then(|length| u8::try_from(length).ok())
            .filter(|length| *length <= most)
            .ok_or(CidrError::Length(most))?;
        let network = masked(address, length);
        let block = Cidr::new(network, length).ok_or(CidrError::Length(most))?;
        if network == address {
            Ok(block)
        } else {
            Err(CidrError::HostBits(block))
        }
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix, in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address is in the block. An IPv4-mapped address is the one it maps.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }

    /// Whether all of `other` is in this block.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

/// Reads an address in its one written form. Decimal, octal, hexadecimal and shortened
/// IPv4 forms, and IPv6 zones, are no addresses here.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// Reads digits without a sign and without leading zeros.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded {
        text.parse().ok()
    } else {
        None
    }
}

/// Bits of an address of that family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits beyond the prefix cleared.
pub(crate) fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}
