//! Datagrams to a socket that answers for many addresses: an answer goes out from the
//! address that was asked, or nobody would believe it.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg,
};
use rustix::io::Errno;

use crate::error::from_nix;

/// A received datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram {
    /// Bytes of it, which may be more than fitted the buffer.
    pub length: usize,
    /// Who sent it, as an IPv4 address where it is one.
    pub from: SocketAddr,
    /// The address that it was sent to, likewise.
    pub to: IpAddr,
}

/// Receives a datagram at a socket of [`super::capture`], without waiting.
///
/// # Errors
/// `EAGAIN` when there is none; `EBADMSG` when the kernel does not tell where it was sent.
pub fn receive_datagram(socket: impl AsFd, buffer: &mut [u8]) -> Result<Datagram, Errno> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
    )
    .map_err(from_nix)?;
    let to = message
        .cmsgs()
        .map_err(from_nix)?
        .find_map(|part| match part {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical())
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(v4(info.ipi_addr).into()),
            _ => None,
        });
    let from = message.address.as_ref().and_then(address);
    Ok(Datagram {
        length: message.bytes,
        from: from.ok_or(Errno::BADMSG)?,
        to: to.ok_or(Errno::BADMSG)?,
    })
}

/// Answers a datagram at the socket that it came to, without waiting.
///
/// # Errors
/// `EAGAIN` when there is no room for it.
pub fn send_datagram(socket: impl AsFd, bytes: &[u8], to: &Datagram) -> Result<(), Errno> {
    let socket = socket.as_fd();
    let parts = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let six = rustix::net::sockopt::socket_domain(socket)? == rustix::net::AddressFamily::INET6;
    let sent = match (six, to.to, to.from) {
        (false, IpAddr::V4(own), SocketAddr::V4(peer)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(own.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let peer = SockaddrIn::from(peer);
            sendmsg(socket.as_raw_fd(), &parts, &control, flags, Some(&peer))
        }
        (_, own, peer) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: mapped(own).octets(),
                },
                ipi6_ifindex: 0,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            let peer = std::net::SocketAddrV6::new(mapped(peer.ip()), peer.port(), 0, 0);
            let peer = SockaddrIn6::from(peer);
            sendmsg(socket.as_raw_fd(), &parts, &control, flags, Some(&peer))
        }
    };
    sent.map(drop).map_err(from_nix)
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn v4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(four) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(four.ip().into(), four.port()));
    }
    let six = storage.as_sockaddr_in6()?;
    Some(SocketAddr::new(six.ip().to_canonical(), six.port()))
}
