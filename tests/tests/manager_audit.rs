//! The audit log: who did what, as whom and for whom; whole, or it is seen.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, Manager, Setup, create, of, shared_profile, shell,
};
use serde_json::{Value, json};

fn events(manager: &Manager, action: &str) -> Vec<Value> {
    let asked = v1::QueryAuditRequest {
        action: action.to_owned(),
        ..v1::QueryAuditRequest::default()
    };
    manager.root().audit(asked).unwrap()
}

#[test]
fn it_tells_who_did_what_as_whom_and_what_became_of_it() {
    let identity =
        "[[identity.rule]]\nname = \"project\"\nproject = \"apollo\"\naccount = \"lkt-carol\"\n";
    let setup = Setup::new()
        .identity(identity)
        .profile("apollo", &shared_profile("apollo", "project = \"apollo\""));
    let Some(manager) = setup.start("told") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(v1::CreateRequest {
        profile: "apollo".to_owned(),
        ..create()
    });
    let mut start = shell(&sandbox.id, "echo hidden-argument");
    start.query_id = "query-7".to_owned();
    alice
        .exec(start)
        .and_then(lakekeep_tests::manager::Talk::finish)
        .unwrap();
    manager.root().kill(of(&sandbox.id)).unwrap();
    let made = &events(&manager, "create_sandbox")[0];
    assert_eq!(
        (&made["who"], &made["as_whom"]),
        (&json!(ALICE), &json!(CAROL))
    );
    assert_eq!(
        (&made["profile"], &made["image"]),
        (&json!("apollo"), &json!("host"))
    );
    assert_eq!(made["policy"], sandbox.policy_digest.as_str());
    assert_eq!(made["extra"]["trust_key"], sandbox.trust_key.as_str());
    let ran = &events(&manager, "exec")[0];
    assert_eq!(
        (&ran["who"], &ran["query"]),
        (&json!(ALICE), &json!("query-7"))
    );
    assert_eq!(ran["extra"]["program"], "/bin/sh");
    assert!(!ran.to_string().contains("hidden-argument"));
    let killed = &events(&manager, "kill")[0];
    assert_eq!(
        (&killed["who"], &killed["sandbox"]),
        (&json!("root"), &json!(sandbox.id))
    );
    let ended = lakekeep_tests::eventually("the end's event", || {
        events(&manager, "sandbox.end").into_iter().next()
    });
    assert!(
        ended["verdict"].as_str().unwrap().contains("root"),
        "{ended}"
    );
    // A profile's owner reads the profile's, and of nothing else.
    let of_profile = |user: &lakekeep_tests::manager::User| {
        user.audit(v1::QueryAuditRequest {
            profile: "apollo".to_owned(),
            ..v1::QueryAuditRequest::default()
        })
    };
    let read = of_profile(&alice).unwrap();
    assert!(!read.is_empty());
    assert!(read.iter().all(|event| event["profile"] == "apollo"));
    assert_eq!(of_profile(&manager.bob()).unwrap_err().reason, "DENIED");
    manager.end();
}

#[test]
fn it_goes_on_over_managers_and_what_was_changed_is_seen() {
    let Some(mut manager) = Setup::new().start("chain") else {
        return;
    };
    let bob = manager.bob();
    let sandbox = bob.sandbox(create()).id;
    bob.run(&sandbox, "true").success();
    manager.kill_manager();
    manager.bob().run(&sandbox, "true").success();
    let verified = |manager: &Manager| {
        let answer = manager.root().verify_audit(v1::VerifyAuditRequest {});
        answer.unwrap()
    };
    let whole = verified(&manager);
    assert!(whole.whole, "{}", whole.problem);
    let log = manager
        .root()
        .audit(v1::QueryAuditRequest::default())
        .unwrap();
    let numbers: Vec<u64> = log
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    // Whoever changes a name in a line cannot make the hash that goes with it.
    manager.kill_supervisor();
    let folder = manager.kept().join("audit");
    let changed = fs::read_dir(folder)
        .unwrap()
        .filter_map(Result::ok)
        .any(|file| {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let forged = text.replacen(&format!("\"who\":\"{BOB}\""), "\"who\":\"lkt-eve\"", 1);
            forged != text && fs::write(file.path(), forged).is_ok()
        });
    assert!(changed);
    // Such a log is not gone on with, as if nothing had been.
    manager.launch_again();
    let word = "its hash is not that of its bytes";
    lakekeep_tests::eventually("a word on the log", || {
        manager.log().contains(word).then_some(())
    });
    manager.kill_supervisor();
}
