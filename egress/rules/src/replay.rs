//! What other rules would have said of flows that there were.

use core::net::IpAddr;

use crate::decision::{Decision, Destination, Transport};
use crate::guard::Guard;
use crate::name::HostName;
use crate::rule::{Effect, Rule};
use crate::ruleset::Ruleset;
use crate::streams::Streams;

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It was let out, in whatever mode.
    Passed,
    /// It was allowed, and the other side was not reached.
    Failed,
    /// It was not.
    Denied,
}

/// A flow that there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastFlow {
    /// Where it went. The address is one that was connected to; that of a flow that was not
    /// carried stands for its name alone, and is left out.
    pub destination: Destination,
    /// What became of it.
    pub then: Then,
    /// The rule that decided.
    pub rule: Option<Rule>,
}

/// What other rules change for a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that can be known.
    None,
    /// It was let out, and would not be.
    Breaks(Decision),
    /// It was let out, and would be if it is of these streams alone: what it was is not
    /// known.
    Narrows(Decision),
    /// It was denied, and would not be. An address to which its name leads, and what is
    /// sent, would be looked at once more.
    Opens(Decision),
}

/// What `rules` would have changed for a flow: decided as a relay decides, of the name
/// first and then of the address.
pub fn replay(flow: &PastFlow, rules: &Ruleset, guard: &Guard) -> Change {
    let now = decide(&flow.destination, rules, guard);
    match (flow.then, now.passes()) {
        (Then::Passed | Then::Failed, false) => Change::Breaks(now),
        (Then::Passed, true) if narrower(flow.rule.as_ref(), now.streams) => Change::Narrows(now),
        // A rule allowed it, and what it sent was refused: other rules see the same bytes.
        (Then::Denied, true) if !flow.rule.as_ref().is_some_and(allows) => Change::Opens(now),
        _ => Change::None,
    }
}

/// A name that may not be resolved has no address to be asked about.
fn decide(to: &Destination, rules: &Ruleset, guard: &Guard) -> Decision {
    let by_name = Destination {
        address: to.address.filter(|_| to.name.is_none()),
        ..to.clone()
    };
    let first = rules.decide(&by_name, guard);
    match first.passes() && by_name.address != to.address {
        true => rules.decide(to, guard),
        false => first,
    }
}

/// Whether streams that the rule let pass would no longer.
fn narrower(rule: Option<&Rule>, now: Streams) -> bool {
    let before = rule.filter(|rule| allows(rule)).map(Rule::streams);
    before.is_some_and(|before| before.and(now) != before)
}

fn allows(rule: &Rule) -> bool {
    rule.effect() == Effect::Allow
}

impl PastFlow {
    /// A flow as a log has it: texts that are no names or rules (of an earlier version, say) are
    /// as if they were not there.
    pub fn of_log(
        to: (Option<&str>, Option<IpAddr>, Option<u16>),
        then: Then,
        rule: Option<&str>,
    ) -> PastFlow {
        let (name, address, port) = to;
        let name: Option<HostName> = name.and_then(|name| name.parse().ok());
        let connected = then == Then::Passed || name.is_none();
        PastFlow {
            destination: Destination {
                name,
                address: address.filter(|_| connected),
                port,
                transport: Transport::Tcp,
            },
            then,
            rule: rule.and_then(|rule| rule.parse().ok()),
        }
    }
}
