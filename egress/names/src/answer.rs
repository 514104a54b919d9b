//! The answer to one packet.

use core::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use lakekeep_egress_rules::{HostName, Limits};

use crate::bucket::Bucket;
use crate::pool::{FakeNames, PoolError};
use crate::query::{Question, Unanswerable};

/// Seconds for which a client may remember an address: it stays the name's anyway, and a
/// denial is to be seen soon when rules change.
const TTL: u32 = 30;
/// Longest name below a wildcard, in bytes: whoever chooses names can say things in them.
const MAX_UNLISTED_BYTES: usize = 128;
/// A new name below a wildcard costs a token for each so many bytes that are begun.
const BYTES_PER_TOKEN: usize = 32;
/// Largest UDP message of ours, which no path cuts (DNS flag day 2020).
const EDNS_BYTES: u16 = 1232;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// In a datagram, whose answer has a limit.
    Udp,
    /// In a stream.
    Tcp,
}

/// What the rules say about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A rule spells it out.
    Listed,
    /// A wildcard, or a mode, allows it: the code inside chose it.
    Unlisted,
    /// No.
    Denied,
}

/// What was answered, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name's address.
    Address(HostName),
    /// The name exists and has no records of this type.
    NoData(HostName),
    /// The address's name.
    Pointer(HostName),
    /// No rule allows the name: it does not exist.
    Denied(HostName),
    /// A name that no host can have: it does not exist.
    NoHost,
    /// Too many names, or too many new ones.
    Limited(HostName, Limit),
    /// No answer with records.
    Unanswerable(Unanswerable),
}

/// The limit that a name met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// All names together.
    #[error(transparent)]
    Names(PoolError),
    /// New names below wildcards.
    #[error(
        "too many new names below wildcards in a minute; raise limits.new_names_per_minute, or list the names"
    )]
    Rate,
    /// The length of a name below a wildcard.
    #[error("a name of more than 128 bytes below a wildcard; list the name in a rule of its own")]
    Length,
}

/// A packet and what it says; no packet where silence is the answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// To be sent back, from the address that was asked.
    pub packet: Option<Vec<u8>>,
    /// What it says.
    pub outcome: Outcome,
}

/// The names of one sandbox.
#[derive(Debug)]
pub struct Zone {
    names: FakeNames,
    fresh: Bucket,
}

impl Zone {
    /// With IPv6 addresses of this /64 and the limits of the sandbox's rules.
    ///
    /// # Errors
    ///
    /// [`PoolError::Prefix`] as of [`FakeNames::new`].
    pub fn new(prefix: Ipv6Addr, limits: &Limits) -> Result<Zone, PoolError> {
        let names = FakeNames::new(prefix, limits.names)?;
        Ok(Zone {
            names,
            fresh: Bucket::new(limits.new_names_per_minute),
        })
    }

    /// Puts other limits in force. Names that have addresses keep them, above a lower limit too.
    pub fn limit(&mut self, limits: &Limits) {
        self.names.limit(limits.names);
        self.fresh.limit(limits.new_names_per_minute);
    }

    /// The names and their addresses.
    pub fn names(&self) -> &FakeNames {
        &self.names
    }

    /// Answers a packet. `now` is the time since any fixed moment; `allowed` is asked at
    /// most once.
    pub fn answer(
        &mut self,
        packet: &[u8],
        via: Via,
        now: Duration,
        allowed: impl FnOnce(&HostName) -> Allowed,
    ) -> Answer {
        let question = match Question::parse(packet) {
            Ok(question) => question,
            Err((error, message)) => return unanswerable(packet, error, message),
        };
        let mut reply = reply_to(&question.message);
        let outcome = match self.pointer(&question) {
            Some(outcome) => outcome,
            None => self.forward(&question, now, allowed),
        };
        self.fill(&mut reply, &question, &outcome);
        let limit = match via {
            Via::Udp => question.udp_limit(),
            Via::Tcp => usize::from(u16::MAX),
        };
        Answer {
            packet: encoded(reply, limit),
            outcome,
        }
    }

    /// Of a name in in-addr.arpa or ip6.arpa; `None` for every other.
    fn pointer(&self, question: &Question) -> Option<Outcome> {
        let net = question.query.name.parse_arpa_name().ok()?;
        let whole = net.prefix_len() == net.max_prefix_len();
        let address: Option<IpAddr> = whole.then(|| net.addr());
        Some(match address.and_then(|address| self.names.name(address)) {
            Some(name) if question.kind() == RecordType::PTR => Outcome::Pointer(name.clone()),
            Some(name) => Outcome::NoData(name.clone()),
            None => Outcome::NoHost,
        })
    }

    fn forward(
        &mut self,
        question: &Question,
        now: Duration,
        allowed: impl FnOnce(&HostName) -> Allowed,
    ) -> Outcome {
        let Some(name) = question.host() else {
            return Outcome::NoHost;
        };
        let allowed = allowed(&name);
        if allowed == Allowed::Denied {
            return Outcome::Denied(name);
        }
        if !matches!(question.kind(), RecordType::A | RecordType::AAAA) {
            return Outcome::NoData(name);
        }
        match self.admit(&name, allowed, now) {
            Ok(()) => Outcome::Address(name),
            Err(limit) => Outcome::Limited(name, limit),
        }
    }

    /// Gives the name its addresses, within the limits.
    fn admit(&mut self, name: &HostName, allowed: Allowed, now: Duration) -> Result<(), Limit> {
        if self.names.addresses(name).is_some() {
            return Ok(());
        }
        let length = name.as_str().len();
        if allowed == Allowed::Unlisted {
            if length > MAX_UNLISTED_BYTES {
                return Err(Limit::Length);
            }
            // At most four: the length is bounded above.
            let tokens = length.div_ceil(BYTES_PER_TOKEN) as u32;
            if !self.fresh.take(tokens, now) {
                return Err(Limit::Rate);
            }
        }
        self.names.assign(name).map(|_| ()).map_err(Limit::Names)
    }

    fn fill(&self, reply: &mut Message, question: &Question, outcome: &Outcome) {
        let owner = question.query.name.clone();
        let data =
            match outcome {
                Outcome::Address(name) => self.names.addresses(name).map(|(v4, v6)| match question
                    .kind()
                {
                    RecordType::A => RData::A(A(v4)),
                    _ => RData::AAAA(AAAA(v6)),
                }),
                Outcome::Pointer(name) => Name::from_ascii(format!("{name}."))
                    .ok()
                    .map(|name| RData::PTR(PTR(name))),
                _ => None,
            };
        reply.metadata.response_code = match outcome {
            Outcome::Address(_) | Outcome::NoData(_) | Outcome::Pointer(_) => ResponseCode::NoError,
            Outcome::Denied(_) | Outcome::NoHost => ResponseCode::NXDomain,
            // A client asks another resolver, and again later.
            Outcome::Limited(..) => ResponseCode::ServFail,
            Outcome::Unanswerable(_) => ResponseCode::Refused,
        };
        reply.add_answers(data.map(|data| Record::from_rdata(owner, TTL, data)));
    }
}

/// An answer without records, with the question and EDNS as they were asked.
fn reply_to(message: &Message) -> Message {
    let mut reply = Message::new(message.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata = Metadata::response_from_request(&message.metadata);
    reply.metadata.recursion_available = true;
    reply.add_queries(message.queries.iter().cloned());
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_BYTES).set_version(0);
        reply.set_edns(edns);
    }
    reply
}

fn unanswerable(packet: &[u8], error: Unanswerable, message: Option<Box<Message>>) -> Answer {
    let outcome = Outcome::Unanswerable(error);
    let (Some(code), [high, low, ..]) = (error.code(), packet) else {
        return Answer {
            packet: None,
            outcome,
        };
    };
    let mut reply = match message {
        Some(message) => reply_to(&message),
        None => Message::new(
            u16::from_be_bytes([*high, *low]),
            MessageType::Response,
            OpCode::Query,
        ),
    };
    reply.metadata.response_code = code;
    Answer {
        packet: encoded(reply, usize::from(EDNS_BYTES)),
        outcome,
    }
}

/// Cut to its question, and marked so, if it is longer than the client takes.
fn encoded(reply: Message, limit: usize) -> Option<Vec<u8>> {
    let packet = reply.to_vec().ok()?;
    if packet.len() <= limit {
        return Some(packet);
    }
    reply
        .truncate()
        .to_vec()
        .ok()
        .filter(|packet| packet.len() <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_cut_to_its_question() {
        let mut reply = Message::new(7, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("a.example.").unwrap();
        let record = Record::from_rdata(name, TTL, RData::A(A([198, 18, 1, 0].into())));
        reply.add_answers(vec![record; 40]);
        let whole = encoded(reply.clone(), 65_535).unwrap();
        assert!(whole.len() > 512);
        let cut = Message::from_vec(&encoded(reply, 512).unwrap()).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
    }
}
