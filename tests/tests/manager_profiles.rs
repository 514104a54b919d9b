//! Profiles: files that are read again while the manager runs, all of them or none; and
//! those that users write.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;

use lakekeep_api::v1;
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{ALICE, BOB, Setup, User, create, shared_profile};

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

#[test]
fn an_owner_writes_a_profile_and_lets_others_in() {
    let ceilings = "images = [\"/srv/images/**\"]\npresets = [\"general\"]\n\
                    users_may_create = true\nprofiles_per_user = 1\n\
                    [quotas]\nsandboxes = 4\n";
    let setup = Setup::new();
    let path = setup.place().path().join("ceilings.toml");
    fs::write(&path, ceilings).unwrap();
    let Some(manager) = setup.ceilings(&path).start("owners") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let document = |more: &str| {
        format!(
            "version = 1\nname = \"hers\"\nowner = \"{ALICE}\"\nimages = [\"/srv/images/one\"]\n\
             presets = [\"general\"]\n{more}"
        )
    };
    let put = |user: &User, document: &str, version: &str| {
        user.put_profile(v1::PutProfileRequest {
            name: "hers".to_owned(),
            document: document.to_owned(),
            version: version.to_owned(),
        })
    };
    // Beyond the ceiling there is nothing, and the error names line and field.
    let wide = put(&alice, &document("[quotas]\nsandboxes = 5\n"), "").unwrap_err();
    assert!(wide.message.contains("quotas.sandboxes"), "{wide:?}");
    let first = put(&alice, &document(""), "").unwrap();
    assert_eq!(
        (first.owner.as_str(), first.role.as_str()),
        (ALICE, "owner")
    );
    let sees = |user: &User| {
        user.get_profile(v1::ProfileRef {
            name: "hers".to_owned(),
        })
    };
    assert_eq!(sees(&bob).unwrap_err().reason, "NOT_FOUND");
    let can = |user: &User, of: &str, action: &str| {
        let asked = v1::CanRequest {
            user: of.to_owned(),
            action: action.to_owned(),
            profile: "hers".to_owned(),
            ..v1::CanRequest::default()
        };
        user.can(asked).unwrap()
    };
    let not_yet = can(&alice, BOB, "create_sandbox");
    assert!(!not_yet.allowed);
    assert!(not_yet.remedy.contains("contributors.users"), "{not_yet:?}");
    // Whoever had the version before does not overwrite what came after.
    let open = document(&format!("[contributors]\nusers = [\"{BOB}\"]\n"));
    let second = put(&alice, &open, &first.version).unwrap();
    let late = put(&alice, &document(""), &first.version).unwrap_err();
    assert_eq!(late.reason, "CONFLICT", "{late:?}");
    assert_eq!(sees(&bob).unwrap().role, "contributor");
    assert!(can(&alice, BOB, "create_sandbox").allowed);
    assert!(!can(&bob, BOB, "edit_profile").allowed);
    assert_eq!(
        put(&bob, &open, &second.version).unwrap_err().reason,
        "DENIED"
    );
    // It is there after the manager, and gone after its end.
    manager.kill_manager();
    let alice = manager.alice();
    let kept = sees(&alice).unwrap();
    assert_eq!(kept.document, second.document);
    let delete = v1::DeleteProfileRequest {
        name: "hers".to_owned(),
        version: kept.version,
    };
    alice.delete_profile(delete).unwrap();
    assert_eq!(sees(&alice).unwrap_err().reason, "NOT_FOUND");
    manager.end();
}

#[test]
fn whoever_has_no_profile_is_told_so() {
    let setup = Setup::new()
        .without_personal()
        .profile("hers", &shared_profile("hers", "").replace(BOB, ALICE));
    let Some(manager) = setup.start("no_profile") else {
        return;
    };
    // The only one that she has need not be named.
    assert_eq!(manager.alice().sandbox(create()).profile, "hers");
    let refused = manager.bob().create(create()).unwrap_err();
    assert_eq!(refused.reason, "NOT_FOUND");
    assert!(
        refused.message.contains("ask an administrator"),
        "{refused:?}"
    );
    manager.end();
}

#[test]
fn a_personal_profile_is_made_at_the_first_call() {
    let Some(manager) = Setup::new().start("personal") else {
        return;
    };
    let root = manager.root();
    let names = || {
        let found = root.list_profiles(v1::ListProfilesRequest {}).unwrap();
        let names = found.profiles.into_iter().map(|one| one.name);
        names.collect::<Vec<_>>()
    };
    let his = format!("home-{BOB}");
    assert!(!names().contains(&his));
    let made = manager.bob().sandbox(create());
    assert_eq!(made.profile, his);
    assert!(names().contains(&his));
    manager.end();
}
