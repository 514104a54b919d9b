//! How long a sandbox lives, and what it may use.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::{ALICE, BOB, CAROL, Setup, create, milliseconds, of, shell};
use serde_json::Value;

fn verdict(sandbox: &v1::Sandbox) -> (String, String) {
    let verdict: Value = serde_json::from_str(&sandbox.verdict).unwrap();
    let text = |name: &str| verdict[name].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("explanation"))
}

#[test]
fn what_is_idle_or_old_ends() {
    let Some(manager) = Setup::new().start("idle") else {
        return;
    };
    let alice = manager.alice();
    let mut events = alice.events(v1::EventsRequest::default()).unwrap();
    let idle = alice.sandbox(v1::CreateRequest {
        idle_timeout: milliseconds(500),
        ..create()
    });
    events.until("the end of the idle", |event| {
        event.what == "ended" && event.sandbox == idle.id
    });
    let (kind, why) = verdict(&alice.get(of(&idle.id)).unwrap());
    assert_eq!(kind, "killed");
    assert!(why.contains("without a task"), "{why}");

    let old = alice.sandbox(v1::CreateRequest {
        lifetime: milliseconds(700),
        idle_timeout: milliseconds(100),
        ..create()
    });
    // Busy: it is not idle, but it gets old.
    let talk = alice.exec(shell(&old.id, "sleep 1000")).unwrap();
    let done = talk.finish().unwrap();
    assert_eq!(done.verdict(), "killed", "{}", done.outcome);
    let (kind, why) = verdict(&alice.get(of(&old.id)).unwrap());
    assert_eq!(kind, "killed");
    assert!(why.contains("longest life"), "{why}");
    manager.end();
}

#[test]
fn the_end_for_want_of_memory_is_the_sandbox_s_own() {
    let Some(manager) = Setup::new().start("memory") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let pid = manager.pid().unwrap();
    let beside = bob.sandbox(create());
    let hungry = alice.sandbox(v1::CreateRequest {
        policy: "version = 1\n[limits]\nmemory = \"32MiB\"\n".to_owned(),
        ..create()
    });
    let done = alice.run(&hungry.id, "tail /dev/zero");
    assert_eq!(done.verdict(), "out_of_memory", "{}", done.outcome);
    assert_eq!(manager.pid(), Some(pid));
    assert_eq!(bob.run(&beside.id, "echo well").success(), "well");
    // The sandbox itself takes the next task.
    assert_eq!(alice.run(&hungry.id, "echo again").success(), "again");
    manager.end();
}

#[test]
fn limits_of_time_and_output_end_a_task() {
    let Some(manager) = Setup::new().start("task_limits") else {
        return;
    };
    let alice = manager.alice();
    let limited = |limit: &str| v1::CreateRequest {
        policy: format!("version = 1\n[limits]\n{limit}\n"),
        ..create()
    };
    let short = alice.sandbox(limited("wall_time = \"300ms\""));
    let done = alice.run(&short.id, "echo begun; sleep 1000");
    assert_eq!(
        (done.verdict(), done.text().as_str()),
        ("wall_time", "begun")
    );
    // With its errors still open, which say nothing.
    let quiet = alice.sandbox(limited("output = \"64KiB\""));
    let done = alice.run(&quiet.id, "while :; do echo loud; done");
    assert_eq!(done.verdict(), "output_limit", "{}", done.outcome);
    assert_eq!(done.stdout.len(), 64 << 10);
    manager.end();
}

#[test]
fn a_request_makes_one_sandbox_however_often_it_is_sent() {
    let Some(manager) = Setup::new().start("request_id") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let once = || v1::CreateRequest {
        request_id: "once".to_owned(),
        ..create()
    };
    let first = alice.sandbox(once());
    assert_eq!(alice.sandbox(once()).id, first.id);
    // The word is each user's own.
    let his = bob.sandbox(once());
    assert_ne!(his.id, first.id);
    assert_eq!((first.owner.as_str(), his.owner.as_str()), (ALICE, BOB));
    assert_ne!(his.owner, CAROL);
    manager.end();
}
