//! The decision: each level alone, then all of them together.
//!
//! Of one level, in this order, for a denial outranks a permission and a special address
//! outranks a name:
//!
//! 1. a rule denies the name, the address, or an address that it carries;
//! 2. the address is special, and no rule names it;
//! 3. a rule allows the name or the address.

use core::net::IpAddr;
use std::sync::Arc;

use crate::cidr::Cidr;
use crate::decision::{DecidingRule, Decision, Destination, Reason, Transport, Verdict};
use crate::document::Mode;
use crate::guard::{Guard, Guarded};
use crate::name::HostName;
use crate::rule::{Effect, Ports, Rule, Target};
use crate::ruleset::{Layer, PlacedRule, Ruleset};
use crate::special::{Special, embedded, is_special_block};
use crate::streams::Streams;

/// What one level says.
pub(crate) struct Opinion<'a> {
    pub(crate) refused: Option<Reason>,
    pub(crate) rule: Option<&'a PlacedRule>,
    streams: Streams,
    listed: bool,
}

impl Ruleset {
    /// Whether something may go there. Ask before resolving (without an address), so that
    /// no query leaves for a name that is not allowed, and again for each address that was
    /// resolved, right before connecting to it.
    pub fn decide(&self, destination: &Destination, guard: &Guard) -> Decision {
        if destination.transport != Transport::Tcp {
            return refused(
                destination,
                Reason::Transport(destination.transport),
                Verdict::Deny,
            );
        }
        let findings = destination
            .address
            .map_or_else(Vec::new, |address| guard.findings(address));
        let opinions = self
            .layers
            .iter()
            .map(|layer| (layer, layer.opinion(destination, &findings)));
        together(destination, opinions.collect())
    }

    /// Whether a name may be answered inside: some port of it is allowed.
    pub fn decide_name(&self, name: &HostName, guard: &Guard) -> Decision {
        let destination = Destination {
            name: Some(name.clone()),
            address: None,
            port: None,
            transport: Transport::Tcp,
        };
        self.decide(&destination, guard)
    }
}

fn refused(destination: &Destination, reason: Reason, verdict: Verdict) -> Decision {
    Decision {
        destination: destination.clone(),
        verdict,
        reason,
        rule: None,
        streams: Streams::NONE,
        recorded_beyond: Streams::NONE,
        listed: false,
    }
}

/// A level that enforces refuses for all; then one whose mode is dry-run records; then
/// the streams that all of them let pass do.
fn together(destination: &Destination, opinions: Vec<(&Arc<Layer>, Opinion<'_>)>) -> Decision {
    let denies = |(layer, opinion): &&(&Arc<Layer>, Opinion<'_>)| {
        opinion
            .refused
            .as_ref()
            .is_some_and(|reason| layer.enforces(reason))
    };
    let would = |(_, opinion): &&(&Arc<Layer>, Opinion<'_>)| opinion.refused.is_some();
    let rule = |layer: &Layer, placed: &PlacedRule| DecidingRule {
        level: layer.level,
        rule: placed.rule.clone(),
        place: placed.place.clone(),
    };
    if let Some((layer, opinion)) = opinions.iter().find(denies) {
        let reason = opinion.refused.clone().unwrap_or(Reason::Denied);
        let rule = opinion.rule.map(|placed| rule(layer, placed));
        return Decision {
            rule,
            ..refused(destination, reason, Verdict::Deny)
        };
    }
    let all = |mode: fn(Mode) -> bool| {
        let of = opinions.iter().filter(|(layer, _)| mode(layer.mode));
        of.fold(Streams::ANY, |streams, (_, opinion)| {
            streams.and(opinion.streams)
        })
    };
    let streams = all(|mode| mode == Mode::Enforce);
    if streams.is_empty() {
        return refused(destination, Reason::NoStream, Verdict::Deny);
    }
    let told = opinions
        .iter()
        .find(would)
        .or_else(|| opinions.iter().rev().find(|(_, o)| o.rule.is_some()));
    let reason = opinions
        .iter()
        .find(would)
        .and_then(|(_, opinion)| opinion.refused.clone());
    let off = opinions.iter().all(|(layer, _)| layer.mode == Mode::Off);
    Decision {
        destination: destination.clone(),
        verdict: if reason.is_some() {
            Verdict::WouldDeny
        } else {
            Verdict::Allow
        },
        reason: reason.unwrap_or(if off { Reason::Off } else { Reason::Allowed }),
        rule: told.and_then(|(layer, opinion)| opinion.rule.map(|placed| rule(layer, placed))),
        streams,
        recorded_beyond: all(|mode| mode != Mode::Off),
        listed: opinions.iter().any(|(_, opinion)| opinion.listed),
    }
}

impl Layer {
    /// The guard holds in every mode, the rules in one.
    fn enforces(&self, reason: &Reason) -> bool {
        self.mode == Mode::Enforce || matches!(reason, Reason::Guarded(..))
    }

    pub(crate) fn opinion<'a>(&'a self, to: &'a Destination, findings: &[Guarded]) -> Opinion<'a> {
        let refused = |reason, rule| Opinion {
            refused: Some(reason),
            rule,
            streams: Streams::NONE,
            listed: false,
        };
        let denied = self.denied(to);
        if denied.is_some() && self.mode != Mode::Off {
            return refused(Reason::Denied, denied);
        }
        if let Some(guarded) = findings
            .iter()
            .find(|guarded| !self.names_special(guarded, to.port))
        {
            return refused(Reason::Guarded(self.level, *guarded), None);
        }
        if self.mode == Mode::Off {
            return Opinion {
                refused: None,
                rule: None,
                streams: Streams::ANY,
                listed: false,
            };
        }
        self.allowed(to)
            .unwrap_or_else(|| refused(Reason::NoRule(self.level), None))
    }

    /// Rules about the destination, those of the name first.
    fn about<'a>(&'a self, to: &'a Destination) -> impl Iterator<Item = &'a PlacedRule> + 'a {
        let by_name = to.name.iter().flat_map(|name| self.index.of_name(name));
        let address = to.address.map(|address| address.to_canonical());
        let by_address = address
            .into_iter()
            .flat_map(|address| self.index.of_address(address));
        by_name
            .chain(by_address)
            .filter_map(|number| self.rules.get(number))
    }

    /// A rule that denies the destination, or an IPv4 address that it carries.
    fn denied<'a>(&'a self, to: &'a Destination) -> Option<&'a PlacedRule> {
        let carried = to.address.map_or_else(Vec::new, embedded);
        let carried = carried
            .into_iter()
            .flat_map(|v4| self.index.of_address(IpAddr::V4(v4)))
            .filter_map(|number| self.rules.get(number));
        // Of a name alone, what is denied at some ports can be reached at others.
        let denies = |rule: &Rule| {
            rule.effect == Effect::Deny
                && to
                    .port
                    .map_or(rule.ports == Ports::ALL, |port| rule.ports.contains(port))
        };
        self.about(to)
            .chain(carried)
            .find(|placed| denies(&placed.rule))
    }

    /// What all rules that allow it let pass; the most specific is told.
    fn allowed<'a>(&'a self, to: &'a Destination) -> Option<Opinion<'a>> {
        let allows = |placed: &&PlacedRule| {
            placed.rule.effect == Effect::Allow
                && to.port.is_none_or(|port| placed.rule.ports.contains(port))
        };
        let mut opinion: Option<Opinion<'a>> = None;
        for placed in self.about(to).filter(allows) {
            let so_far = opinion.get_or_insert(Opinion {
                refused: None,
                rule: Some(placed),
                streams: Streams::NONE,
                listed: false,
            });
            so_far.streams = so_far.streams.or(placed.rule.streams());
            so_far.listed |= matches!(placed.rule.target, Target::Name(_));
        }
        opinion
    }

    /// Whether a rule names a special address: by a block that is all special, and the
    /// host's own by itself.
    fn names_special(&self, guarded: &Guarded, port: Option<u16>) -> bool {
        let names = |rule: &Rule| match rule.target {
            Target::Block(block) if guarded.special == Special::OwnHost => {
                block == Cidr::host(guarded.address)
            }
            Target::Block(block) => is_special_block(&block),
            _ => false,
        };
        let mut about = self
            .index
            .of_address(guarded.address)
            .filter_map(|number| self.rules.get(number));
        guarded.special.may_be_named()
            && about.any(|placed| {
                placed.rule.effect == Effect::Allow
                    && port.is_none_or(|port| placed.rule.ports.contains(port))
                    && names(&placed.rule)
            })
    }
}
