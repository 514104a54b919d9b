//! Requests of HTTP/1 on one connection, each for the connection's name (RFC 9112).
//!
//! Where two servers could disagree on where a request ends, it is refused: that is how a
//! request is smuggled past whoever looks at the one before it.

mod body;
mod head;
mod upgrade;

use lakekeep_egress_rules::HostName;

use crate::inspector::Progress;
use crate::refusal::Refusal;
use body::{Chunks, Step};
use head::{Framing, MAX_HEAD};
use upgrade::Answer;

/// Where in the stream of requests the client is.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    state: State,
    /// Requests that began.
    count: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// A body of which so many bytes are left.
    Body(u64),
    Chunked(Chunks),
    /// An upgrade that the server has not answered.
    Upgrading(Answer),
}

impl Requests {
    /// Moves from `held` to `onward` what is for the name.
    pub(crate) fn client(
        &mut self,
        held: &mut Vec<u8>,
        name: &HostName,
        onward: &mut Vec<u8>,
    ) -> Result<Progress, Refusal> {
        loop {
            let taken = match &mut self.state {
                State::Upgrading(answer) => match answer.accepted() {
                    None => return Ok(Progress::AwaitServer),
                    Some(true) => return Ok(Progress::Opaque),
                    Some(false) => {
                        self.state = State::Head;
                        continue;
                    }
                },
                State::Head => self.head(held, name)?,
                State::Body(left) => {
                    let taken = (*left).min(held.len() as u64);
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                    // At most the length of what is held.
                    taken as usize
                }
                State::Chunked(chunks) => match chunks.advance(held)? {
                    Step::More(taken) => taken,
                    Step::End(taken) => {
                        self.state = State::Head;
                        taken
                    }
                },
            };
            let waits = held.is_empty() || taken == 0;
            onward.extend(held.drain(..taken));
            if waits && !matches!(self.state, State::Upgrading(_)) {
                return Ok(Progress::Inspect);
            }
        }
    }

    /// Hears the server.
    pub(crate) fn server(&mut self, bytes: &[u8]) {
        if let State::Upgrading(answer) = &mut self.state {
            answer.hear(bytes);
        }
    }

    /// The length of the head, if it is whole and for the name; 0 if it is not whole.
    fn head(&mut self, held: &[u8], name: &HostName) -> Result<usize, Refusal> {
        let Some(length) = head::length(held)? else {
            if held.len() > MAX_HEAD {
                return Err(Refusal::Http("a head of more than 32 KiB"));
            }
            return Ok(0);
        };
        let framing = head::check(held.get(..length).unwrap_or_default(), name)?;
        self.count += 1;
        self.state = match framing {
            Framing::Length(0) => State::Head,
            Framing::Length(length) => State::Body(length),
            Framing::Chunked => State::Chunked(Chunks::default()),
            // The first answer on the connection is then the one to it.
            Framing::Upgrade if self.count == 1 => State::Upgrading(Answer::default()),
            Framing::Upgrade => {
                return Err(Refusal::Http("an upgrade that is not the first request"));
            }
        };
        Ok(length)
    }
}
