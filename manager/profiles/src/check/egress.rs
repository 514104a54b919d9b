//! Rules for `[egress]`.

use lakekeep_egress_rules::{EgressDoc, Level, Mode, Ruleset};

use crate::ceilings::Ceilings;
use crate::document::{ProfileDoc, Section};
use crate::egress::EgressBounds;
use crate::fault::Findings;
use crate::show::quoted;

pub(super) fn check(
    doc: &ProfileDoc,
    ceilings: &Ceilings,
    findings: &mut Findings<'_>,
) -> Option<EgressBounds> {
    let egress = doc.egress.as_ref()?;
    required(doc, ceilings, findings);
    no_sockets(egress, findings);
    let rules = match Ruleset::check(Level::Owner, egress) {
        Ok(rules) => rules,
        Err(errors) => {
            for error in errors.errors() {
                let field = format!("egress.{}", error.place.field);
                findings.add(&field, "", error.cause.as_str(), error.remedy.as_str());
            }
            return None;
        }
    };
    contradictions(&rules, findings);
    Some(EgressBounds {
        administrator: ceilings.egress.clone(),
        owner: egress.clone(),
    })
}

fn required(doc: &ProfileDoc, ceilings: &Ceilings, findings: &mut Findings<'_>) {
    let section = Section::Egress;
    let required = doc.admin.require.contains(&section) || ceilings.require.contains(&section);
    let enforced = |egress: &EgressDoc| egress.mode == Mode::Enforce;
    if required && !doc.egress.as_ref().is_none_or(enforced) {
        findings.add(
            "egress.mode",
            "",
            "the administrator requires [egress] to be enforced",
            "write mode = \"enforce\", or have the requirement lifted",
        );
    }
}

/// A grant that nobody relays would be refused in silence.
fn no_sockets(egress: &EgressDoc, findings: &mut Findings<'_>) {
    if !egress.sockets.is_empty() {
        findings.add(
            "egress.sockets",
            "",
            "Unix sockets are not relayed yet",
            "make a volume of the socket's folder, or leave it out",
        );
    }
}

fn contradictions(rules: &Ruleset, findings: &mut Findings<'_>) {
    for (_, allowed, denied) in rules.contradictions() {
        let field = format!("egress.{}", allowed.place.field);
        let why = format!(
            "it allows nothing, because of {}",
            quoted(&denied.rule.to_string())
        );
        let remedy = "leave one of the two out, or narrow the denial";
        findings.add(&field, quoted(&allowed.rule.to_string()), why, remedy);
    }
}
