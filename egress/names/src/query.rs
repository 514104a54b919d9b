//! One question, out of bytes that anybody may have sent.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use lakekeep_egress_rules::HostName;

/// Longest question that is read, in bytes; one has at most 12 + 255 + 4 and what EDNS adds.
pub const MAX_QUERY_BYTES: usize = 4096;
const HEADER_BYTES: usize = 12;

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct Question {
    pub(crate) message: Message,
    pub(crate) query: Query,
}

/// Why a packet is no question that is answered with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// Too short for a header, or itself an answer: answering could go on for ever.
    #[error("no DNS question")]
    Silence,
    /// Not a message, or with more in it than one question and EDNS.
    #[error("a DNS message that is not one question")]
    Malformed,
    /// Another operation than a query.
    #[error("a DNS operation other than a query")]
    Operation,
    /// A version of EDNS that there is not.
    #[error("an unknown version of EDNS")]
    Version,
    /// ANY, a transfer of a zone, or another class than the internet's.
    #[error("a DNS question of a kind that is not answered")]
    Kind,
}

impl Unanswerable {
    pub(crate) fn code(self) -> Option<ResponseCode> {
        match self {
            Unanswerable::Silence => None,
            Unanswerable::Malformed => Some(ResponseCode::FormErr),
            Unanswerable::Operation => Some(ResponseCode::NotImp),
            Unanswerable::Version => Some(ResponseCode::BADVERS),
            Unanswerable::Kind => Some(ResponseCode::Refused),
        }
    }
}

impl Question {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// [`Unanswerable`], and the message if it could be read.
    pub fn parse(packet: &[u8]) -> Result<Question, (Unanswerable, Option<Box<Message>>)> {
        check_header(packet).map_err(|error| (error, None))?;
        let message = Message::from_vec(packet).map_err(|_| (Unanswerable::Malformed, None))?;
        match check(&message) {
            Ok(query) => Ok(Question { message, query }),
            Err(error) => Err((error, Some(Box::new(message)))),
        }
    }

    /// The name, if a host can have it.
    pub fn host(&self) -> Option<HostName> {
        host_name(&self.query.name)
    }

    /// The type of the records asked for.
    pub(crate) fn kind(&self) -> RecordType {
        self.query.query_type
    }

    /// Longest answer that the client takes over UDP (RFC 6891, 6.2.3).
    pub(crate) fn udp_limit(&self) -> usize {
        let edns = self.message.edns.as_ref();
        usize::from(edns.map_or(512, Edns::max_payload)).clamp(512, 1232)
    }
}

/// What can be told from the header alone, before anything is allocated: the counts bound
/// what the parser does.
fn check_header(packet: &[u8]) -> Result<(), Unanswerable> {
    let [_, _, flags, _, q1, q0, an1, an0, ns1, ns0, ar1, ar0, ..] = packet else {
        return Err(Unanswerable::Silence);
    };
    if flags & 0x80 != 0 {
        return Err(Unanswerable::Silence);
    }
    if flags & 0x78 != 0 {
        return Err(Unanswerable::Operation);
    }
    let counts = [[*q1, *q0], [*an1, *an0], [*ns1, *ns0], [*ar1, *ar0]].map(u16::from_be_bytes);
    let single = matches!(counts, [1, 0, 0, 0 | 1]);
    if packet.len() > MAX_QUERY_BYTES || packet.len() < HEADER_BYTES || !single {
        return Err(Unanswerable::Malformed);
    }
    Ok(())
}

fn check(message: &Message) -> Result<Query, Unanswerable> {
    if message.metadata.message_type != MessageType::Query
        || message.metadata.op_code != OpCode::Query
    {
        return Err(Unanswerable::Operation);
    }
    let [query] = message.queries.as_slice() else {
        return Err(Unanswerable::Malformed);
    };
    // The one further record can be EDNS alone; a signature is nobody's here.
    if !message.additionals.is_empty() || message.signature.is_some() {
        return Err(Unanswerable::Malformed);
    }
    if message
        .edns
        .as_ref()
        .is_some_and(|edns| edns.version() != 0)
    {
        return Err(Unanswerable::Version);
    }
    let refused = matches!(
        query.query_type,
        RecordType::ANY | RecordType::AXFR | RecordType::IXFR
    );
    if refused || query.query_class != DNSClass::IN {
        return Err(Unanswerable::Kind);
    }
    Ok(query.clone())
}

/// A dot within a label is no boundary between two.
fn host_name(name: &Name) -> Option<HostName> {
    let labels: Option<Vec<&str>> = name
        .iter()
        .map(|label| {
            std::str::from_utf8(label)
                .ok()
                .filter(|label| !label.contains('.'))
        })
        .collect();
    HostName::parse(&labels?.join(".")).ok()
}
