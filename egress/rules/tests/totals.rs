//! What all sandboxes of a document have together, at each level.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::destination;
use lakekeep_egress_rules::{EgressDoc, FixedAddresses, Guard, Level, Ruleset};

fn document(level: Level, text: &str) -> Ruleset {
    Ruleset::check(level, &EgressDoc::from_toml("e.toml", text).unwrap()).unwrap()
}

#[test]
fn each_level_has_its_own_total_and_all_of_them_are_told() {
    let text = |total: &str| {
        format!("version = 1\nrules = [\"allow tcp a.example:443\"]\n[total]\n{total}\n")
    };
    let owner = |total: &str| document(Level::Owner, &text(total));
    let bound = document(Level::Administrator, &text("connections = 100"));
    let lab = owner("connections = 8\nbytes_per_second = 65536");
    let both = lab.clone().bounded_by(&bound);
    assert_eq!(both.total(Level::Owner).connections, Some(8));
    assert_eq!(both.total(Level::Administrator).connections, Some(100));
    assert!(both.total(Level::User).is_unlimited());
    // One sandbox's own limits are not the total.
    assert_eq!(both.limits().connections, 512);
    let digests = [
        owner(""),
        owner("connections = 8"),
        owner("new_per_second = 8"),
        lab,
    ]
    .map(|rules| rules.digest());
    let different: std::collections::BTreeSet<&String> = digests.iter().collect();
    assert_eq!(different.len(), 4);
    let to = destination("a.example:443");
    let told = both.explain(&to, &Guard::default(), &FixedAddresses::new());
    let told = told.lines.join("\n");
    for line in [
        "the administrator's total, of all sandboxes together: 100 connections",
        "the owner's total, of all sandboxes together: 8 connections, 65536 bytes a second each way",
    ] {
        assert!(told.lines().any(|one| one == line), "{told}");
    }
}
