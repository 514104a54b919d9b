//! Frames over the engine's end of a session's socket. The worker is not trusted: all that it
//! declares is bounded before there is memory for it.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};

use crate::UdfError;
use crate::aside::Aside;
use crate::look::Look;
use crate::output::Output;
use crate::wire::{Frame, HEADER, Header, PIECE, kind, place};

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

/// A frame on its way out.
#[derive(Debug)]
struct Sending {
    header: Header,
    pieces: Vec<Vec<u8>>,
    /// Whether the header is gone, for content that follows in parts.
    begun: bool,
    /// Content that is gone, bytes.
    sent: usize,
}

/// What goes to the worker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    socket: Arc<OwnedFd>,
    queue: VecDeque<Sending>,
    /// Whether the last frame has parts.
    large: bool,
}

impl Outgoing {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            large: false,
        }
    }

    /// Has a frame sent when there is room.
    pub(crate) fn queue(&mut self, kind: u8, call: u32, rows: u64, pieces: Vec<Vec<u8>>) {
        let length: usize = pieces.iter().map(Vec::len).sum();
        self.large = length > PIECE;
        let header = Header {
            kind,
            place: match self.large {
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
        });
    }

    /// Whether the last frame takes its reader longer than one looks for an answer.
    pub(crate) fn large(&self) -> bool {
        self.large
    }

    /// Sends what there is room for, without waiting; whether that was all.
    pub(crate) fn flush(&mut self) -> Result<bool, Broken> {
        while let Some(frame) = self.queue.front_mut() {
            match frame.send(&self.socket) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
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
        let length: usize = self.pieces.iter().map(Vec::len).sum();
        if self.header.place == place::INLINE {
            return packet(socket, self.header, self.window(0, length));
        }
        if !self.begun {
            packet(socket, self.header, Vec::new())?;
            self.begun = true;
        }
        while self.sent < length {
            let size = PIECE.min(length - self.sent);
            let header = Header {
                kind: kind::PART,
                place: place::INLINE,
                length: size as u64,
                rows: 0,
                ..self.header
            };
            packet(socket, header, self.window(self.sent, size))?;
            self.sent += size;
        }
        Ok(())
    }

    /// The pieces of the content's bytes from `start` on.
    fn window(&self, mut start: usize, mut size: usize) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let skipped = start.min(piece.len());
            let taken = size.min(piece.len() - skipped);
            slices.extend(piece.get(skipped..skipped + taken));
            (start, size) = (start - skipped, size - taken);
        }
        slices
    }
}

fn packet(socket: &OwnedFd, header: Header, content: Vec<&[u8]>) -> Result<(), Errno> {
    let header = header.to_bytes();
    let mut slices = vec![IoSlice::new(&header)];
    slices.extend(content.into_iter().map(IoSlice::new));
    let mut none = SendAncillaryBuffer::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &slices, &mut none, flags).map(|_| ())
}

/// A frame whose parts are still arriving.
#[derive(Debug)]
struct Partial {
    frame: Frame,
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
        // Parts follow as fast as they are copied: whoever looked would only be in the way.
        let Some(most) = self.look.now().filter(|_| self.partial.is_none()) else {
            return Ok(false);
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
                self.look.paid();
                return Ok(true);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep(&mut self) -> Result<(), Broken> {
        let since = Instant::now();
        if self.wait(PollFlags::IN)?.contains(PollFlags::IN) {
            self.read()?;
            self.look.slept(since.elapsed());
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
        let frame = Frame {
            kind: header.kind,
            call: header.call,
            rows: header.rows,
            // Zeros that are not there before a part is written over them.
            content: vec![0; length],
        };
        self.partial = Some(Partial { frame, filled: 0 });
        Ok(())
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
        self.arrived.push_back(Frame {
            kind: header.kind,
            call: header.call,
            rows: header.rows,
            content: target.get(..size).unwrap_or_default().to_vec(),
        });
        Ok(())
    }

    fn take_part(&mut self, header: Header, size: usize) -> Result<(), Broken> {
        let Some(mut partial) = self.partial.take() else {
            return Err(violation("a part of no frame"));
        };
        let wanted = partial.target().len();
        let fits = size == wanted && header.length == size as u64;
        if !fits || header.place != place::INLINE || header.call != partial.frame.call {
            return Err(violation(format!(
                "a part of {size} bytes instead of {wanted}"
            )));
        }
        partial.filled += size;
        match partial.filled == partial.frame.content.len() {
            true => self.arrived.push_back(partial.frame),
            false => self.partial = Some(partial),
        }
        Ok(())
    }
}

impl Partial {
    /// Where the next part goes; as large as that has to be.
    fn target(&mut self) -> &mut [u8] {
        let content = &mut self.frame.content;
        let end = content.len().min(self.filled + PIECE);
        content.get_mut(self.filled..end).unwrap_or_default()
    }
}

pub(crate) fn timespec(of: std::time::Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(of.subsec_nanos()),
    }
}
