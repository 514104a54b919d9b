//! What may be said on a connection: the words `tls`, `http`, `tcp` and `opaque`.

use std::fmt;

/// The word of a rule that says which streams pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Any stream; one that begins as TLS or as HTTP/1 must be for the rule's name.
    Tcp,
    /// TLS whose server name is the rule's name, and nothing else.
    Tls,
    /// HTTP/1 whose requests are all for the rule's name, and nothing else.
    Http,
    /// Any stream, by name and port alone: no byte of it is looked at.
    Opaque,
}

/// The words, as rules spell them.
pub(crate) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("tls", Protocol::Tls),
    ("http", Protocol::Http),
    ("opaque", Protocol::Opaque),
];

impl Protocol {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Http => "http",
            Protocol::Opaque => "opaque",
        }
    }

    /// The streams that a rule with this word lets pass.
    pub fn streams(self) -> Streams {
        match self {
            Protocol::Tcp => Streams::HELD,
            Protocol::Tls => Streams {
                tls: true,
                ..Streams::NONE
            },
            Protocol::Http => Streams {
                http: true,
                ..Streams::NONE
            },
            Protocol::Opaque => Streams::ANY,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which streams pass on an allowed connection. What several rules of one level allow is
/// their union; what several levels allow is what each of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Streams {
    /// TLS for the connection's name.
    pub tls: bool,
    /// HTTP/1 for the connection's name.
    pub http: bool,
    /// What begins neither as TLS nor as HTTP/1.
    pub other: bool,
    /// Whatever is sent, for whatever name: nothing is looked at.
    pub unchecked: bool,
}

impl Streams {
    /// None at all.
    pub const NONE: Streams = Streams {
        tls: false,
        http: false,
        other: false,
        unchecked: false,
    };
    /// Every stream, those of TLS and HTTP held to the connection's name.
    pub const HELD: Streams = Streams {
        tls: true,
        http: true,
        other: true,
        unchecked: false,
    };
    /// Every stream.
    pub const ANY: Streams = Streams {
        tls: true,
        http: true,
        other: true,
        unchecked: true,
    };

    /// Whether no stream passes.
    pub fn is_empty(self) -> bool {
        self == Streams::NONE
    }

    /// What either lets pass.
    pub(crate) fn or(self, other: Streams) -> Streams {
        Streams {
            tls: self.tls || other.tls,
            http: self.http || other.http,
            other: self.other || other.other,
            unchecked: self.unchecked || other.unchecked,
        }
    }

    /// What both let pass.
    pub(crate) fn and(self, other: Streams) -> Streams {
        Streams {
            tls: self.tls && other.tls,
            http: self.http && other.http,
            other: self.other && other.other,
            unchecked: self.unchecked && other.unchecked,
        }
    }
}

/// In words: `TLS and HTTP/1 for the name, and other protocols`.
impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match (self.tls, self.http) {
            _ if self.unchecked => return f.write_str("any stream, none of it looked at"),
            (true, true) => "TLS and HTTP/1 for the name",
            (true, false) => "TLS for the name",
            (false, true) => "HTTP/1 for the name",
            (false, false) if self.other => "other protocols than TLS and HTTP/1",
            (false, false) => "nothing",
        };
        f.write_str(held)?;
        match self.other && (self.tls || self.http) {
            true => f.write_str(", and other protocols"),
            false => Ok(()),
        }
    }
}
