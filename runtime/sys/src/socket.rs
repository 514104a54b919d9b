//! SOCK_SEQPACKET pairs that carry bounded messages and descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that one message may carry: stdin, stdout, stderr, a
/// socket, a body, and room for the mounts of one claim.
pub const MAX_DESCRIPTORS: usize = 16;

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer it filled; 0 means that the peer closed.
    pub length: usize,
    /// The descriptors that came with it, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Makes a connected pair of close-on-exec packet sockets.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Sends one message with its descriptors.
///
/// # Errors
/// `EMSGSIZE` when it is larger than the socket's buffer; `EPIPE` when the
/// peer closed (never a SIGPIPE); `E2BIG` with too many descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(Errno::TOOBIG);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let message = [IoSlice::new(bytes)];
    loop {
        match rustix::net::sendmsg(&socket, &message, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno::MSGSIZE),
        }
    }
}

/// Receives one message into `buffer`.
///
/// # Errors
/// `EMSGSIZE` when the message or its descriptors did not fit: what arrived of
/// it is dropped, descriptors included, for a cut message must not be believed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let descriptors = collect(&mut control);
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(Errno::MSGSIZE);
    }
    Ok(Received {
        length: message.bytes,
        descriptors,
    })
}

fn collect(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            descriptors.extend(fds);
        }
    }
    descriptors
}

/// Receives one message and the sender's pid, as the kernel translates it into
/// the receiver's pid namespace (`SCM_CREDENTIALS`, unix(7)). The socket must
/// have had [`want_credentials`]. `None` when the peer closed.
///
/// # Errors
/// `EBADMSG` when a message came without credentials.
pub fn receive_with_pid(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> Result<Option<(usize, i32)>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmCredentials(sender) = part {
            return Ok(Some((message.bytes, sender.pid.as_raw_nonzero().get())));
        }
    }
    Err(Errno::BADMSG)
}

/// Makes every later message on `socket` carry its sender's credentials.
pub fn want_credentials(socket: impl AsFd) -> Result<(), Errno> {
    rustix::net::sockopt::set_socket_passcred(socket, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_bounds_and_its_descriptors() {
        let (left, right) = pair().unwrap();
        let (a, b) = pair().unwrap();
        send(&left, b"hello", &[a.as_fd(), b.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let got = receive(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..got.length], b"hello");
        assert_eq!(got.descriptors.len(), 2);
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_whole() {
        let (left, right) = pair().unwrap();
        send(&left, &[7; 65], &[left.as_fd()]).unwrap();
        assert_eq!(receive(&right, &mut [0; 64]).unwrap_err(), Errno::MSGSIZE);
    }

    #[test]
    fn too_many_descriptors_are_refused_before_sending() {
        let (left, _right) = pair().unwrap();
        let many = vec![left.as_fd(); MAX_DESCRIPTORS + 1];
        assert_eq!(send(&left, b"x", &many).unwrap_err(), Errno::TOOBIG);
    }

    #[test]
    fn the_senders_pid_comes_from_the_kernel() {
        let (left, right) = pair().unwrap();
        want_credentials(&right).unwrap();
        send(&left, b"ready", &[]).unwrap();
        let (length, pid) = receive_with_pid(&right, &mut [0; 16]).unwrap().unwrap();
        assert_eq!((length, pid), (5, std::process::id() as i32));
    }
}
