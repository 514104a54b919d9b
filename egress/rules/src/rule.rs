//! One rule and its text: `allow tls pypi.example:443`.
//!
//! ```text
//! rule   = effect protocol target [":" ports]
//! effect = "allow" | "deny"
//! protocol = "tcp" | "tls" | "http" | "opaque"
//! target = NAME | "*." NAME | "*" | IPV4 ["/" LENGTH] | "[" IPV6 ["/" LENGTH] "]" | IPV6 "/" LENGTH
//! ports  = PORT | PORT "-" PORT
//! ```

mod parse;

use std::fmt;
use std::str::FromStr;

use crate::cidr::Cidr;
use crate::name::HostName;
use crate::streams::{Protocol, Streams};

/// Whether a rule allows or denies. A denial outranks every permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// What matches may pass.
    Allow,
    /// What matches may not.
    Deny,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One name.
    Name(HostName),
    /// Every name below this one, at any depth, and not this one: `*.pypi.example`.
    Below(HostName),
    /// Every name: `*`.
    AnyName,
    /// An address or a block of them, whatever name led there.
    Block(Cidr),
}

/// Ports from `first` to `last`, both included; none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// A rule that can be read, and so can be applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    pub(crate) effect: Effect,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    pub(crate) ports: Ports,
}

/// Why a text is not a rule: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {found}: {cause}; {remedy}")]
pub struct RuleError {
    /// In characters, counted from one.
    pub column: usize,
    /// What stands there, in quotation marks; made safe to show.
    pub found: String,
    /// What is wrong with it.
    pub cause: String,
    /// What to write.
    pub remedy: String,
}

impl Ports {
    /// Every port.
    pub const ALL: Ports = Ports {
        first: 1,
        last: u16::MAX,
    };

    /// `None` if `first` is 0 or above `last`.
    pub fn new(first: u16, last: u16) -> Option<Ports> {
        (first > 0 && first <= last).then_some(Ports { first, last })
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether all of `inner` are among them.
    pub(crate) fn holds(self, inner: Ports) -> bool {
        self.first <= inner.first && inner.last <= self.last
    }

    /// Whether a port is in both.
    pub fn meets(self, other: Ports) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Rule {
    /// Whether it allows or denies.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Which streams it is about.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What it is about.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The streams that it lets pass: an address has no name that one could be held to.
    pub(crate) fn streams(&self) -> Streams {
        match self.target {
            Target::Block(_) => Streams::ANY,
            _ => self.protocol.streams(),
        }
    }

    /// At which ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        parse::rule(text)
    }
}

/// A host and a port, as `lakekeep egress test` is asked about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By name.
    Name(HostName),
    /// By address.
    Address(core::net::IpAddr),
}

/// Reads `NAME:PORT`, `IPV4:PORT` or `[IPV6]:PORT`.
///
/// # Errors
///
/// [`RuleError`] with the column at which it is none of them.
pub fn parse_destination(text: &str) -> Result<(Host, u16), RuleError> {
    parse::destination(text)
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => write!(f, "{name}"),
            Target::Below(name) => write!(f, "*.{name}"),
            Target::AnyName => f.write_str("*"),
            Target::Block(block) if block.address().is_ipv6() => write!(f, "[{block}]"),
            Target::Block(block) => write!(f, "{block}"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The one text of the rule; it reads back equal.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.effect, self.protocol, self.target)?;
        if self.ports == Ports::ALL {
            return Ok(());
        }
        write!(f, ":{}", self.ports)
    }
}
