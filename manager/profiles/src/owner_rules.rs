//! What an owner who is no administrator may write.
//!
//! Whatever an administrator wrote into the profile before may stay; beyond it
//! there are the administrator's ceilings.

use std::path::Path;

use lakekeep_policy::MountMode;

use crate::ceilings::Ceilings;
use crate::document::ProfileDoc;
use crate::fault::{Findings, ProfileErrors};
use crate::images::listed;
use crate::profile::{Admin, Profile, Volume};
use crate::quota::{Quotas, Resource};
use crate::show::quoted;

const ASK: &str = "leave it as it is, or ask an administrator";

/// A change of a profile by its owner.
pub(crate) struct Change<'a> {
    pub(crate) doc: &'a ProfileDoc,
    pub(crate) new: &'a Profile,
    pub(crate) old: Option<&'a Profile>,
    pub(crate) ceilings: &'a Ceilings,
}

pub(crate) fn check(change: &Change<'_>) -> Result<(), ProfileErrors> {
    let mut findings = Findings::new(&change.doc.origin);
    admin(change, &mut findings);
    project(change, &mut findings);
    images(change, &mut findings);
    presets(change, &mut findings);
    quotas(change, &mut findings);
    limits(change, &mut findings);
    volumes(change, &mut findings);
    egress(change, &mut findings);
    findings.finish()
}

fn admin(change: &Change<'_>, findings: &mut Findings<'_>) {
    let none = Admin::default();
    let old = change.old.map_or(&none, Profile::admin);
    if change.new.admin() != old {
        findings.add("admin", "", "only an administrator changes [admin]", ASK);
    }
}

/// The project decides whose identity, and so whose files, a sandbox has.
fn project(change: &Change<'_>, findings: &mut Findings<'_>) {
    let old = change.old.and_then(Profile::project);
    if change.new.project() != old {
        let project = quoted(change.new.project().unwrap_or_default());
        let why = "only an administrator changes the project, which is an identity";
        findings.add("project", project, why, ASK);
    }
}

fn images(change: &Change<'_>, findings: &mut Findings<'_>) {
    for (number, rule) in change.new.images().iter().enumerate() {
        let kept = change.old.is_some_and(|old| old.images().contains(rule));
        let covered = change
            .ceilings
            .images
            .iter()
            .any(|ceiling| ceiling.covers(rule));
        if !kept && !covered {
            let allowed = listed(&change.ceilings.images);
            let why = format!("owners may allow only: {allowed}");
            let field = format!("images[{number}]");
            findings.add(
                &field,
                quoted(rule.as_str()),
                why,
                "choose one of these, or ask an administrator",
            );
        }
    }
}

fn presets(change: &Change<'_>, findings: &mut Findings<'_>) {
    let Some(allowed) = &change.ceilings.presets else {
        return;
    };
    for (number, preset) in change.new.presets().iter().enumerate() {
        let kept = change.old.is_some_and(|old| old.presets().contains(preset));
        if !kept && !allowed.contains(preset) {
            let why = "owners may not allow this preset";
            findings.add(
                &format!("presets[{number}]"),
                quoted(preset.as_str()),
                why,
                ASK,
            );
        }
    }
}

/// Whether `new` is beyond both; `None` is no bound.
fn beyond(new: Option<u64>, old: Option<Option<u64>>, ceiling: Option<u64>) -> bool {
    let above = |bound: Option<u64>| match (new, bound) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(bound)) => new > bound,
    };
    above(ceiling) && old.is_none_or(above)
}

type Getter = fn(&Quotas, Resource) -> Option<u64>;

fn quotas(change: &Change<'_>, findings: &mut Findings<'_>) {
    let ceilings = Quotas::new(&change.ceilings.quotas, &change.ceilings.quotas);
    let scopes: [(&str, Getter); 2] = [
        ("quotas", Quotas::of_profile),
        ("quotas.per_user", Quotas::of_user),
    ];
    for (table, get) in scopes {
        for resource in Resource::ALL {
            let new = get(change.new.quotas(), resource);
            let old = change.old.map(|old| get(old.quotas(), resource));
            let ceiling = get(&ceilings, resource);
            if beyond(new, old, ceiling) {
                let most = ceiling.map_or(String::new(), |most| resource.show(most));
                let value = new.map_or("no bound".to_owned(), |new| resource.show(new));
                let why = format!("above the administrator's ceiling of {most}");
                let remedy = format!("write at most {most}, or ask an administrator");
                findings.add(&format!("{table}.{resource}"), value, why, remedy);
            }
        }
    }
}

fn limits(change: &Change<'_>, findings: &mut Findings<'_>) {
    let new = change.new.maximum_limits.amounts();
    let ceilings = change.ceilings.limits.amounts();
    let old = change.old.map(|old| old.maximum_limits.amounts());
    for (index, ((name, new), (_, ceiling))) in new.into_iter().zip(ceilings).enumerate() {
        let old = old.map(|old| old[index].1.map(crate::amount::Amount::get));
        let get = |amount: Option<crate::amount::Amount>| amount.map(crate::amount::Amount::get);
        if let (Some(asked), Some(most), true) = (new, ceiling, beyond(get(new), old, get(ceiling)))
        {
            let why = format!("above the administrator's ceiling of {most}");
            let remedy = format!("write at most {most}, or ask an administrator");
            findings.add(
                &format!("limits.maximum.{name}"),
                asked.to_string(),
                why,
                remedy,
            );
        }
    }
}

/// A volume shows files of the host, so owners have only what an administrator
/// gave: folders below the roots, and the volumes that were there before.
fn volumes(change: &Change<'_>, findings: &mut Findings<'_>) {
    let roots = &change.ceilings.volume_roots;
    for (number, volume) in change.new.volumes().iter().enumerate() {
        let source = Path::new(volume.source());
        let below = |root: &String| source.starts_with(root) && source != Path::new(root);
        let mut old = change.old.iter().flat_map(|old| old.volumes());
        if roots.iter().any(below) || old.any(|old| no_wider(volume, old)) {
            continue;
        }
        let shown: Vec<String> = roots.iter().map(|root| quoted(root)).collect();
        let why = if shown.is_empty() {
            "only an administrator makes volumes".to_owned()
        } else {
            format!("owners make volumes only below {}", shown.join(", "))
        };
        let field = format!("volume[{number}].source");
        findings.add(&field, quoted(volume.source()), why, ASK);
    }
}

/// What leaves is bounded by the administrator's rules in any case; a rule that they leave
/// nothing of is told here, and not at the first connection.
fn egress(change: &Change<'_>, findings: &mut Findings<'_>) {
    let old = change.old.and_then(Profile::egress);
    let Some(new) = change.new.egress().filter(|new| Some(*new) != old) else {
        return;
    };
    if change.ceilings.egress.is_none() {
        let why = "the administrator has set no rules, so owners can let nothing out";
        findings.add("egress", "", why, ASK);
        return;
    }
    // A document that is none was refused before.
    let Ok(rules) = new.levels(None).ruleset() else {
        return;
    };
    for (_, idle) in rules.idle_rules() {
        let field = format!("egress.{}", idle.place.field);
        let why = "the administrator's rules allow nothing of it";
        findings.add(&field, quoted(&idle.rule.to_string()), why, ASK);
    }
    for (_, service) in rules.idle_services() {
        let why = "the administrator's rules do not grant it";
        findings.add("egress.services", quoted(service.as_str()), why, ASK);
    }
}

fn no_wider(new: &Volume, old: &Volume) -> bool {
    let same =
        new.source() == old.source() && new.home() == old.home() && new.owner() == old.owner();
    let mode = new.mode() == old.mode() || new.mode() == MountMode::ReadOnly;
    let (new, old) = (new.quota(), old.quota());
    let quota = old.is_none() || new.is_some_and(|new| Some(new) <= old);
    same && mode && quota
}
