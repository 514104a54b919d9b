//! Rules for what only an administrator sets.

use super::people::names;
use crate::document::AdminDoc;
use crate::fault::Findings;
use crate::profile::Admin;

pub(super) fn check(doc: &AdminDoc, findings: &mut Findings<'_>) -> Admin {
    let delegates = names("admin.delegates", &doc.delegates, findings);
    let allow_delegation = doc.allow_delegation.unwrap_or(false);
    if !allow_delegation && !delegates.is_empty() {
        findings.add(
            "admin.delegates",
            "",
            "delegation is not allowed, so nobody can be a delegate",
            "set admin.allow_delegation = true, or remove the delegates",
        );
    }
    if allow_delegation && delegates.is_empty() {
        findings.add(
            "admin.allow_delegation",
            "true",
            "no delegate is named",
            "name the engines' users in admin.delegates",
        );
    }
    for (field, span) in [
        ("admin.max_lifetime", doc.max_lifetime),
        ("admin.max_idle", doc.max_idle),
    ] {
        if span.is_some_and(|span| span.0.is_zero()) {
            findings.add(field, "0", "no sandbox could live", "write more than zero");
        }
    }
    Admin {
        expose_host_image: doc.expose_host_image.unwrap_or(false),
        allow_delegation,
        delegates,
        owner_reads_output: doc.owner_reads_output.unwrap_or(false),
        owner_reads_files: doc.owner_reads_files.unwrap_or(false),
        allow_weakening: doc.allow_weakening.iter().copied().collect(),
        max_lifetime: doc.max_lifetime.map(|span| span.0),
        max_idle: doc.max_idle.map(|span| span.0),
        require: doc.require.iter().copied().collect(),
    }
}
