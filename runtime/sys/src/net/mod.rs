//! Network namespaces: an empty one with its loopback up, and what catches all
//! that is sent in it.

mod capture;
mod datagram;
mod netlink;
mod nftables;
#[cfg(test)]
mod tests;

pub use capture::{Captured, capture, open_listener, shut_listener};
pub use datagram::{Datagram, receive_datagram, send_datagram};

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::process::last_errno;

/// C libraries differ in the type of a request.
const SET_FLAGS: libc::Ioctl = libc::SIOCSIFFLAGS as libc::Ioctl;

/// The calling thread's present network namespace; that of `/proc/self` is the first thread's.
pub fn current() -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        "/proc/thread-self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Moves the calling thread into `namespace`.
pub fn enter(namespace: impl AsFd) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// Moves the calling thread into a new network namespace that has only a
/// loopback interface, up. It is owned by the caller's user namespace, so that
/// nothing in a nested one can touch its routes or rules.
pub fn unshare() -> Result<(), Errno> {
    // SAFETY: rustix marks unshare unsafe for CLONE_FILES, which would divide
    // the descriptor table between threads; CLONE_NEWNET touches no memory.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    loopback_up()
}

/// Makes such a namespace with nobody in it: the calling thread returns to where
/// it was.
pub fn make() -> Result<OwnedFd, Errno> {
    let home = current()?;
    unshare()?;
    let made = current();
    enter(&home)?;
    made
}

fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: no safe wrapper sets interface flags. The request names an
    // interface, NUL-terminated, and lives through the call (netdevice(7)).
    match unsafe { libc::ioctl(socket.as_raw_fd(), SET_FLAGS, &raw const request) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// The addresses of every interface of the calling thread's network namespace
/// (getifaddrs(3)).
///
/// # Errors
/// What the kernel answered.
pub fn own_addresses() -> Result<Vec<std::net::IpAddr>, Errno> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(crate::error::from_nix)?;
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| four.ip().into());
        four.or_else(|| address.as_sockaddr_in6().map(|six| six.ip().into()))
    });
    Ok(addresses.collect())
}
