//! Netlink (netlink(7)): messages built from attributes, sent as one packet, each
//! acknowledged by the kernel.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Everything in a message begins at a multiple of it (`NLMSG_ALIGNTO`).
const ALIGN: usize = 4;

/// Marks an attribute that holds attributes.
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// Room for one answer: an errno and the header of what it is about. A longer one, with the
/// refused message itself in it, is cut, which loses nothing that is read.
const ANSWER: usize = 4096;

/// Several messages that the kernel gets at once.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    messages: u32,
    acknowledged: u32,
}

impl Batch {
    /// Begins a message of type `kind` with the family's own header after netlink's.
    /// `flags` are `NLM_F_…` beside `NLM_F_REQUEST`.
    pub fn begin(&mut self, kind: u16, flags: libc::c_int, family_header: &[u8]) -> &mut Self {
        self.last = self.bytes.len();
        self.messages += 1;
        if flags & libc::NLM_F_ACK != 0 {
            self.acknowledged += 1;
        }
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        // The kernel's own port: it fills in ours.
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(family_header);
        self.finish()
    }

    /// Adds an attribute to the last message.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (ALIGN + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.finish()
    }

    /// Adds a text, which netlink ends with NUL.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.put(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds a number in network order, as nftables has all of them.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds what `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.put(kind | NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.overwrite(at, &length.to_ne_bytes());
        self.finish()
    }

    /// Pads to the alignment and writes the last message's length.
    fn finish(&mut self) -> &mut Self {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let length = (self.bytes.len() - self.last) as u32;
        self.overwrite(self.last, &length.to_ne_bytes());
        self
    }

    fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }

    /// Has the kernel do it, in the calling thread's network namespace; of no protocol by
    /// name it is rtnetlink, whose number is 0.
    ///
    /// # Errors
    /// What it answered to the first message that it refused; `EBADMSG` when it did not
    /// answer as netlink(7) says.
    pub fn send(&self, protocol: Option<Protocol>) -> Result<(), Errno> {
        let socket = open(protocol)?;
        let sent = rustix::net::send(&socket, &self.bytes, SendFlags::empty())?;
        if sent != self.bytes.len() {
            return Err(Errno::MSGSIZE);
        }
        // The kernel has answered when send(2) returns: an answer that is not there will
        // never come.
        (0..self.acknowledged).try_for_each(|_| answer(&socket))
    }
}

fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// One answer: `struct nlmsgerr`, whose errno is 0 where nothing is wrong.
fn answer(socket: impl AsFd) -> Result<(), Errno> {
    let mut buffer = [0u8; ANSWER];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    let answer = buffer.get(..length).unwrap_or_default();
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok());
    let errno = answer
        .get(HEADER..HEADER + 4)
        .and_then(|errno| errno.try_into().ok());
    match (kind.map(u16::from_ne_bytes), errno.map(i32::from_ne_bytes)) {
        (Some(kind), Some(0)) if kind == libc::NLMSG_ERROR as u16 => Ok(()),
        (Some(kind), Some(errno)) if kind == libc::NLMSG_ERROR as u16 => {
            Err(Errno::from_raw_os_error(errno.wrapping_neg()))
        }
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_lengths_are_those_of_the_whole() {
        let mut batch = Batch::default();
        batch.begin(7, 0, &[1, 2, 3, 4]).nest(2, |inner| {
            inner.text(1, "ab");
        });
        batch.begin(8, libc::NLM_F_ACK, &[]);
        let first = &batch.bytes[..36];
        assert_eq!(first[..4], 32u32.to_ne_bytes());
        assert_eq!(first[20..24], [12, 0, 2, 0x80]);
        assert_eq!(first[24..32], [7, 0, 1, 0, b'a', b'b', 0, 0]);
        assert_eq!(batch.bytes[32..36], 16u32.to_ne_bytes());
        assert_eq!(batch.acknowledged, 1);
    }

    #[test]
    fn what_the_kernel_does_not_know_is_an_error() {
        let mut batch = Batch::default();
        batch.begin(libc::RTM_GETLINK, libc::NLM_F_ACK, &[0; 2]);
        let refused = batch.send(None);
        assert!(refused.is_err(), "{refused:?}");
    }
}
