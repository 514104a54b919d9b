//! How long a sandbox lives, what it may use, and which one a claim hands out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::thread;

use lakekeep_api::v1;
use lakekeep_api::v1::State;
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, Manager, Setup, create, milliseconds, of, shared_profile, shell,
};
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
fn quotas_hold_and_the_queue_has_a_deadline() {
    let quotas = "[quotas]\nsandboxes = 2\nqueued = 1\n[quotas.per_user]\nsandboxes = 1";
    let setup = Setup::new().profile("small", &shared_profile("small", quotas));
    let Some(manager) = setup.start("quotas") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let wanted = |deadline| v1::CreateRequest {
        profile: "small".to_owned(),
        deadline: milliseconds(deadline).filter(|_| deadline > 0),
        ..create()
    };
    let first = alice.sandbox(wanted(0));
    let refused = alice.create(wanted(0)).unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{refused:?}");
    assert!(refused.retry, "{refused:?}");
    let late = alice.create(wanted(300)).unwrap_err();
    assert_eq!(late.reason, "DEADLINE_IN_QUEUE", "{late:?}");
    assert_eq!(bob.sandbox(wanted(0)).state(), State::Running);
    // Whoever waits gets the place that becomes free.
    let waiting = {
        let alice = alice.clone();
        let wanted = wanted(30_000);
        thread::spawn(move || alice.create(wanted))
    };
    lakekeep_tests::eventually("a full queue", || {
        let refused = bob.create(wanted(1)).unwrap_err();
        eprintln!("{refused:?}");
        (refused.reason == "QUEUE_FULL").then_some(())
    });
    alice.kill(of(&first.id)).unwrap();
    let got = waiting.join().unwrap().unwrap();
    assert_eq!(got.state(), State::Running);
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

fn claims(manager: &Manager, differs: &v1::CreateRequest) {
    let alice = manager.alice();
    let team = v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    };
    let first = alice.claim(team.clone()).unwrap();
    assert_eq!(alice.claim(team.clone()).unwrap().id, first.id);
    let other = alice.claim(differs.clone()).unwrap();
    assert_ne!(other.id, first.id, "{differs:?}");
    assert_eq!(alice.claim(team).unwrap().id, first.id);
}

#[test]
fn a_claim_hands_out_an_equal_sandbox_and_no_other() {
    let setup = Setup::new()
        .profile("team", &shared_profile("team", ""))
        .profile("twin", &shared_profile("twin", ""));
    let Some(manager) = setup.start("claims") else {
        return;
    };
    let team = || v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    };
    claims(
        &manager,
        &v1::CreateRequest {
            profile: "twin".to_owned(),
            ..team()
        },
    );
    claims(
        &manager,
        &v1::CreateRequest {
            policy: "version = 1\n[limits]\nmemory = \"64MiB\"\n".to_owned(),
            ..team()
        },
    );
    claims(
        &manager,
        &v1::CreateRequest {
            code_owner: BOB.to_owned(),
            ..team()
        },
    );
    claims(
        &manager,
        &v1::CreateRequest {
            kind: v1::Kind::Kernel.into(),
            ..team()
        },
    );
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = alice.claim(team()).unwrap();
    // Another identity.
    let his = bob.claim(team()).unwrap();
    assert_ne!(his.id, hers.id);
    assert_ne!(his.trust_key, hers.trust_key);
    // Another set of secrets.
    let secret = v1::SetVariableRequest {
        variable: Some(v1::VariableRef {
            scope: v1::Scope::User.into(),
            owner: String::new(),
            name: "token".to_owned(),
            secret: true,
        }),
        value: b"s3cret".to_vec(),
    };
    alice.set_variable(secret).unwrap();
    let after = alice.claim(team()).unwrap();
    assert_ne!(after.id, hers.id);
    assert_ne!(after.trust_key, hers.trust_key);
    // What the old one may not have any more, it is not given.
    let mut start = shell(&hers.id, "true");
    start.secrets = vec!["token".to_owned()];
    assert_eq!(alice.exec(start).unwrap_err().reason, "CONFLICT");
    // A frozen one is not handed out, nor one that ended.
    alice.freeze(of(&after.id)).unwrap();
    let next = alice.claim(team()).unwrap();
    assert_ne!(next.id, after.id);
    alice.kill(of(&next.id)).unwrap();
    assert_ne!(alice.claim(team()).unwrap().id, next.id);
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
