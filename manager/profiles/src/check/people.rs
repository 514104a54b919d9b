//! Rules for people.

use std::collections::BTreeSet;

use super::{LONGEST_LIST, too_long};
use crate::document::{PeopleDoc, ProfileDoc};
use crate::fault::Findings;
use crate::names::is_person;
use crate::profile::People;
use crate::show::quoted;

/// What a user's or group's name may be.
pub(super) const PERSON_RULE: &str = "write the name as authentication gives it: printable, without spaces at its ends, at most 256 bytes";

pub(super) fn owner(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Option<String> {
    let Some(owner) = &doc.owner else {
        let why = "missing: somebody must answer for a profile";
        findings.add("owner", "", why, "add owner = \"USER\" at the top");
        return None;
    };
    person("owner", owner, findings);
    Some(owner.clone())
}

pub(super) fn project(doc: &ProfileDoc, findings: &mut Findings<'_>) {
    if let Some(project) = &doc.project {
        person("project", project, findings);
    }
}

fn person(field: &str, name: &str, findings: &mut Findings<'_>) {
    if !is_person(name) {
        findings.add(field, quoted(name), "not a name", PERSON_RULE);
    }
}

/// The names of `field`, each checked and once.
pub(super) fn names(
    field: &str,
    names: &[String],
    findings: &mut Findings<'_>,
) -> BTreeSet<String> {
    too_long(field, names.len(), LONGEST_LIST, findings);
    let mut set = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        let field = format!("{field}[{number}]");
        person(&field, name, findings);
        if !set.insert(name.clone()) {
            findings.add(&field, quoted(name), "named twice", "keep one of the two");
        }
    }
    set
}

pub(super) fn list(table: &str, doc: &PeopleDoc, findings: &mut Findings<'_>) -> People {
    People {
        users: names(&format!("{table}.users"), &doc.users, findings),
        groups: names(&format!("{table}.groups"), &doc.groups, findings),
    }
}
