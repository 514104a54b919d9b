//! Why a stream ends.

/// Why not a further byte of a stream goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// TLS for another name than the connection's.
    #[error(
        "the TLS server name is {said}, and the connection is to {name}; connect to {said} by its own name"
    )]
    ServerName {
        /// The name that the client said.
        said: String,
        /// The connection's name.
        name: String,
    },
    /// TLS without a server name: the server chooses for whom it speaks.
    #[error(
        "TLS without a server name; use a client that sends it, or allow the name with \"opaque\""
    )]
    NoServerName,
    /// Encrypted Client Hello: the name that counts cannot be read. What merely pretends
    /// to be it (GREASE) cannot be told from it, by design (RFC 9849).
    #[error(
        "TLS with an encrypted client hello; switch it off in the client, or allow the name with \"opaque\""
    )]
    EncryptedHello,
    /// TLS that is none, or could be read in two ways.
    #[error("TLS that is not valid: {0}; use another client")]
    Tls(&'static str),
    /// An HTTP request for another host than the connection's.
    #[error(
        "the HTTP request is for {said}, and the connection is to {name}; connect to {said} by its own name"
    )]
    Host {
        /// The host that the client said.
        said: String,
        /// The connection's name.
        name: String,
    },
    /// An HTTP request that says no host.
    #[error(
        "the HTTP request says no host; use a client that sends Host, or allow the name with \"opaque\""
    )]
    NoHost,
    /// HTTP that is none, or that two servers could read in two ways.
    #[error("HTTP that is not valid or can be read in two ways: {0}; use another client")]
    Http(&'static str),
    /// A proxy's request, which would go on to another host.
    #[error("CONNECT asks for a tunnel to another host; connect to that host by its own name")]
    Connect,
    /// HTTP/2 without TLS, whose requests are not looked at.
    #[error("HTTP/2 without TLS; use HTTP/1.1 or TLS, or allow the name with \"opaque\"")]
    PriorKnowledge,
    /// An upgrade to something else than WebSocket.
    #[error(
        "an upgrade to another protocol than WebSocket; leave the Upgrade field out, or allow the name with \"opaque\""
    )]
    Upgrade,
    /// More bytes than can be kept before it is known for whom they are.
    #[error("{0} bytes, and it is not said yet for whom they are; allow the name with \"opaque\"")]
    TooLong(usize),
    /// A protocol that the rules do not allow here.
    #[error(
        "the rules allow {allowed} here, and the stream is {seen}; use that protocol, or have the rule say \"tcp\""
    )]
    Protocol {
        /// What the rules allow.
        allowed: &'static str,
        /// What the stream is.
        seen: &'static str,
    },
    /// The stream ended before it said for whom it is.
    #[error("the stream ended before it said for whom it is; send the whole request")]
    Ended,
}
