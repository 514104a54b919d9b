//! Who gets a place, who waits for one, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::thread::{self, ScopedJoinHandle};

use lakekeep_api::v1::{self, State};
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{
    Manager, Refused, Setup, Talk, User, create, milliseconds, of, shared_profile, shell,
};

/// A profile `small` with these quotas.
fn start(test: &str, quotas: &str) -> Option<Manager> {
    let document = shared_profile("small", &format!("[quotas]\n{quotas}"));
    Setup::new().profile("small", &document).start(test)
}

/// A sandbox, waited for so many milliseconds; 0: not at all.
fn wanted(deadline: i64) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: "small".to_owned(),
        deadline: milliseconds(deadline).filter(|_| deadline > 0),
        ..create()
    }
}

const LONG: i64 = 50_000;

#[test]
fn a_full_quota_says_which_and_when_to_come_again() {
    let Some(manager) = start("full", "sandboxes = 2\n[quotas.per_user]\nsandboxes = 1") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let first = alice.sandbox(wanted(0));
    let refused = alice.create(wanted(0)).unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{refused:?}");
    assert!(
        refused.message.contains("quotas.per_user.sandboxes"),
        "{refused:?}"
    );
    assert!(refused.retry, "{refused:?}");
    // Another user's share is another.
    assert_eq!(bob.sandbox(wanted(0)).state(), State::Running);
    alice.kill(of(&first.id)).unwrap();
    eventually("the place that became free", || {
        alice.create(wanted(0)).ok()
    });
    manager.end();
}

#[test]
fn whoever_waits_does_so_until_the_deadline_and_no_longer() {
    let Some(manager) = start("deadline", "sandboxes = 1\nqueued = 1") else {
        return;
    };
    let alice = manager.alice();
    let _first = alice.sandbox(wanted(0));
    let late = alice.create(wanted(300)).unwrap_err();
    assert_eq!(late.reason, "DEADLINE_IN_QUEUE", "{late:?}");
    assert!(late.retry, "{late:?}");
    manager.end();
}

#[test]
fn the_queue_has_a_bound_and_its_first_gets_what_becomes_free() {
    let Some(manager) = start("bound", "sandboxes = 1\nqueued = 1") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let first = alice.sandbox(wanted(0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| waits(&alice));
        full(&bob);
        alice.kill(of(&first.id)).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().state(), State::Running);
    });
    manager.end();
}

/// Its rules were read before it waited, and live sandboxes' followed the profile meanwhile: it
/// was none of them.
#[test]
fn whoever_waited_has_the_rules_of_egress_that_hold_when_it_is_made() {
    let allow = |name: &str| {
        format!("sandboxes = 1\nqueued = 1\n[egress]\nrules = [\"allow tcp {name}.example:80\"]\n")
    };
    let Some(manager) = start("rules_while_waiting", &allow("old")) else {
        return;
    };
    let knows = |user: &User, sandbox: &str, name: &str| {
        let script = format!("import socket; socket.gethostbyname('{name}.example')");
        user.python(sandbox, &script).finish().unwrap().code == 0
    };
    let alice = manager.alice();
    let first = alice.sandbox(wanted(0));
    assert!(knows(&alice, &first.id, "old") && !knows(&alice, &first.id, "new"));
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| waits(&alice));
        full(&alice);
        let document = shared_profile("small", &format!("[quotas]\n{}", allow("new")));
        std::fs::write(manager.profiles().join("small.toml"), document).unwrap();
        eventually("the first one's other rules", || {
            let now = alice.get(of(&first.id)).unwrap();
            (now.egress != first.egress).then_some(())
        });
        alice.kill(of(&first.id)).unwrap();
        waiting.join().unwrap().unwrap()
    });
    let now = alice.get(of(&second.id)).unwrap();
    assert_ne!(now.egress, first.egress);
    assert!(knows(&alice, &second.id, "new") && !knows(&alice, &second.id, "old"));
    manager.end();
}

/// Waits until somebody waits where one may. Whoever asks might wait there itself, for a
/// millisecond.
fn full(user: &User) {
    eventually("a full queue", || {
        let refused = user.create(wanted(1)).unwrap_err();
        match refused.reason.as_str() {
            "QUEUE_FULL" => Some(()),
            "DEADLINE_IN_QUEUE" => None,
            other => panic!("{other}: {refused:?}"),
        }
    });
}

/// Waits for a sandbox. Where whoever asks whether the queue is full was there first,
/// again.
fn waits(user: &User) -> Result<v1::Sandbox, Refused> {
    eventually("a place in the queue", || match user.create(wanted(LONG)) {
        Err(refused) if refused.reason == "QUEUE_FULL" => None,
        other => Some(other),
    })
}

type Waiting<'s> = ScopedJoinHandle<'s, Result<v1::Sandbox, Refused>>;

/// However many wait of one user, another one's turn is the next but one.
#[test]
fn users_take_turns() {
    let quotas = "sandboxes = 1\nqueued = 9\n[quotas.per_user]\nqueued = 8";
    let Some(manager) = start("turns", quotas) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let first = alice.sandbox(wanted(0));
    thread::scope(|scope| {
        let many: Vec<Waiting<'_>> = (0..8).map(|_| scope.spawn(|| waits(&alice))).collect();
        full(&alice);
        let his = scope.spawn(|| waits(&bob));
        full(&bob);
        let mut events = manager.root().events(v1::EventsRequest {
            all_users: true,
            ..v1::EventsRequest::default()
        });
        let events = events.as_mut().unwrap();
        let mut owners = Vec::new();
        let mut last = first.id;
        while !his.is_finished() && owners.len() < 3 {
            manager.root().kill(of(&last)).unwrap();
            let next = events.until("the next one's sandbox", |event| event.what == "created");
            owners.push(next.owner.clone());
            last = next.sandbox;
        }
        assert!(
            owners.iter().take(2).any(|owner| owner == bob.name()),
            "{owners:?}"
        );
        // All others get theirs as well.
        for _ in 0..8 {
            manager.root().kill(of(&last)).unwrap();
            if many.iter().all(ScopedJoinHandle::is_finished) {
                break;
            }
            let next = events.until("the next one's sandbox", |event| event.what == "created");
            last = next.sandbox;
        }
        assert_eq!(his.join().unwrap().unwrap().owner, bob.name());
        for one in many {
            one.join().unwrap().unwrap();
        }
    });
    manager.end();
}

#[test]
fn kernels_have_a_quota_of_their_own() {
    let Some(manager) = start("kernels", "[quotas.per_user]\nkernels = 1") else {
        return;
    };
    let alice = manager.alice();
    let kernel = || v1::CreateRequest {
        kind: v1::Kind::Kernel.into(),
        ..wanted(0)
    };
    assert_eq!(alice.sandbox(kernel()).state(), State::Running);
    let refused = alice.create(kernel()).unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{refused:?}");
    assert!(refused.message.contains("kernels"), "{refused:?}");
    assert_eq!(alice.sandbox(wanted(0)).state(), State::Running);
    manager.end();
}

#[test]
fn tasks_are_counted_over_all_sandboxes_and_managers() {
    let Some(manager) = start("tasks", "tasks = 3\n[quotas.per_user]\ntasks = 2") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let (one, other) = (alice.sandbox(wanted(0)).id, alice.sandbox(wanted(0)).id);
    let his = bob.sandbox(wanted(0)).id;
    let waiting = |user: &User, sandbox: &str| {
        let mut start = shell(sandbox, "echo begun; read line");
        start.detach = true;
        let mut talk = user.exec(start).unwrap();
        talk.prints("begun");
        talk
    };
    let (first, _second) = (waiting(&alice, &one), waiting(&alice, &other));
    let refused = |user: &User, sandbox: &str| {
        let refused = user.exec(shell(sandbox, "true")).unwrap_err();
        assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{refused:?}");
        assert!(refused.message.contains("tasks"), "{refused:?}");
    };
    refused(&alice, &one);
    let _his = waiting(&bob, &his);
    refused(&bob, &his);
    // The next manager counts what still runs.
    manager.kill_manager();
    let alice = manager.alice();
    refused(&alice, &one);
    end(&manager, &first);
    eventually("the place that became free", || {
        alice.exec(shell(&one, "true")).and_then(Talk::finish).ok()
    });
    manager.end();
}

#[test]
fn what_reads_and_writes_files_is_a_task_while_it_does() {
    let Some(manager) = start("files", "tasks = 1") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(wanted(0)).id;
    let path = "/tmp/file".to_owned();
    let write = v1::WriteFileHeader {
        sandbox: sandbox.clone(),
        path: path.clone(),
        mode: 0o600,
        ..v1::WriteFileHeader::default()
    };
    let read = v1::ReadFileRequest {
        sandbox: sandbox.clone(),
        path,
        ..v1::ReadFileRequest::default()
    };
    let list = v1::ListFilesRequest {
        sandbox: sandbox.clone(),
        path: "/tmp".to_owned(),
        ..v1::ListFilesRequest::default()
    };
    let writing = alice.begin_to_write(write.clone());
    eventually("a file that is being written", || {
        (!alice.get(of(&sandbox)).unwrap().tasks.is_empty()).then_some(())
    });
    let full = |what: &str, refused: Refused| {
        let told = (refused.reason.as_str(), refused.retry);
        assert_eq!(told, ("QUOTA_EXCEEDED", true), "{what}: {refused:?}");
        assert!(refused.message.contains("tasks"), "{what}: {refused:?}");
    };
    full("exec", alice.exec(shell(&sandbox, "true")).unwrap_err());
    full("read", alice.read_file(read.clone()).unwrap_err());
    full("list", alice.list_files(list.clone()).unwrap_err());
    full("write", alice.write_file(write.clone(), b"x").unwrap_err());
    assert_eq!(writing.end().unwrap(), 0);
    // Each one's place is free when it is answered.
    assert_eq!(alice.write_file(write, b"text").unwrap(), 4);
    assert_eq!(alice.read_file(read.clone()).unwrap(), b"text");
    let listed = alice.list_files(list).unwrap();
    assert!(listed.entries.iter().any(|entry| entry.name == b"file"));
    let mut talk = alice
        .exec(shell(&sandbox, "echo begun; read line"))
        .unwrap();
    talk.prints("begun");
    full("beside a task", alice.read_file(read).unwrap_err());
    manager.end();
}

fn end(manager: &Manager, talk: &Talk) {
    let signal = v1::SignalRequest {
        sandbox: talk.sandbox.clone(),
        task: talk.task,
        signal: 9,
    };
    manager.alice().signal(signal).unwrap();
}

/// What is refused is not half done: nothing of it counts.
#[test]
fn what_was_refused_counts_nothing() {
    let Some(manager) = start("nothing_counted", "sandboxes = 2\nmemory = \"256MiB\"") else {
        return;
    };
    let alice = manager.alice();
    let large = |memory: &str| v1::CreateRequest {
        policy: format!("version = 1\n[limits]\nmemory = \"{memory}\"\n"),
        ..wanted(0)
    };
    for _ in 0..3 {
        let refused = alice.create(large("128MiB\"\nswap = \"1TiB")).unwrap_err();
        assert_eq!(refused.reason, "BAD_POLICY", "{refused:?}");
    }
    assert_eq!(alice.sandbox(large("128MiB")).state(), State::Running);
    assert_eq!(alice.sandbox(large("128MiB")).state(), State::Running);
    assert_eq!(
        alice.create(large("128MiB")).unwrap_err().reason,
        "QUOTA_EXCEEDED"
    );
    manager.end();
}
