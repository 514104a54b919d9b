//! What was decided about a destination, by which rule, and what to do about it.

use core::net::IpAddr;
use std::fmt;

use crate::document::Place;
use crate::guard::Guarded;
use crate::name::HostName;
use crate::rule::Rule;
use crate::ruleset::Level;
use crate::streams::Streams;

/// How something would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// A datagram: QUIC, and DNS that is not answered within. Never leaves.
    Udp,
    /// An echo, or another message of ICMP. Never leaves.
    Icmp,
}

/// Where something would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name that the sandbox asked for; `None` if it used an address that is no
    /// answer of ours.
    pub name: Option<HostName>,
    /// The address to connect to, as resolved outside; `None` if that is not known yet.
    pub address: Option<IpAddr>,
    /// The port; `None` for "any", when a name is asked for.
    pub port: Option<u16>,
    /// By what.
    pub transport: Transport,
}

/// Whether it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may, because a level's mode is dry-run, and is to be recorded as a denial.
    WouldDeny,
    /// It may not.
    Deny,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidingRule {
    /// Whose.
    pub level: Level,
    /// The rule.
    pub rule: Rule,
    /// Where it was written.
    pub place: Place,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Every level allows it.
    Allowed,
    /// No level's rules are looked at.
    Off,
    /// Nothing leaves by this transport.
    Transport(Transport),
    /// A rule denies it.
    Denied,
    /// No rule of this level allows it.
    NoRule(Level),
    /// A special address, and no rule of this level names it; or none could.
    Guarded(Level, Guarded),
    /// Levels allow different streams, and no stream is of all of them.
    NoStream,
}

/// The answer to one question about one destination.
///
/// Displays as what a user is told:
/// `denied egress to index.example:443: no rule of the user allows it; add allow tcp index.example:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was asked about.
    pub destination: Destination,
    /// Whether it may.
    pub verdict: Verdict,
    /// Why; of [`Verdict::WouldDeny`], why it would not be allowed.
    pub reason: Reason,
    /// The rule that denied, or the last level's that allowed.
    pub rule: Option<DecidingRule>,
    /// Which streams may pass; none if denied.
    pub streams: Streams,
    /// Which streams may pass without being recorded as a denial.
    pub recorded_beyond: Streams,
    /// Some level's rule spells this name out, so that the code inside chose no part of it.
    pub listed: bool,
}

impl Decision {
    /// Whether it may leave, in whatever mode.
    pub fn passes(&self) -> bool {
        self.verdict != Verdict::Deny
    }

    /// What to do about a denial; empty if it was none.
    pub fn remedy(&self) -> String {
        match &self.reason {
            Reason::Allowed | Reason::Off => String::new(),
            Reason::Transport(Transport::Udp) => {
                "use TCP; names are resolved within the sandbox, by any resolver's address"
                    .to_owned()
            }
            Reason::Transport(_) => "use TCP".to_owned(),
            Reason::Denied => "have the rule removed, if it is a mistake".to_owned(),
            Reason::NoRule(level) => format!("{} can add: allow tcp {}", level, self.destination),
            Reason::Guarded(level, guarded) if guarded.special.may_be_named() => {
                let port = self
                    .destination
                    .port
                    .map_or(String::new(), |port| format!(":{port}"));
                format!(
                    "{level} can name the address: allow tcp {}{port}",
                    bracketed(guarded.address)
                )
            }
            Reason::Guarded(..) => "no rule can allow it; use another host".to_owned(),
            Reason::NoStream => "have the levels' rules name the same protocol".to_owned(),
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// By the name if there is one: `pypi.example:443`, `[2001:db8::1]:443`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.address) {
            (Some(name), _) => write!(f, "{name}")?,
            (None, Some(address)) => f.write_str(&bracketed(address))?,
            (None, None) => f.write_str("*")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Allowed => f.write_str("every level allows it"),
            Reason::Off => f.write_str("the rules are switched off"),
            Reason::Transport(Transport::Udp) => f.write_str("UDP does not leave a sandbox"),
            Reason::Transport(Transport::Icmp) => f.write_str("ICMP does not leave a sandbox"),
            Reason::Transport(Transport::Tcp) => f.write_str("TCP"),
            Reason::Denied => f.write_str("a rule denies it"),
            Reason::NoRule(level) => write!(f, "no rule of {level} allows it"),
            Reason::Guarded(level, guarded) => {
                write!(f, "{} is {}", guarded.address, guarded.special)?;
                if guarded.special.may_be_named() {
                    write!(f, ", and no rule of {level} names that address")?;
                }
                Ok(())
            }
            Reason::NoStream => {
                f.write_str("the levels allow different protocols, and no stream is of all")
            }
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verdict {
            Verdict::Allow => "allowed",
            Verdict::WouldDeny => "would deny",
            Verdict::Deny => "denied",
        };
        write!(f, "{verb} egress to {}: {}", self.destination, self.reason)?;
        if let Some(rule) = &self.rule {
            write!(f, " ({}, {}, of {})", rule.rule, rule.place, rule.level)?;
        }
        match self.remedy() {
            remedy if remedy.is_empty() => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}
