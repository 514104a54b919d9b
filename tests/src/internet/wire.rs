//! What the host sends, as it passes on the link (packet(7)): also what no server hears.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use lakekeep_sys::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, sockopt};

/// The host's end of the link.
pub(super) const HOST_MAC: &str = "02:00:00:00:00:01";
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// `ETH_P_ALL`, in the network's order (packet(7)).
const EVERY: u32 = 0x0003_u16.to_be() as u32;

const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_LITE: u8 = 136;

/// A tap on the link between the host and its Internet.
#[derive(Debug)]
pub struct Wire(OwnedFd);

/// A packet of the host's that opens something or says something.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes.
    pub to: IpAddr,
    /// The number of its protocol (IANA).
    pub protocol: u8,
    /// The ports that it comes from and goes to; zeros for a protocol without.
    pub ports: (u16, u16),
    /// What follows the header of a TCP segment; of others, what follows that of IP.
    pub payload: Vec<u8>,
}

impl Wire {
    /// In the calling thread's network.
    pub(super) fn tap() -> Result<Self, Errno> {
        let every = NonZeroU32::new(EVERY).map(Protocol::from_raw);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let tap = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, every)?;
        sockopt::set_socket_recv_buffer_size_force(&tap, 16 << 20)?;
        Ok(Self(tap))
    }

    /// What was sent since it was asked last. A link of two ends in one kernel delivers within
    /// the call that sends, so nothing of an ended process is on its way.
    ///
    /// # Errors
    /// Of recv(2).
    pub fn sent(&self) -> Result<Vec<Packet>, Errno> {
        let (mut packets, mut buffer) = (Vec::new(), vec![0_u8; 1 << 16]);
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) => packets.extend(buffer.get(..read).and_then(Packet::read)),
                Err(Errno::AGAIN) => return Ok(packets),
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Packet {
    /// Of a frame; `None` where the frame is not the host's, finds neighbours or groups, or
    /// only goes on with a connection: of one that has ended such may come late.
    fn read(frame: &[u8]) -> Option<Self> {
        if frame.get(6..12)? != HOST {
            return None;
        }
        let kind = number(frame, 12)?;
        let packet = frame.get(14..)?;
        let (to, protocol, body) = match kind {
            0x0800 => four(packet)?,
            0x86dd => six(packet)?,
            0x0806 => return None,
            // Nothing else is sent by the host's own kernel.
            _ => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), u8::MAX, packet),
        };
        let ports = match protocol {
            TCP | UDP | UDP_LITE => (number(body, 0)?, number(body, 2)?),
            _ => (0, 0),
        };
        let payload = match protocol {
            TCP => said(body)?,
            _ => body,
        };
        Some(Self {
            to,
            protocol,
            ports,
            payload: payload.to_vec(),
        })
    }

    /// Whether it is a segment of TCP to there.
    #[must_use]
    pub fn is_tcp_to(&self, to: IpAddr, port: u16) -> bool {
        self.protocol == TCP && self.to == to && self.ports.1 == port
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.payload.get(..64).unwrap_or(&self.payload);
        let Self {
            to,
            protocol,
            ports: (from, port),
            ..
        } = self;
        let said = start.escape_ascii();
        write!(f, "{protocol} from {from} to {to} port {port}: {said}")
    }
}

/// What was said in each: TCP's streams as wholes, for words may be spread over segments.
#[must_use]
pub fn sayings(packets: &[Packet]) -> Vec<Vec<u8>> {
    let mut streams: BTreeMap<(IpAddr, (u16, u16)), Vec<u8>> = BTreeMap::new();
    let mut others = Vec::new();
    for packet in packets {
        match packet.protocol {
            TCP => streams
                .entry((packet.to, packet.ports))
                .or_default()
                .extend(&packet.payload),
            _ => others.push(packet.payload.clone()),
        }
    }
    others.extend(streams.into_values());
    others
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Destination, protocol and what follows the header, of IPv4.
fn four(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let header = usize::from(*packet.first()? & 0xf) * 4;
    let length = usize::from(number(packet, 2)?);
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let body = packet.get(header..length)?;
    Some((to.into(), *packet.get(9)?, body))
}

/// The same of IPv6; `None` for what a kernel says to its neighbours by itself.
fn six(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    const ICMP: u8 = 58;
    const HOP_BY_HOP: u8 = 0;
    const NEIGHBOURS: std::ops::RangeInclusive<u8> = 133..=137;
    const GROUPS: [u8; 2] = [131, 143];
    let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    let (protocol, body) = (*packet.get(6)?, packet.get(40..)?);
    let icmp = match protocol {
        ICMP => body.first(),
        HOP_BY_HOP if body.first() == Some(&ICMP) => body.get(8),
        _ => None,
    };
    if icmp.is_some_and(|kind| NEIGHBOURS.contains(kind) || GROUPS.contains(kind)) {
        return None;
    }
    Some((Ipv6Addr::from(to).into(), protocol, body))
}

/// What a segment says; `None` of one that neither opens a connection nor says anything.
fn said(segment: &[u8]) -> Option<&[u8]> {
    const SYN: u8 = 2;
    let header = usize::from(*segment.get(12)? >> 4) * 4;
    let says = segment.get(header..)?;
    (segment.get(13)? & SYN != 0 || !says.is_empty()).then_some(says)
}
