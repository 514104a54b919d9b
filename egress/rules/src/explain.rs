//! The decision level by level, for whoever asks why.

use crate::decide::Opinion;
use crate::decision::{Decision, Destination, Reason};
use crate::document::Mode;
use crate::grant::{FixedAddresses, Grant, Wanted};
use crate::guard::Guard;
use crate::name::HostName;
use crate::ruleset::{Layer, Level, Ruleset};
use crate::service::Service;

/// What `lakekeep egress test` tells of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether something may leave.
    pub passes: bool,
    /// As it was understood: of a service's own address, the service's name.
    pub destination: String,
    /// The rule that decided, or the grant, as a receipt has it.
    pub rule: Option<String>,
    /// What it leads to, where that is no host.
    pub grant: Option<Grant>,
    /// The decision, with what to do about a denial.
    pub words: String,
    /// What to do about a denial; empty if it was none.
    pub remedy: String,
    /// A line for what each level says, the administrator's first, then the decision.
    pub lines: Vec<String>,
}

impl Ruleset {
    /// What each level says, and the decision, in the order in which a relay decides: a grant,
    /// then the rules. `fixed` are the addresses that services have as their own. Nothing is
    /// resolved and nothing is connected to: an address is looked at only if the destination
    /// has one.
    pub fn explain(
        &self,
        destination: &Destination,
        guard: &Guard,
        fixed: &FixedAddresses,
    ) -> Explanation {
        let address = destination.address.filter(|_| destination.name.is_none());
        let service = address.and_then(|address| fixed.get(&address).copied());
        match self.asked(destination.name.clone(), service) {
            (Some(name), Some(grant)) => {
                let at = Destination {
                    name: Some(name.clone()),
                    ..destination.clone()
                };
                let mut explanation = self.explain_grant(&at, &name, grant);
                if destination.name.is_none() {
                    let same = format!("{destination} is an address of {name}'s own");
                    explanation.lines.insert(0, same);
                }
                explanation
            }
            _ => self.explain_rules(destination, guard, service),
        }
    }

    fn explain_grant(&self, at: &Destination, name: &HostName, grant: Grant) -> Explanation {
        let wrong = at.port.and_then(|port| grant.wrong_port(port));
        let remedy = match &wrong {
            Some(_) => format!("connect to {name}:{}", grant.port()),
            None => String::new(),
        };
        let words = match &wrong {
            Some(why) => format!("denied egress to {at}: {why}; {remedy}"),
            None => format!("granted: {grant} as {at}"),
        };
        let mut lines = Wanted::of(name).map_or_else(Vec::new, |wanted| self.said_of(&wanted));
        lines.push(words.clone());
        lines.extend(self.totals());
        Explanation {
            passes: wrong.is_none(),
            destination: at.to_string(),
            rule: Some(grant.rule()),
            grant: Some(grant),
            words,
            remedy,
            lines,
        }
    }

    /// By the rules; where a grant is missing, also of whom.
    fn explain_rules(
        &self,
        to: &Destination,
        guard: &Guard,
        service: Option<Service>,
    ) -> Explanation {
        let by_name = to.name.as_ref().and_then(Wanted::of);
        let wanted = by_name.or(service.map(Wanted::Service));
        let mut lines = wanted
            .as_ref()
            .map_or_else(Vec::new, |wanted| self.said_of(wanted));
        let findings = to
            .address
            .map_or_else(Vec::new, |address| guard.findings(address));
        let opinions = self.layers.iter();
        lines.extend(opinions.map(|layer| line(layer, &layer.opinion(to, &findings))));
        let decision = self.decide(to, guard);
        let missing = wanted.and_then(|wanted| self.missing(&wanted));
        let (words, remedy) = match missing.filter(|_| !decision.passes()) {
            Some(missing) => (
                format!("denied egress to {to}: {missing}"),
                missing.remedy.clone(),
            ),
            None => (decision.to_string(), decision.remedy()),
        };
        lines.push(words.clone());
        lines.extend(self.totals());
        lines.extend(what_passes(&decision));
        Explanation {
            passes: decision.passes(),
            destination: to.to_string(),
            rule: decision.rule.as_ref().map(|rule| rule.rule.to_string()),
            grant: None,
            words,
            remedy,
            lines,
        }
    }

    fn said_of(&self, wanted: &Wanted) -> Vec<String> {
        let says = |layer: &std::sync::Arc<Layer>| layer.says(wanted);
        self.layers.iter().map(says).collect()
    }
}

/// Of what passes, which streams; and that a name's addresses are yet to be looked at.
fn what_passes(decision: &Decision) -> Vec<String> {
    let mut lines = Vec::new();
    if decision.passes() {
        lines.push(format!("may pass: {}", decision.streams));
    }
    if decision.passes() && decision.destination.address.is_none() {
        lines.push("each address that the name resolves to is looked at once more".to_owned());
    }
    lines
}

impl Ruleset {
    /// A line for each level that bounds its sandboxes together.
    fn totals(&self) -> impl Iterator<Item = String> {
        let levels = [Level::Administrator, Level::Owner].into_iter();
        let totals = levels.map(|level| (level, self.total(level)));
        totals
            .filter(|(_, total)| !total.is_unlimited())
            .map(|(level, total)| format!("{level}'s total, of all sandboxes together: {total}"))
    }
}

fn line(layer: &Layer, opinion: &Opinion<'_>) -> String {
    let mode = match layer.mode {
        Mode::Enforce => "",
        Mode::DryRun => " (dry-run)",
        Mode::Off => " (off)",
    };
    let says = match &opinion.refused {
        Some(reason) => reason.to_string(),
        None if layer.mode == Mode::Off => Reason::Off.to_string(),
        None => "allowed".to_owned(),
    };
    let rule = opinion.rule.map_or_else(String::new, |placed| {
        format!(": {} ({})", placed.rule, placed.place)
    });
    format!("{}{mode}: {says}{rule}", layer.level)
}
