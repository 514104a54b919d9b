//! A network without a way out whose every destination is answered: what is sent to any
//! address is local (AnyIP), and arrives at two sockets, made inside, that somebody outside
//! holds.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};

use super::netlink::Batch;
use super::nftables;
use crate::error::{Context, Error};
use crate::process::last_errno;

/// The loopback's number in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// The namespace's own address beside the loopback's, of a range that is nobody's (RFC 2544):
/// getaddrinfo(3) finds no names for a host that has none (`AI_ADDRCONFIG`).
const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// The listener's, which nobody is assigned. It is asked for by number, so that it stays the
/// listener's while that is shut: a port that the kernel chose would be given back
/// (`SOCK_BINDPORT_LOCK`), and the rule that leads there would not know of another. Below 1024,
/// for the code inside may not bind there.
const LISTENER: u16 = 4;

/// Of the way to the listener and back; in every kernel (tcp(7), `tcp_congestion_control`).
pub(super) const CONGESTION_CONTROL: &str = "reno";

/// Most bytes of a segment on the loopback, whose own limit is 512 KiB.
const SEGMENT: u32 = 256 << 10;

/// A route's congestion control (linux/rtnetlink.h).
const RTAX_CC_ALGO: u16 = 16;

/// Where names are asked for.
const DNS: u16 = 53;

/// Where everything arrives that the code in a network namespace sends.
#[derive(Debug)]
pub struct Captured {
    /// A listener for TCP to any address and port but the loopback's: an accepted socket's
    /// own address (getsockname(2)) is the destination that was asked for.
    pub tcp: OwnedFd,
    /// UDP to port 53 of any address; [`super::receive_datagram`] tells which.
    pub udp: OwnedFd,
}

/// Makes all destinations of a network namespace local, of both families where the kernel
/// has both, and has them arrive at the two sockets. The calling thread is in it meanwhile.
///
/// It is the namespace's routes and rules that do it; they belong to the user namespace that
/// owns it, so nobody without capabilities there can touch them.
///
/// # Errors
/// What the kernel refused, and on what; that of the way back outranks the others.
pub fn capture(namespace: impl AsFd) -> Result<Captured, Error> {
    let home = super::current().context("open", "own network namespace")?;
    // A route for all addresses in the host's own network would cut it off.
    let differ = differ(&home, &namespace).context("fstat", "network namespace")?;
    if !differ {
        return Err(Error::new("capture", "own network namespace", Errno::INVAL));
    }
    super::enter(namespace).context("setns", "network namespace")?;
    let captured = capture_here();
    super::enter(&home).context("setns", "own network namespace")?;
    captured
}

/// Shuts the listener, whoever has descriptors of it: what waits there is reset, and what comes is
/// refused at once. A listener that is open and that nobody asks makes connections wait.
///
/// # Errors
/// Of shutdown(2).
pub fn shut_listener(listener: impl AsFd) -> Result<(), Errno> {
    match rustix::net::shutdown(listener, Shutdown::Read) {
        // It was shut.
        Err(Errno::NOTCONN) => Ok(()),
        done => done,
    }
}

/// Opens it, again if it was shut; of one that is open nothing changes.
///
/// # Errors
/// Of listen(2).
pub fn open_listener(listener: impl AsFd) -> Result<(), Errno> {
    rustix::net::listen(listener, BACKLOG)
}

/// Whether the two are not one namespace (namespaces(7)).
fn differ(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let identity = |namespace: BorrowedFd<'_>| {
        rustix::fs::fstat(namespace).map(|found| (found.st_dev, found.st_ino))
    };
    Ok(identity(one.as_fd())? != identity(other.as_fd())?)
}

fn capture_here() -> Result<Captured, Error> {
    let family = family();
    if large_segments().is_err() {
        // Of a kernel before 6.3: they stay at 64 KiB, and cost more of the processor.
    }
    own_address().context("RTM_NEWADDR", OWN.to_string())?;
    any_address(AddressFamily::INET).context("RTM_NEWROUTE", "local 0.0.0.0/0")?;
    if family == AddressFamily::INET6 {
        match any_address(family) {
            // Switched off by sysctl (disable_ipv6): then nothing can be sent by it.
            Err(Errno::ACCESS | Errno::NETDOWN) => {}
            other => other.context("RTM_NEWROUTE", "local ::/0")?,
        }
    }
    let tcp = listener(family).context("listen", "every TCP destination")?;
    nftables::catch_all(LISTENER).context("NFT_MSG_NEWRULE", "tproxy of all TCP")?;
    let udp = resolver(family).context("bind", "UDP port 53 of every address")?;
    Ok(Captured { tcp, udp })
}

/// A socket of IPv6 serves both families; a kernel without it has only the other.
fn family() -> AddressFamily {
    match socket(AddressFamily::INET6, SocketType::DGRAM) {
        Ok(_) => AddressFamily::INET6,
        Err(_) => AddressFamily::INET,
    }
}

/// `ip address add OWN/32 dev lo` (rtnetlink(7)).
fn own_address() -> Result<(), Errno> {
    const WHOLE: u8 = 32;
    const FLAGS: u8 = 0;
    // linux/if_addr.h
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let [a, b, c, d] = LOOPBACK.to_ne_bytes();
    let family = AddressFamily::INET.as_raw() as u8;
    let address = [family, WHOLE, FLAGS, libc::RT_SCOPE_UNIVERSE, a, b, c, d];
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    let mut batch = Batch::default();
    batch
        .begin(libc::RTM_NEWADDR, flags, &address)
        .put(IFA_LOCAL, &OWN.octets())
        .put(IFA_ADDRESS, &OWN.octets());
    batch.send(None)
}

/// `ip link set lo gso_ipv4_max_size SEGMENT` (ip-link(8)): fewer segments carry the same bytes. Those
/// of IPv6 stay as they are: larger ones have a header more, which rules would have to know.
fn large_segments() -> Result<(), Errno> {
    const NO_FLAGS: u32 = 0;
    // linux/if_link.h
    const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
    // struct ifinfomsg: family and type, index, flags, mask of flags.
    let head = [0, LOOPBACK, NO_FLAGS, NO_FLAGS];
    let head = head.map(u32::to_ne_bytes).concat();
    let mut batch = Batch::default();
    batch
        .begin(libc::RTM_NEWLINK, libc::NLM_F_ACK, &head)
        .put(IFLA_GSO_IPV4_MAX_SIZE, &SEGMENT.to_ne_bytes());
    batch.send(None)
}

/// `ip route add local default dev lo congctl reno` (ip-route(8)).
///
/// The congestion control is the route's, for it is no network that this way leads through: nothing
/// is lost on the loopback, and a host's default that sends by a clock (BBR) sets a timer for
/// each segment there. Reno is in every kernel, and does the least.
fn any_address(family: AddressFamily) -> Result<(), Errno> {
    const WHOLE: u8 = 0;
    const TYPE_OF_SERVICE: u8 = 0;
    let route = [
        family.as_raw() as u8,
        WHOLE,
        WHOLE,
        TYPE_OF_SERVICE,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
        // struct rtmsg ends in 32 bits of flags.
        0,
        0,
        0,
        0,
    ];
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    let mut batch = Batch::default();
    batch
        .begin(libc::RTM_NEWROUTE, flags, &route)
        .put(libc::RTA_OIF, &LOOPBACK.to_ne_bytes())
        .nest(libc::RTA_METRICS, |metrics| {
            metrics.text(RTAX_CC_ALGO, CONGESTION_CONTROL);
        });
    batch.send(None)
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}

fn any(family: AddressFamily, port: u16) -> SocketAddr {
    match family {
        AddressFamily::INET6 => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into(),
        _ => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into(),
    }
}

fn listener(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let listener = socket(family, SocketType::STREAM)?;
    transparent(&listener, family)?;
    // Of IPv6 the way back to a client is to the loopback's own address, by a route of the kernel's.
    sockopt::set_tcp_congestion(&listener, CONGESTION_CONTROL)?;
    rustix::net::bind(&listener, &any(family, LISTENER))?;
    open_listener(&listener)?;
    Ok(listener)
}

fn resolver(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let resolver = socket(family, SocketType::DGRAM)?;
    match family {
        AddressFamily::INET6 => {
            // An answer goes out from the address that was asked, which is no interface's.
            sockopt::set_ipv6_freebind(&resolver, true)?;
            switch_on(&resolver, (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO))?;
        }
        _ => switch_on(&resolver, (libc::SOL_IP, libc::IP_PKTINFO))?,
    }
    rustix::net::bind(&resolver, &any(family, DNS))?;
    Ok(resolver)
}

/// Lets tproxy hand the socket what is not addressed to it (ip(7), `IP_TRANSPARENT`).
fn transparent(socket: &OwnedFd, family: AddressFamily) -> Result<(), Errno> {
    switch_on(
        socket,
        match family {
            AddressFamily::INET6 => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
            _ => (libc::SOL_IP, libc::IP_TRANSPARENT),
        },
    )
}

fn switch_on(socket: impl AsFd, (level, option): (i32, i32)) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: rustix has no call for these options. The value is an int that lives through
    // the call, and its length is told (setsockopt(2)).
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}
