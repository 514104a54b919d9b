//! Rules on addresses that take away what rules on names beside them look at.

use std::collections::BTreeMap;

use super::{Layer, PlacedRule};
use crate::document::Mode;
use crate::rule::{Effect, Target};
use crate::streams::Protocol;

impl Layer {
    /// Allowing rules on addresses, each with one on names that says TLS or HTTP alone for one
    /// of the same ports: where such a name resolves to such an address, what both allow is
    /// their union, and any stream passes. Whether it ever does only a resolver knows; that
    /// nothing keeps it from it is in the document.
    pub(super) fn unheld(&self) -> Vec<(&PlacedRule, &PlacedRule)> {
        if self.mode == Mode::Off {
            return Vec::new();
        }
        let allowing = || {
            let rules = self.rules.iter();
            rules.filter(|placed| placed.rule.effect == Effect::Allow)
        };
        // One of each range: of 20,000 rules few have ports that no other has.
        let mut held = BTreeMap::new();
        for placed in allowing().filter(|placed| is_held(placed)) {
            held.entry(placed.rule.ports).or_insert(placed);
        }
        let beside = |wide: &PlacedRule| {
            let mut held = held.values();
            held.find(|held| held.rule.ports.meets(wide.rule.ports))
                .copied()
        };
        allowing()
            .filter(|placed| matches!(placed.rule.target, Target::Block(_)))
            .filter_map(|wide| Some((wide, beside(wide)?)))
            .collect()
    }
}

fn is_held(placed: &PlacedRule) -> bool {
    matches!(placed.rule.protocol, Protocol::Tls | Protocol::Http)
}

/// What is weaker, and what to do.
pub(super) fn words(held: &PlacedRule) -> String {
    format!(
        "any stream passes there by address and port alone: also one that \"{}\" would hold to its \
         name, if that name resolves there; name the host instead, or other ports",
        held.rule
    )
}
