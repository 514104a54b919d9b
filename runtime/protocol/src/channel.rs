//! One typed frame a packet; a body too large for a packet travels beside it
//! in a sealed memfd.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_sys::{Errno, memfd, socket};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::VERSION;

/// Largest body that travels inside the packet.
const INLINE: usize = 16 * 1024;

/// Largest body at all: above the kernel's own limit for an argument list
/// (`ARG_MAX` is 2 MiB with the usual stack) with room for the rest of a plan.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// Largest body of an answer. Decoded, a list of empty texts takes some thirty
/// times its bytes, and an init may be an enemy's.
pub const MAX_REPLY: usize = 256 * 1024;

const HEADER: usize = 2;
const BODY_INLINE: u8 = 0;
const BODY_IN_MEMFD: u8 = 1;

/// Why a frame could not be sent, received or believed.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The kernel refused.
    #[error("{operation} a frame")]
    Socket {
        /// `send` or `receive`.
        operation: &'static str,
        /// The errno of sendmsg(2) or recvmsg(2).
        #[source]
        errno: Errno,
    },
    /// The peer is of another build.
    #[error(
        "frame of protocol version {0}, this is version {VERSION}; install lakekeep's binaries together"
    )]
    Version(u8),
    /// Larger than any frame may be.
    #[error("frame body of {0} bytes is over the limit of {MAX_BODY}")]
    TooLarge(usize),
    /// Not a frame, or not one of this channel.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
}

/// Our end of a socket on which frames of type `Out` go and of type `In` come.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    largest: usize,
    frames: PhantomData<fn(Out) -> In>,
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Wraps one end of a [`socket::pair`].
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            largest: MAX_BODY,
            frames: PhantomData,
        }
    }

    /// Believes no body of more than [`MAX_REPLY`] bytes: for the side that
    /// receives answers.
    #[must_use]
    pub fn of_answers(self) -> Self {
        Self {
            largest: MAX_REPLY,
            ..self
        }
    }

    /// Sends one frame with its descriptors.
    ///
    /// # Errors
    /// `TooLarge` before anything is sent; `Socket` with `EPIPE` when the peer
    /// has ended.
    pub fn send(&self, frame: &Out, descriptors: &[BorrowedFd<'_>]) -> Result<(), ProtocolError> {
        let body = postcard::to_stdvec(frame)
            .map_err(|_| ProtocolError::Malformed("value that cannot be encoded"))?;
        if body.len() > MAX_BODY {
            return Err(ProtocolError::TooLarge(body.len()));
        }
        let failed = |errno| ProtocolError::Socket {
            operation: "send",
            errno,
        };
        if body.len() <= INLINE {
            let mut packet = vec![VERSION, BODY_INLINE];
            packet.extend_from_slice(&body);
            return socket::send(&self.socket, &packet, descriptors).map_err(failed);
        }
        let file = memfd::sealed("lakekeep-frame", &body, false).map_err(failed)?;
        let mut all = descriptors.to_vec();
        all.push(file.as_fd());
        socket::send(&self.socket, &[VERSION, BODY_IN_MEMFD], &all).map_err(failed)
    }

    /// Receives one frame and its descriptors; `None` when the peer has ended.
    ///
    /// # Errors
    /// Any error means that the peer cannot be believed: close the channel.
    pub fn receive(&self) -> Result<Option<(In, Vec<OwnedFd>)>, ProtocolError> {
        let failed = |errno| ProtocolError::Socket {
            operation: "receive",
            errno,
        };
        let mut buffer = vec![0; HEADER + INLINE];
        let received = match socket::receive(&self.socket, &mut buffer) {
            Err(Errno::CONNRESET) => return Ok(None),
            other => other.map_err(failed)?,
        };
        if received.length == 0 {
            return Ok(None);
        }
        let packet = buffer.get(..received.length).unwrap_or_default();
        let (body, descriptors) = split(packet, received.descriptors, self.largest)?;
        let frame = decode(&body)?;
        Ok(Some((frame, descriptors)))
    }
}

/// Checks a packet's header and finds its body.
fn split(
    packet: &[u8],
    mut descriptors: Vec<OwnedFd>,
    largest: usize,
) -> Result<(Vec<u8>, Vec<OwnedFd>), ProtocolError> {
    let (header, inline) = packet
        .split_at_checked(HEADER)
        .ok_or(ProtocolError::Malformed("shorter than its header"))?;
    match *header {
        [VERSION, BODY_INLINE] => Ok((inline.to_vec(), descriptors)),
        [VERSION, BODY_IN_MEMFD] if inline.is_empty() => {
            let file = descriptors.pop().ok_or(ProtocolError::Malformed(
                "body announced in a memfd that is missing",
            ))?;
            let body = memfd::read_sealed(file, largest).map_err(|_| {
                ProtocolError::Malformed("body in a file that is not sealed or too large")
            })?;
            Ok((body, descriptors))
        }
        [VERSION, _] => Err(ProtocolError::Malformed("unknown body kind")),
        [version, ..] => Err(ProtocolError::Version(version)),
        [] => Err(ProtocolError::Malformed("empty header")),
    }
}

/// Decodes one body, all of it.
///
/// # Errors
/// `Malformed` for bytes that are not exactly one frame.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProtocolError> {
    match postcard::take_from_bytes(body) {
        Ok((frame, [])) => Ok(frame),
        Ok(_) => Err(ProtocolError::Malformed("bytes after the frame")),
        Err(_) => Err(ProtocolError::Malformed("not a frame of this channel")),
    }
}

/// Decodes the first of several values that follow each other, and gives the rest.
///
/// # Errors
/// `Malformed` for bytes that do not begin with one.
pub fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), ProtocolError> {
    postcard::take_from_bytes(bytes)
        .map_err(|_| ProtocolError::Malformed("not a value of this kind"))
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Text = Channel<String, String>;

    fn ends() -> (Text, Text) {
        let (left, right) = socket::pair().unwrap();
        (Channel::new(left), Channel::new(right))
    }

    #[test]
    fn small_and_large_frames_arrive_whole() {
        let (left, right) = ends();
        for length in [0, 5, INLINE - 2, INLINE, INLINE + 1, 3 << 20] {
            let text = "x".repeat(length);
            left.send(&text, &[left.as_fd()]).unwrap();
            let (got, descriptors) = right.receive().unwrap().unwrap();
            assert!(got == text, "{length} bytes");
            assert_eq!(descriptors.len(), 1);
        }
    }

    #[test]
    fn the_end_of_the_peer_is_not_an_error() {
        let (left, right) = ends();
        drop(left);
        assert!(right.receive().unwrap().is_none());
    }

    #[test]
    fn a_body_over_the_limit_is_not_sent() {
        let (left, _right) = ends();
        let text = "x".repeat(MAX_BODY);
        assert!(matches!(
            left.send(&text, &[]),
            Err(ProtocolError::TooLarge(_))
        ));
    }

    #[test]
    fn an_answer_over_its_own_limit_is_not_believed() {
        let (left, right) = ends();
        let right = right.of_answers();
        left.send(&"x".repeat(MAX_REPLY - 16), &[]).unwrap();
        right.receive().unwrap().unwrap();
        left.send(&"x".repeat(MAX_REPLY), &[]).unwrap();
        assert!(matches!(right.receive(), Err(ProtocolError::Malformed(_))));
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        let cases: [&[u8]; 6] = [
            &[VERSION],
            &[VERSION + 1, BODY_INLINE, 0],
            &[VERSION, 9, 0],
            &[VERSION, BODY_IN_MEMFD],
            &[VERSION, BODY_INLINE, 5, b'x'],
            &[VERSION, BODY_INLINE, 1, b'x', b'y'],
        ];
        for packet in cases {
            let (left, right) = socket::pair().unwrap();
            socket::send(&left, packet, &[]).unwrap();
            assert!(Text::new(right).receive().is_err(), "{packet:?}");
        }
    }
}
