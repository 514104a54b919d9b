//! Rules for the limits of a sandbox. What depends on the preset is settled
//! when a sandbox is asked for, by the policy's own check.

use crate::amount::Amount;
use crate::ceilings::Ceilings;
use crate::document::{LimitSetDoc, ProfileDoc, Span};
use crate::fault::Findings;

/// The maxima, with the ceilings where the profile says nothing.
pub(super) fn check(
    doc: &ProfileDoc,
    ceilings: &Ceilings,
    findings: &mut Findings<'_>,
) -> LimitSetDoc {
    let bounds = LimitSetDoc {
        idle_timeout: doc.admin.max_idle,
        max_lifetime: doc.admin.max_lifetime,
        ..LimitSetDoc::default()
    };
    zero("limits.default", &doc.limits.default, findings);
    zero("limits.maximum", &doc.limits.maximum, findings);
    admin_bounds(doc, &bounds, findings);
    let maximum = doc.limits.maximum.clone().or(&bounds).or(&ceilings.limits);
    let pairs = doc
        .limits
        .default
        .amounts()
        .into_iter()
        .zip(maximum.amounts());
    let explicit = doc.limits.maximum.amounts();
    for (((name, default), (_, most)), (_, written)) in pairs.zip(explicit) {
        let (Some(default), Some(most)) = (default, most) else {
            continue;
        };
        if default > most {
            let whose = match written {
                Some(_) => format!("above limits.maximum.{name} = {most}"),
                None => format!("above the administrator's {most}"),
            };
            findings.add(
                &format!("limits.default.{name}"),
                default.to_string(),
                whose,
                format!("write at most {most}, or raise limits.maximum.{name}"),
            );
        }
    }
    maximum
}

/// Zero means "no limit" to some interfaces of the kernel and "nothing at all"
/// to others; only swap has a use for it.
fn zero(table: &str, set: &LimitSetDoc, findings: &mut Findings<'_>) {
    for (name, amount) in set.amounts() {
        if name != "swap" && amount.is_some_and(|amount| amount.get() == 0) {
            findings.add(
                &format!("{table}.{name}"),
                "0",
                "a limit of zero leaves nothing to run with",
                "write more than zero, or leave the field out",
            );
        }
    }
}

fn admin_bounds(doc: &ProfileDoc, bounds: &LimitSetDoc, findings: &mut Findings<'_>) {
    let maximum = &doc.limits.maximum;
    let pairs: [(&str, &str, Option<Span>, Option<Span>); 2] = [
        (
            "idle_timeout",
            "max_idle",
            maximum.idle_timeout,
            bounds.idle_timeout,
        ),
        (
            "max_lifetime",
            "max_lifetime",
            maximum.max_lifetime,
            bounds.max_lifetime,
        ),
    ];
    for (name, bound, written, most) in pairs {
        let (Some(written), Some(most)) = (written, most) else {
            continue;
        };
        if written > most {
            let (written, most) = (Amount::from(written), Amount::from(most));
            findings.add(
                &format!("limits.maximum.{name}"),
                written.to_string(),
                format!("above admin.{bound} = {most}"),
                format!("write at most {most}"),
            );
        }
    }
}
