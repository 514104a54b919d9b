//! Sandboxes made ahead: they are like any other, and nobody's until they are asked for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::parked::{claimed, claims, learn, ready, start, tables};
use lakekeep_tests::manager::{ALICE, BOB, User, create, is_alive, kill, of, with_volumes};
use lakekeep_tests::{eventually, forget};

/// The receipt, without names and the numbers of namespaces and host ids.
fn receipt(user: &User, sandbox: &str) -> serde_json::Value {
    let done = user.run(sandbox, "true");
    let mut receipt = done.outcome["receipt"].clone();
    assert!(receipt.is_object(), "{receipt}");
    forget(&mut receipt, &["sandbox", "task", "first"]);
    receipt
}

#[test]
fn it_has_the_same_receipt_and_a_name_of_its_own() {
    let Some(manager) = start("parked") else {
        return;
    };
    let alice = manager.alice();
    let cold = alice.sandbox(create());
    let expected = receipt(&alice, &cold.id);
    alice.kill(of(&cold.id)).unwrap();
    ready(&manager);
    let warm = alice.sandbox(create());
    assert_eq!(claims(&manager, "ready"), 1.0);
    assert_ne!(warm.id, cold.id);
    assert_eq!(receipt(&alice, &warm.id), expected);
    let name = format!("sandbox-{}", warm.id.get(..8).unwrap());
    let seen = alice.run(
        &warm.id,
        "hostname; cat /etc/hostname; grep -c $(hostname) /etc/hosts",
    );
    assert_eq!(seen.success(), format!("{name}\n{name}\n2"));
    alice.kill(of(&warm.id)).unwrap();
    manager.end();
}

#[test]
fn two_users_get_two_and_neither_sees_the_other() {
    let Some(manager) = start("parked_two") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = claimed(&manager, &alice, create());
    ready(&manager);
    let his = bob.sandbox(create());
    assert_ne!(hers.id, his.id);
    alice
        .run(&hers.id, "echo hers >/tmp/it; echo hers >~/it")
        .success();
    // What is there is seen from where it is.
    let seen = alice.run(&hers.id, "cat /tmp/it ~/it");
    assert_eq!(seen.success(), "hers\nhers");
    let found = bob.run(&his.id, "cat /tmp/it ~/it 2>/dev/null; ls -A /tmp ~");
    assert!(!found.text().contains("hers"), "{}", found.text());
    let range = |user: &User, id: &str| user.run(id, "cat /proc/self/uid_map").success();
    assert_ne!(range(&alice, &hers.id), range(&bob, &his.id));
    let refused = bob.get(of(&hers.id)).unwrap_err();
    assert_eq!(refused.reason, "NOT_FOUND");
    manager.end();
}

#[test]
fn volumes_come_with_the_claim_and_are_the_caller_s() {
    let Some(manager) = with_volumes("parked_volumes", tables) else {
        return;
    };
    let disk = manager.place().path().join("disk");
    let request = || v1::CreateRequest {
        profile: "apollo".to_owned(),
        ..create()
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = claimed(&manager, &alice, request());
    ready(&manager);
    // The same shape: homes are no part of it.
    let his = bob.sandbox(request());
    assert_eq!(claims(&manager, "ready"), 2.0);
    for (user, sandbox, name) in [(&alice, &hers, ALICE), (&bob, &his, BOB)] {
        let wrote = user.run(&sandbox.id, "id -un >/mnt/home/who; cat /reference/book");
        assert_eq!(wrote.success(), "to be read");
        assert!(disk.join("homes").join(name).join("who").is_file());
        user.run(&sandbox.id, "touch /work/new").success();
        let denied = user.run(&sandbox.id, "touch /reference/new");
        assert_ne!(denied.code, 0);
    }
    alice.run(&hers.id, "echo ours >/work/it").success();
    assert_eq!(bob.run(&his.id, "cat /work/it").success(), "ours");
    manager.end();
}

#[test]
fn one_that_has_died_is_not_handed_out() {
    let Some(manager) = start("parked_dead") else {
        return;
    };
    let alice = manager.alice();
    learn(&manager, &alice, create());
    let inits = manager.inits();
    assert!(!inits.is_empty());
    inits.iter().copied().for_each(kill);
    // Its namespace is emptied before it has ended.
    eventually("the end of what was made ahead", || {
        (!inits.iter().copied().any(is_alive)).then_some(())
    });
    let second = alice.sandbox(create());
    assert_eq!(alice.run(&second.id, "echo lives").success(), "lives");
    manager.end();
}

#[test]
fn they_end_with_their_manager() {
    let Some(manager) = start("parked_end") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = claimed(&manager, &alice, create());
    ready(&manager);
    assert_eq!(manager.inits().len(), 2);
    manager.kill_manager();
    eventually("the end of what was nobody's", || {
        (manager.inits().len() == 1).then_some(())
    });
    let alice = manager.alice();
    // Also one that was made ahead outlives the manager once it is somebody's.
    assert_eq!(alice.run(&sandbox.id, "echo lives").success(), "lives");
    manager.end();
}
