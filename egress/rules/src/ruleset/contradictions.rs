//! Rules of one document that take each other back.

use super::{Layer, Level, PlacedRule, Ruleset};
use crate::rule::{Effect, Rule, Target};

impl Ruleset {
    /// Allowing rules that allow nothing, because a denial of the same document covers them,
    /// each with that denial. A denial of a part is none: exceptions are written so.
    pub fn contradictions(&self) -> Vec<(Level, &PlacedRule, &PlacedRule)> {
        let found = self.layers.iter().flat_map(|layer| {
            let pairs = layer.contradictions();
            pairs.map(|(allowed, denied)| (layer.level, allowed, denied))
        });
        found.collect()
    }
}

impl Layer {
    fn contradictions(&self) -> impl Iterator<Item = (&PlacedRule, &PlacedRule)> {
        let of = |effect: Effect| {
            self.rules
                .iter()
                .filter(move |placed| placed.rule.effect == effect)
        };
        of(Effect::Allow).filter_map(move |allowed| {
            let denied = of(Effect::Deny).find(|denied| covers(&denied.rule, &allowed.rule))?;
            Some((allowed, denied))
        })
    }
}

/// Whether every destination of `inner` is one of `outer`.
fn covers(outer: &Rule, inner: &Rule) -> bool {
    outer.ports.holds(inner.ports) && holds(&outer.target, &inner.target)
}

fn holds(outer: &Target, inner: &Target) -> bool {
    let below = |name: &crate::HostName, above: &crate::HostName| {
        name.parents().any(|parent| parent == above.as_str())
    };
    match (outer, inner) {
        (Target::Block(outer), Target::Block(inner)) => outer.covers(inner),
        (Target::Block(_), _) | (_, Target::Block(_)) => false,
        (Target::AnyName, _) => true,
        (_, Target::AnyName) | (Target::Name(_), Target::Below(_)) => false,
        (Target::Name(outer), Target::Name(inner)) => outer == inner,
        (Target::Below(above), Target::Name(name)) => below(name, above),
        (Target::Below(outer), Target::Below(inner)) => outer == inner || below(inner, outer),
    }
}
