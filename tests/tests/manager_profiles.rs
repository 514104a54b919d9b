//! Files of profiles, read again while the manager runs: all of them, or none.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;

use lakekeep_api::v1;
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{Setup, create, shared_profile};

fn in_profile(name: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: name.to_owned(),
        ..create()
    }
}

#[test]
fn a_profile_that_is_added_is_there_and_a_broken_one_changes_nothing() {
    let setup = Setup::new().profile("old", &shared_profile("old", ""));
    let Some(manager) = setup.start("reload") else {
        return;
    };
    let alice = manager.alice();
    let folder = manager.profiles();
    let names = || {
        let found = alice.list_profiles(v1::ListProfilesRequest {}).unwrap();
        let names = found.profiles.into_iter().map(|one| one.name);
        names.collect::<Vec<_>>()
    };
    fs::write(folder.join("new.toml"), shared_profile("new", "")).unwrap();
    eventually("the new profile", || {
        names().contains(&"new".to_owned()).then_some(())
    });
    assert!(!alice.sandbox(in_profile("new")).id.is_empty());

    // One broken file: the others' changes do not count either.
    let broken = shared_profile("broken", "") + "\n[quotas]\nsandboxs = 3\n";
    let line = broken
        .lines()
        .position(|line| line.starts_with("sandboxs"))
        .unwrap()
        + 1;
    fs::write(folder.join("later.toml"), shared_profile("later", "")).unwrap();
    fs::write(folder.join("broken.toml"), &broken).unwrap();
    let word = format!("broken.toml:{line}:");
    eventually("the error's line", || {
        manager.log().contains(&word).then_some(())
    });
    let log = manager.log();
    assert!(log.contains("quotas.sandboxs"), "{log}");
    assert!(log.contains("the old ones stay"), "{log}");
    assert!(!names().contains(&"broken".to_owned()));
    assert!(names().contains(&"old".to_owned()));
    assert_eq!(
        alice.create(in_profile("broken")).unwrap_err().reason,
        "NOT_FOUND"
    );
    assert!(!alice.sandbox(in_profile("old")).id.is_empty());
    fs::remove_file(folder.join("broken.toml")).unwrap();
    eventually("what was held back", || {
        names().contains(&"later".to_owned()).then_some(())
    });
    manager.end();
}
