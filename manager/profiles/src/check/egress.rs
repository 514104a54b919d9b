//! Rules for `[egress]`, which is checked and kept, and not enforced yet.

use std::net::IpAddr;

use super::{LONGEST_LIST, too_long};
use crate::ceilings::Ceilings;
use crate::document::{EgressRuleDoc, ProfileDoc, Section};
use crate::fault::Findings;
use crate::profile::EgressRule;
use crate::show::quoted;

/// The port of a rule that names none.
const DEFAULT_PORT: u16 = 443;

pub(super) fn check(
    doc: &ProfileDoc,
    ceilings: &Ceilings,
    findings: &mut Findings<'_>,
) -> Option<Vec<EgressRule>> {
    let egress = doc.egress.as_ref()?;
    let required =
        doc.admin.require.contains(&Section::Egress) || ceilings.require.contains(&Section::Egress);
    if required {
        findings.add(
            "egress",
            "",
            "the administrator requires it to be enforced, and this version does not enforce it yet",
            "remove [egress] (sandboxes then have no network), or have the requirement lifted",
        );
    }
    too_long("egress.allow", egress.allow.len(), LONGEST_LIST, findings);
    let rules = egress.allow.iter().enumerate();
    Some(
        rules
            .map(|(number, rule)| checked(number, rule, findings))
            .collect(),
    )
}

fn checked(number: usize, rule: &EgressRuleDoc, findings: &mut Findings<'_>) -> EgressRule {
    let field = format!("egress.allow[{number}].host");
    let host = rule.host.clone().unwrap_or_default();
    if !is_destination(&host) {
        findings.add(
            &field,
            quoted(&host),
            "not a destination",
            "write a host name, \"*.\" and a domain, or an address",
        );
    }
    if let Some(port) = rule.ports.iter().find(|port| **port == 0) {
        let field = format!("egress.allow[{number}].ports");
        findings.add(&field, port.to_string(), "not a port", "write 1 to 65535");
    }
    let ports = if rule.ports.is_empty() {
        vec![DEFAULT_PORT]
    } else {
        rule.ports.clone()
    };
    EgressRule { host, ports }
}

fn is_destination(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
