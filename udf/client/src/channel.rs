//! Frames over the engine's end of a session's socket. The worker is not trusted: all that it
//! declares is bounded before there is memory for it.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use arrow_buffer::Buffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};

use crate::UdfError;
use crate::aside::Aside;
use crate::look::Look;
use crate::output::Output;
use crate::wire::{Frame, HEADER, Header, PART_LEAST, PART_LIMIT, PIECE, kind, place};

/// Most memory that is kept for the next large frame, bytes.
const KEPT: usize = 4 << 20;

/// Why nothing more comes, or goes.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The worker's end is closed.
    Ended,
    /// The deadline has passed.
    Expired,
    /// It is known already.
    Error(UdfError),
}

impl From<UdfError> for Broken {
    fn from(error: UdfError) -> Self {
        Self::Error(error)
    }
}

fn violation(rule: impl Into<String>) -> Broken {
    Broken::Error(UdfError::Protocol(rule.into()))
}

/// A frame whose parts are still arriving.
#[derive(Debug)]
struct Partial {
    header: Header,
    content: Vec<u8>,
    filled: usize,
}

/// What comes from the worker, its standard output and error too.
#[derive(Debug)]
pub(crate) struct Incoming {
    socket: Arc<OwnedFd>,
    max_bytes: u64,
    /// Whole frames that may wait for being asked for.
    ahead: usize,
    arrived: VecDeque<Frame>,
    partial: Option<Partial>,
    packet: Vec<u8>,
    /// The last large frame's memory, which is the next one's if nobody else has it by then:
    /// fresh memory is cleared, and each of its pages is a fault.
    kept: Buffer,
    pub(crate) look: Look,
    /// Who looks on the worker's processor waits for itself.
    pub(crate) aside: Aside,
    pub(crate) output: Output,
    /// What waits beyond it is [`Broken::Expired`].
    pub(crate) deadline: Option<Instant>,
}

impl Incoming {
    /// Takes what is read, the most bytes of a frame, the frames that may wait, and how it is
    /// waited for them.
    pub(crate) fn new(
        (socket, output): (Arc<OwnedFd>, Output),
        (max_bytes, ahead): (u64, usize),
        look: Look,
    ) -> Self {
        Self {
            socket,
            max_bytes,
            ahead,
            arrived: VecDeque::new(),
            partial: None,
            packet: vec![0; PIECE],
            kept: Buffer::default(),
            look,
            aside: Aside::default(),
            output,
            deadline: None,
        }
    }

    /// Whole frames that may wait for being asked for.
    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Waits for the next frame.
    pub(crate) fn receive(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.arrived.pop_front() {
                return Ok(frame);
            }
            if !self.found()? {
                self.sleep()?;
            }
        }
    }

    /// Looks for a packet, if that is worth it; whether one came soon enough.
    fn found(&mut self) -> Result<bool, Broken> {
        // The next part follows as fast as it is copied, and may be here already.
        let part = self.partial.is_some();
        let Some(most) = self.look.now() else {
            return Ok(part && self.read()?);
        };
        self.aside.step();
        let until = Instant::now() + most;
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        loop {
            let found = self.read()?;
            if Instant::now() > until {
                // That it came may have been hidden by another thread on this processor.
                self.look.in_vain();
                return Ok(found);
            }
            if found {
                // Parts tell nothing of how soon an answer comes.
                if !part {
                    self.look.paid();
                }
                return Ok(true);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep(&mut self) -> Result<(), Broken> {
        let (since, part) = (Instant::now(), self.partial.is_some());
        if self.wait(PollFlags::IN)?.contains(PollFlags::IN) {
            self.read()?;
            if !part {
                self.look.slept(since.elapsed());
            }
        }
        Ok(())
    }

    /// The next frame, if it is here.
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>, Broken> {
        while self.arrived.is_empty() && self.read()? {}
        Ok(self.arrived.pop_front())
    }

    /// Waits for room to send in, or for a packet, which is taken in: so two ends that both
    /// have much to send do not wait for each other. Who does not take the frames gets no
    /// more than `ahead` of them.
    pub(crate) fn wait_for_room(&mut self) -> Result<(), Broken> {
        let wanted = match self.arrived.len() < self.ahead {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::OUT,
        };
        if self.wait(wanted)?.contains(PollFlags::IN) {
            self.read()?;
        }
        Ok(())
    }

    /// Whether the worker is there, and has said nothing that nobody asked for.
    pub(crate) fn idle(&mut self) -> bool {
        self.output.take_in();
        matches!(self.ready(), Ok(None)) && self.partial.is_none()
    }

    /// What a worker that is gone had still sent.
    pub(crate) fn last_frames(&mut self) -> Vec<Frame> {
        // However it ends, what had come before is what there is.
        while self.arrived.len() <= self.ahead && matches!(self.read(), Ok(true)) {}
        self.arrived.drain(..).collect()
    }

    /// What the socket is ready for, of what is wanted; output is taken in meanwhile.
    fn wait(&mut self, wanted: PollFlags) -> Result<PollFlags, Broken> {
        let patience = match self.deadline {
            // Checked here: a worker that prints without end would never let poll expire.
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) => Some(timespec(left)),
                None => return Err(Broken::Expired),
            },
            None => None,
        };
        let mut fds = vec![PollFd::new(&*self.socket, wanted)];
        let pipes = self.output.pipes();
        fds.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let found = match poll(&mut fds, patience.as_ref()) {
            Ok(0) => return Err(Broken::Expired),
            Ok(_) => fds.first().map_or(PollFlags::empty(), PollFd::revents),
            Err(Errno::INTR) => return Ok(PollFlags::empty()),
            Err(_) => return Err(Broken::Ended),
        };
        let printed = fds.iter().skip(1).any(|fd| !fd.revents().is_empty());
        if printed {
            self.output.take_in();
        }
        // The end is something to read, too.
        let over = PollFlags::HUP | PollFlags::ERR;
        match found.intersects(over) {
            true => Ok(found | PollFlags::IN),
            false => Ok(found),
        }
    }

    /// Takes in one packet, without waiting; whether there was one.
    fn read(&mut self) -> Result<bool, Broken> {
        let mut head = [0; HEADER];
        let target = match &mut self.partial {
            Some(partial) => partial.target(),
            None => self.packet.as_mut_slice(),
        };
        let mut slices = [IoSliceMut::new(&mut head), IoSliceMut::new(target)];
        // No frame of these sessions has a descriptor: there is no room for any, so the
        // kernel keeps them and says that it did.
        let mut none = RecvAncillaryBuffer::default();
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let heard = match recvmsg(&*self.socket, &mut slices, &mut none, flags) {
            Ok(heard) => heard,
            Err(Errno::AGAIN) => return Ok(false),
            // Told once: it ended with calls unread. What it had sent is still to be had.
            Err(Errno::INTR | Errno::CONNRESET) => return Ok(true),
            Err(_) => return Err(Broken::Ended),
        };
        if heard.bytes == 0 {
            return Err(Broken::Ended);
        }
        if heard
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(violation(
                "a packet larger than any frame's, or a descriptor",
            ));
        }
        let Some(size) = heard.bytes.checked_sub(HEADER) else {
            return Err(violation("a packet that is less than a header"));
        };
        self.take(Header::from_bytes(&head), size)?;
        Ok(true)
    }

    fn take(&mut self, header: Header, size: usize) -> Result<(), Broken> {
        if header.reserved != 0 {
            return Err(violation("a header that no frame has"));
        }
        match header.kind {
            kind::PART => self.take_part(header, size),
            kind::CRASHED if header.place == place::INLINE => self.take_whole(header, size),
            kind::OPENED | kind::RESULT | kind::DONE | kind::ERROR | kind::CRASHED
                if self.partial.is_none() =>
            {
                self.begin(header, size)
            }
            other => Err(violation(format!("a frame of kind {other} out of place"))),
        }
    }

    fn begin(&mut self, header: Header, size: usize) -> Result<(), Broken> {
        if header.place == place::INLINE {
            return self.take_whole(header, size);
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let allowed = length > PIECE && header.length <= self.max_bytes;
        if header.place != place::PARTS || header.kind != kind::RESULT || size != 0 || !allowed {
            let (length, most) = (header.length, self.max_bytes);
            return Err(violation(format!(
                "{length} bytes beside the packet; a result may have {most}, in parts"
            )));
        }
        self.partial = Some(Partial {
            header,
            content: self.room(length),
            filled: 0,
        });
        Ok(())
    }

    /// Memory for a large frame's content; whatever is in it is written over.
    fn room(&mut self, length: usize) -> Vec<u8> {
        match std::mem::take(&mut self.kept).into_vec::<u8>() {
            Ok(mut kept) if kept.capacity() >= length => {
                kept.resize(length, 0);
                kept
            }
            // Zeros that are not there before a part is written over them.
            _ => vec![0; length],
        }
    }

    /// Takes in a large frame that is whole.
    fn complete(&mut self, partial: Partial) {
        let frame = Frame::of(partial.header, partial.content);
        self.kept = match frame.content.capacity() <= KEPT {
            true => frame.content.clone(),
            false => Buffer::default(),
        };
        self.arrived.push_back(frame);
    }

    fn take_whole(&mut self, header: Header, size: usize) -> Result<(), Broken> {
        if header.length != size as u64 {
            let length = header.length;
            return Err(violation(format!(
                "{size} bytes in a packet that declares {length}"
            )));
        }
        let target = match &mut self.partial {
            Some(partial) => partial.target(),
            None => self.packet.as_mut_slice(),
        };
        let content = target.get(..size).unwrap_or_default().to_vec();
        self.arrived.push_back(Frame::of(header, content));
        Ok(())
    }

    fn take_part(&mut self, header: Header, size: usize) -> Result<(), Broken> {
        let Some(mut partial) = self.partial.take() else {
            return Err(violation("a part of no frame"));
        };
        // What is left, or as much as a part may be.
        let wanted = partial.target().len();
        let fits = size == wanted || (PART_LEAST..wanted).contains(&size);
        let honest = header.length == size as u64 && header.call == partial.header.call;
        if !fits || !honest || header.place != place::INLINE {
            return Err(violation(format!(
                "a part of {size} bytes instead of {wanted}"
            )));
        }
        partial.filled += size;
        match partial.filled == partial.content.len() {
            true => self.complete(partial),
            false => self.partial = Some(partial),
        }
        Ok(())
    }
}

impl Partial {
    /// Where the next part goes; as large as that has to be.
    fn target(&mut self) -> &mut [u8] {
        let end = self.content.len().min(self.filled + PART_LIMIT);
        self.content.get_mut(self.filled..end).unwrap_or_default()
    }
}

pub(crate) fn timespec(of: std::time::Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(of.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;

    /// Sends a large frame of three parts.
    fn in_parts(socket: &OwnedFd) {
        let header = |kind, place, length: usize| Header {
            kind,
            place,
            reserved: 0,
            call: 1,
            length: length as u64,
            rows: 0,
        };
        let whole = header(kind::RESULT, place::PARTS, 3 * PART_LEAST).to_bytes();
        send(socket, &whole, SendFlags::empty()).unwrap();
        let mut part = header(kind::PART, place::INLINE, PART_LEAST)
            .to_bytes()
            .to_vec();
        part.resize(HEADER + PART_LEAST, 7);
        for _ in 0..3 {
            send(socket, &part, SendFlags::empty()).unwrap();
        }
    }

    /// Packets that must come soon before it is looked again; they come.
    fn left(look: &mut Look) -> u32 {
        let mut came = 0;
        while look.now().is_none() {
            look.slept(Duration::ZERO);
            came += 1;
        }
        came
    }

    #[test]
    fn parts_are_looked_for_and_tell_nothing_of_the_next_answer() {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let look = Look::of(Duration::from_secs(5));
        let mut incoming = Incoming::new((ours.into(), Output::default()), (1 << 20, 1), look);
        for price in [1, 3] {
            incoming.look.in_vain();
            assert_eq!(left(&mut incoming.look), price);
        }
        in_parts(&theirs);
        let frame = incoming.receive().unwrap();
        assert_eq!(frame.content.as_slice(), [7; 3 * PART_LEAST]);
        // The frame's own packet has paid, by half of three. Had its parts, this were one.
        incoming.look.in_vain();
        assert_eq!(left(&mut incoming.look), 3);
        // To a sleeper the same: the frame came soon, its parts do not count.
        incoming.look.in_vain();
        in_parts(&theirs);
        incoming.receive().unwrap();
        assert_eq!(left(&mut incoming.look), 6);
    }
}
