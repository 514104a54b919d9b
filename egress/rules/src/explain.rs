//! The decision level by level, for whoever asks why.

use crate::decide::Opinion;
use crate::decision::{Destination, Reason};
use crate::document::Mode;
use crate::guard::Guard;
use crate::ruleset::{Layer, Level, Ruleset};

impl Ruleset {
    /// A line for what each level says, the administrator's first, and the decision; what
    /// `lakekeep egress test` prints. Nothing is resolved and nothing is connected to: an
    /// address is looked at only if the destination has one.
    pub fn explain(&self, destination: &Destination, guard: &Guard) -> String {
        let findings = destination
            .address
            .map_or_else(Vec::new, |address| guard.findings(address));
        let mut lines: Vec<String> = self
            .layers
            .iter()
            .map(|layer| line(layer, &layer.opinion(destination, &findings)))
            .collect();
        let decision = self.decide(destination, guard);
        lines.push(decision.to_string());
        lines.extend(self.totals());
        if decision.passes() {
            lines.push(format!("may pass: {}", decision.streams));
        }
        if decision.passes() && destination.address.is_none() {
            lines.push("each address that the name resolves to is looked at once more".to_owned());
        }
        lines.join("\n")
    }
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
