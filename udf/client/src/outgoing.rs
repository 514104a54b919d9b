//! Frames on their way to the worker.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arrow_buffer::Buffer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use crate::channel::Broken;
use crate::wire::{Header, PART_LEAST, PART_LIMIT, PIECE, kind, place};

/// Most pieces of a packet that are given to the kernel one by one, which takes 1,024 at most
/// (UIO_MAXIOV): a copy costs less than more of them do.
const MOST_PIECES: usize = 64;

/// A frame on its way out.
#[derive(Debug)]
struct Sending {
    header: Header,
    /// The content, one after the other.
    pieces: Vec<Buffer>,
    /// Whether the header is gone, for content that follows in parts.
    begun: bool,
    /// Content that is gone, bytes.
    sent: usize,
    /// Most content of its next part, bytes.
    part: usize,
}

/// What goes to the worker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    socket: Arc<OwnedFd>,
    queue: VecDeque<Sending>,
}

impl Outgoing {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
        }
    }

    /// Has a frame sent when there is room.
    pub(crate) fn queue(&mut self, kind: u8, call: u32, rows: u64, pieces: Vec<Buffer>) {
        let length: usize = pieces.iter().map(Buffer::len).sum();
        let header = Header {
            kind,
            place: match length > PIECE {
                true => place::PARTS,
                false => place::INLINE,
            },
            reserved: 0,
            call,
            length: length as u64,
            rows,
        };
        self.queue.push_back(Sending {
            header,
            pieces,
            begun: false,
            sent: 0,
            part: PART_LIMIT,
        });
    }

    /// Sends what there is room for, without waiting; whether that was all.
    pub(crate) fn flush(&mut self) -> Result<bool, Broken> {
        while let Some(frame) = self.queue.front_mut() {
            match frame.send(&self.socket) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) if frame.halve() => continue,
                Err(_) => return Err(Broken::Ended),
            }
            self.queue.pop_front();
        }
        Ok(true)
    }

    /// Waits until all is sent, while somebody else takes what comes back.
    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        while !self.flush()? {
            let mut room = [PollFd::new(&*self.socket, PollFlags::OUT)];
            match poll(&mut room, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Broken::Ended),
            }
        }
        Ok(())
    }
}

impl Sending {
    /// Sends all of it, or as much as there is room for.
    fn send(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        let length: usize = self.pieces.iter().map(Buffer::len).sum();
        if self.header.place == place::INLINE {
            return packet(socket, self.header, &self.window(0, length));
        }
        if !self.begun {
            packet(socket, self.header, &[])?;
            self.begun = true;
        }
        while self.sent < length {
            let size = self.part.min(length - self.sent);
            let header = Header {
                kind: kind::PART,
                place: place::INLINE,
                length: size as u64,
                rows: 0,
                ..self.header
            };
            packet(socket, header, &self.window(self.sent, size))?;
            self.sent += size;
        }
        Ok(())
    }

    /// Has the rest sent in smaller parts, for which the kernel may find memory in one piece;
    /// false where they are as small as parts may be.
    fn halve(&mut self) -> bool {
        let halved = self.header.place == place::PARTS && self.part > PART_LEAST;
        if halved {
            self.part /= 2;
        }
        halved
    }

    /// The content's bytes from `start` on, in the pieces that they are in.
    fn window(&self, mut start: usize, mut size: usize) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let skipped = start.min(piece.len());
            let taken = size.min(piece.len() - skipped);
            slices.extend(
                piece
                    .get(skipped..skipped + taken)
                    .filter(|it| !it.is_empty()),
            );
            (start, size) = (start - skipped, size - taken);
        }
        slices
    }
}

fn packet(socket: &OwnedFd, header: Header, content: &[&[u8]]) -> Result<(), Errno> {
    let header = header.to_bytes();
    let mut slices = vec![IoSlice::new(&header)];
    let joined;
    if content.len() > MOST_PIECES {
        joined = content.concat();
        slices.push(IoSlice::new(&joined));
    } else {
        slices.extend(content.iter().map(|piece| IoSlice::new(piece)));
    }
    let mut none = SendAncillaryBuffer::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &slices, &mut none, flags).map(|_| ())
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

    use super::*;
    use crate::wire::HEADER;

    fn ends() -> (Arc<OwnedFd>, OwnedFd) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        (Arc::new(ours), theirs)
    }

    /// A packet's header and content.
    fn heard(socket: &OwnedFd) -> (Header, Vec<u8>) {
        let mut packet = vec![0; HEADER + PART_LIMIT];
        let (size, _) = recv(socket, &mut packet, RecvFlags::empty()).unwrap();
        let header = Header::from_bytes(packet[..HEADER].try_into().unwrap());
        (header, packet[HEADER..size].to_vec())
    }

    #[test]
    fn more_pieces_than_the_kernel_takes_are_one_frame() {
        let (ours, theirs) = ends();
        let mut outgoing = Outgoing::new(ours);
        let pieces: Vec<Buffer> = (0..2000_u32)
            .map(|number| Buffer::from_vec(vec![number]))
            .collect();
        outgoing.queue(kind::CALL, 7, 1, pieces);
        assert!(outgoing.flush().unwrap());
        let (header, content) = heard(&theirs);
        assert_eq!((header.kind, header.length), (kind::CALL, 8000));
        let numbers = content
            .chunks(4)
            .map(|it| u32::from_le_bytes(it.try_into().unwrap()));
        assert!(numbers.eq(0..2000));
    }

    #[test]
    fn parts_for_which_there_is_no_memory_are_halved_down_to_the_least() {
        let (ours, theirs) = ends();
        let content: Vec<u8> = (0..PART_LIMIT + 9).map(|at| (at % 251) as u8).collect();
        let mut outgoing = Outgoing::new(ours);
        outgoing.queue(kind::CALL, 7, 1, vec![Buffer::from_vec(content.clone())]);
        let frame = outgoing.queue.front_mut().unwrap();
        assert!(frame.halve() && frame.halve() && !frame.halve());
        assert_eq!(frame.part, PART_LEAST);
        let feeder = std::thread::spawn(move || outgoing.finish().unwrap());
        let (header, nothing) = heard(&theirs);
        assert_eq!(header.length, content.len() as u64);
        assert!(nothing.is_empty());
        let mut found = Vec::new();
        let mut sizes = Vec::new();
        while found.len() < content.len() {
            let (header, part) = heard(&theirs);
            assert_eq!((header.kind, header.call), (kind::PART, 7));
            assert_eq!(header.length, part.len() as u64);
            sizes.push(part.len());
            found.extend(part);
        }
        feeder.join().unwrap();
        assert_eq!(found, content);
        assert_eq!(sizes, [PART_LEAST, PART_LEAST, PART_LEAST, PART_LEAST, 9]);
    }

    #[test]
    fn a_frame_that_is_no_part_is_not_halved() {
        let (ours, _theirs) = ends();
        let mut outgoing = Outgoing::new(ours);
        outgoing.queue(kind::CALL, 7, 1, vec![Buffer::from_vec(vec![1_u8])]);
        assert!(!outgoing.queue.front_mut().unwrap().halve());
    }
}
