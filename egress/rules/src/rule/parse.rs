//! From text to rule, with the column of what was refused.

use core::net::IpAddr;

use super::{Effect, Host, Ports, Rule, RuleError, Target};
use crate::cidr::{Cidr, CidrError, parse_address, parse_number};
use crate::name::{HostName, NameError};
use crate::show::quoted;
use crate::streams::{PROTOCOLS, Protocol};

/// Longest rule, in bytes: the longest name and its words, and room for more.
const MAX_RULE_BYTES: usize = 400;
const FORM: &str = "write allow or deny, tcp, tls, http or opaque, and a name or address with its port, \
                    such as \"allow tls pypi.example:443\"";
const PORT_FORM: &str = "write a port from 1 to 65535, or two with a hyphen, such as 8000-8999";
const BRACKETS: &str = "write IPv6 in brackets, such as [2001:db8::1]:443";

/// A part of a text, and the column at which it stands.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Part<'a> {
    fn refused(self, cause: impl ToString, remedy: impl ToString) -> RuleError {
        RuleError {
            column: self.column,
            found: quoted(self.text),
            cause: cause.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// Of a library's message of the form "cause; remedy".
    fn refused_as(self, error: &dyn std::error::Error) -> RuleError {
        let message = error.to_string();
        let (cause, remedy) = message.split_once("; ").unwrap_or((&message, FORM));
        self.refused(cause, remedy)
    }

    /// The part from byte `at` on; `at` must be a character's start.
    fn from(self, at: usize) -> Part<'a> {
        let (before, text) = self.text.split_at_checked(at).unwrap_or((self.text, ""));
        Part {
            text,
            column: self.column + before.chars().count(),
        }
    }

    /// Divided at byte `at`, which is dropped.
    fn split(self, at: usize) -> (Part<'a>, Part<'a>) {
        let text = self.text.get(..at).unwrap_or(self.text);
        (
            Part {
                text,
                column: self.column,
            },
            self.from(at + 1),
        )
    }
}

pub(super) fn rule(text: &str) -> Result<Rule, RuleError> {
    let whole = Part { text, column: 1 };
    if text.len() > MAX_RULE_BYTES {
        let cause = format!("the rule has {} bytes", text.len());
        return Err(whole.refused(cause, format!("write at most {MAX_RULE_BYTES}")));
    }
    let mut words = words(whole);
    let end = whole.from(text.len());
    let mut next = || words.next().unwrap_or(end);
    let (effect, protocol, target, rest) = (next(), next(), next(), next());
    if !rest.text.is_empty() {
        return Err(rest.refused("a rule has three words", "write one rule for each target"));
    }
    let (effect, protocol) = (effect_of(effect)?, protocol_of(protocol)?);
    let (target_part, ports) = target_and_ports(target)?;
    let target = target_of(target_part)?;
    let rule = Rule {
        effect,
        protocol,
        target,
        ports,
    };
    agreed(&rule, target_part).map(|()| rule)
}

pub(super) fn destination(text: &str) -> Result<(Host, u16), RuleError> {
    let whole = Part { text, column: 1 };
    let (host, ports) = target_and_ports(whole)?;
    if ports.first != ports.last {
        return Err(whole.refused(
            "it names no single port",
            "write NAME:PORT, such as pypi.example:443",
        ));
    }
    let host = match target_of(host)? {
        Target::Name(name) => Host::Name(name),
        Target::Block(block) if block == Cidr::host(block.address()) => {
            Host::Address(block.address())
        }
        _ => return Err(host.refused("not one host", "write NAME:PORT, such as pypi.example:443")),
    };
    Ok((host, ports.first))
}

/// The words of a text, with their columns.
fn words(whole: Part<'_>) -> impl Iterator<Item = Part<'_>> {
    let mut rest = whole;
    std::iter::from_fn(move || {
        let start = rest.text.find(|c: char| c != ' ')?;
        rest = rest.from(start);
        let end = rest.text.find(' ').unwrap_or(rest.text.len());
        let word = Part {
            text: rest.text.get(..end)?,
            column: rest.column,
        };
        rest = rest.from(end);
        Some(word)
    })
}

fn effect_of(word: Part<'_>) -> Result<Effect, RuleError> {
    match word.text {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        _ => Err(word.refused("neither allow nor deny", FORM)),
    }
}

fn protocol_of(word: Part<'_>) -> Result<Protocol, RuleError> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == word.text);
    match (known, word.text) {
        (Some((_, protocol)), _) => Ok(*protocol),
        (None, "udp" | "icmp" | "quic") => Err(word.refused(
            "nothing but TCP leaves a sandbox; names are answered within",
            "write tcp, or leave the rule out",
        )),
        (None, _) => Err(word.refused("not a protocol of rules", FORM)),
    }
}

/// Divides `HOST:PORTS`. The colons of IPv6 are within brackets, or before a slash.
fn target_and_ports(word: Part<'_>) -> Result<(Part<'_>, Ports), RuleError> {
    let text = word.text;
    if text.is_empty() {
        return Err(word.refused("there is no target", FORM));
    }
    let host_ends = match (text.strip_prefix('['), text.find('/')) {
        (Some(_), _) => text
            .find(']')
            .ok_or_else(|| word.refused("a bracket is not closed", BRACKETS))?,
        (None, Some(slash)) => slash,
        (None, None) => 0,
    };
    let after = text.get(host_ends..).unwrap_or_default();
    let Some(colon) = after.find(':').map(|at| host_ends + at) else {
        return Ok((word, Ports::ALL));
    };
    let (host, ports) = word.split(colon);
    if ports.text.contains(':') {
        return Err(word.refused("IPv6 without brackets can be read in two ways", BRACKETS));
    }
    Ok((host, ports_of(ports)?))
}

fn ports_of(part: Part<'_>) -> Result<Ports, RuleError> {
    let port = |text: &str| parse_number(text).and_then(|port| u16::try_from(port).ok());
    let (first, last) = part.text.split_once('-').unwrap_or((part.text, part.text));
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        return Err(part.refused("not a port", PORT_FORM));
    };
    Ports::new(first, last).ok_or_else(|| match first {
        0 => part.refused("there is no port 0", PORT_FORM),
        _ => part.refused(
            "the first port is above the last",
            format!("write {last}-{first}"),
        ),
    })
}

fn target_of(part: Part<'_>) -> Result<Target, RuleError> {
    let text = part.text;
    if text == "*" {
        return Ok(Target::AnyName);
    }
    if let Some(below) = text.strip_prefix("*.") {
        return name(part.from(text.len() - below.len())).map(Target::Below);
    }
    if text.contains('*') {
        return Err(part.refused(
            "a star stands for whole labels at the start alone",
            "write *.NAME",
        ));
    }
    if let Some(inner) = text.strip_prefix('[') {
        return bracketed(part, inner);
    }
    if text.contains('/') || parse_address(text).is_some() {
        return Cidr::parse(text)
            .map(Target::Block)
            .map_err(|error| block_error(part, &error));
    }
    name(part).map(Target::Name)
}

fn bracketed(part: Part<'_>, inner: &str) -> Result<Target, RuleError> {
    let inner = inner
        .strip_suffix(']')
        .ok_or_else(|| part.refused("text after the bracket", BRACKETS))?;
    let block = Cidr::parse(inner).map_err(|error| block_error(part, &error))?;
    let address = inner.split('/').next().and_then(parse_address);
    if matches!(address, Some(IpAddr::V4(_))) {
        return Err(part.refused("IPv4 stands in no brackets", format!("write {block}")));
    }
    Ok(Target::Block(block))
}

fn name(part: Part<'_>) -> Result<HostName, RuleError> {
    HostName::parse(part.text).map_err(|error| match error {
        NameError::Character(c) => {
            let at = part.text.find(c).unwrap_or_default();
            part.from(at).refused_as(&error)
        }
        _ => part.refused_as(&error),
    })
}

fn block_error(part: Part<'_>, error: &CidrError) -> RuleError {
    part.refused_as(error)
}

/// What each word means alone, and the two together do not.
fn agreed(rule: &Rule, target: Part<'_>) -> Result<(), RuleError> {
    let by_name = !matches!(rule.target, Target::Block(_));
    match (rule.effect, rule.protocol) {
        (Effect::Deny, Protocol::Tls | Protocol::Http | Protocol::Opaque) => {
            let cause = format!(
                "a denial is of all streams, and this one is of {}",
                rule.protocol
            );
            Err(target.refused(cause, "write deny tcp"))
        }
        (Effect::Allow, Protocol::Tls | Protocol::Http) if !by_name => {
            let cause = format!(
                "{} is held to a name, and an address has none",
                rule.protocol
            );
            Err(target.refused(cause, "write allow tcp, or name the host"))
        }
        _ => Ok(()),
    }
}
