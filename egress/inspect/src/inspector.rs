//! The way of one stream: classified, then held to its name.

use lakekeep_egress_rules::{HostName, Streams};

use crate::classify::{Kind, classify};
use crate::http::Requests;
use crate::refusal::Refusal;
use crate::tls;

/// Most bytes of a client's that are kept until it is known for whom they are.
pub const MAX_HELD_BYTES: usize = 64 << 10;

/// How a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What the client sends goes through [`Inspector::client`].
    Inspect,
    /// As [`Progress::Inspect`]; and nothing of the client's goes on until
    /// [`Inspector::server`] has heard the server's answer to an upgrade.
    AwaitServer,
    /// Nothing needs to be looked at from here on, in either direction.
    Opaque,
}

/// What one client says on one connection, held to the connection's name.
#[derive(Debug)]
pub struct Inspector {
    name: HostName,
    streams: Streams,
    state: State,
    /// Bytes that are not known to be for the name.
    held: Vec<u8>,
    failed: Option<Refusal>,
}

#[derive(Debug)]
enum State {
    Unknown,
    Tls,
    Http(Box<Requests>),
    Opaque,
}

impl Inspector {
    /// For a connection to this name, of which these streams may pass
    /// (`Decision::streams` of the rules). Streams that are not to be looked at are opaque
    /// from their first byte.
    pub fn new(name: HostName, streams: Streams) -> Inspector {
        let state = if streams.unchecked {
            State::Opaque
        } else {
            State::Unknown
        };
        Inspector {
            name,
            streams,
            state,
            held: Vec::new(),
            failed: None,
        }
    }

    /// Takes bytes of the client's and adds to `onward` those that may go to the server.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the stream must end. Nothing that was refused is in `onward`, nor is
    /// anything that follows; every later call fails in the same way.
    pub fn client(&mut self, bytes: &[u8], onward: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if let Some(refusal) = &self.failed {
            return Err(refusal.clone());
        }
        if matches!(self.state, State::Opaque) {
            onward.extend_from_slice(bytes);
            return Ok(Progress::Opaque);
        }
        self.held.extend_from_slice(bytes);
        self.advance(onward)
            .inspect_err(|refusal| self.failed = Some(refusal.clone()))
    }

    /// The client sends nothing more. Adds to `onward` what may still go to the server.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if what is kept says for nobody.
    pub fn client_ended(&mut self, onward: &mut Vec<u8>) -> Result<(), Refusal> {
        match (&self.failed, &self.state) {
            (Some(refusal), _) => Err(refusal.clone()),
            _ if self.held.is_empty() => Ok(()),
            // Without the end of its first line it is no request.
            (None, State::Unknown)
                if self.streams.other && classify(&self.held, true)? == Some(Kind::Other) =>
            {
                onward.append(&mut self.held);
                Ok(())
            }
            _ => Err(Refusal::Ended),
        }
    }

    /// Hears the server, while [`Progress::AwaitServer`] says so. The bytes themselves go to
    /// the client at once. Adds to `onward` what the client may then send.
    ///
    /// # Errors
    ///
    /// As [`Inspector::client`].
    pub fn server(&mut self, bytes: &[u8], onward: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if let Some(refusal) = &self.failed {
            return Err(refusal.clone());
        }
        if let State::Http(requests) = &mut self.state {
            requests.server(bytes);
        }
        self.advance(onward)
            .inspect_err(|refusal| self.failed = Some(refusal.clone()))
    }

    /// Whether the client has begun to say for whom it speaks and not ended. A time limit
    /// belongs on it.
    pub fn is_undecided(&self) -> bool {
        !self.held.is_empty()
    }

    fn advance(&mut self, onward: &mut Vec<u8>) -> Result<Progress, Refusal> {
        if matches!(self.state, State::Unknown) {
            let Some(kind) = classify(&self.held, false)? else {
                return self.keep();
            };
            self.state = self.begin(kind)?;
        }
        match &mut self.state {
            State::Unknown => self.keep(),
            State::Opaque => Ok(self.release(onward)),
            State::Tls => match tls::server_name(&self.held)? {
                None => self.keep(),
                Some(said) => {
                    tls::agrees(&said, &self.name)?;
                    Ok(self.release(onward))
                }
            },
            State::Http(requests) => {
                let progress = requests.client(&mut self.held, &self.name, onward)?;
                if progress == Progress::Opaque {
                    return Ok(self.release(onward));
                }
                self.keep().map(|_| progress)
            }
        }
    }

    fn begin(&self, kind: Kind) -> Result<State, Refusal> {
        let refused = |seen| {
            Err(Refusal::Protocol {
                allowed: self.allowed(),
                seen,
            })
        };
        match kind {
            Kind::Tls if self.streams.tls => Ok(State::Tls),
            Kind::Tls => refused("TLS"),
            Kind::Http if self.streams.http => Ok(State::Http(Box::default())),
            Kind::Http => refused("HTTP"),
            Kind::Other if self.streams.other => Ok(State::Opaque),
            Kind::Other => refused("neither TLS nor HTTP"),
        }
    }

    fn allowed(&self) -> &'static str {
        match (self.streams.tls, self.streams.http) {
            (true, true) => "TLS and HTTP",
            (true, false) => "TLS",
            (false, true) => "HTTP",
            (false, false) => "neither TLS nor HTTP",
        }
    }

    fn keep(&self) -> Result<Progress, Refusal> {
        match self.held.len() {
            0..=MAX_HELD_BYTES => Ok(Progress::Inspect),
            held => Err(Refusal::TooLong(held)),
        }
    }

    fn release(&mut self, onward: &mut Vec<u8>) -> Progress {
        onward.append(&mut self.held);
        self.state = State::Opaque;
        Progress::Opaque
    }
}
