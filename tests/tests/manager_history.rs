//! What is found of sandboxes and tasks after their end, also by a later manager; and
//! starts and events that are asked for again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1::{EventsRequest, ExecStart, ListRequest, SandboxRef, TaskRef};
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{Code, Manager, Setup, Talk, User, create, of, scrape, shell, value};

fn all() -> ListRequest {
    ListRequest {
        ended: true,
        ..ListRequest::default()
    }
}

fn task(sandbox: &str, task: u32) -> TaskRef {
    TaskRef {
        sandbox: sandbox.to_owned(),
        task,
    }
}

/// Everything that is told of an ended sandbox with one task that exited 3.
fn found(user: &User, id: &str) {
    let shown = user.get(of(id)).unwrap();
    assert!(
        shown.ended.is_some() && !shown.verdict.is_empty(),
        "{shown:?}"
    );
    assert_eq!(shown.tasks[0].exit_code, 3);
    assert_eq!(shown.tasks[0].program, "/bin/sh");
    let listed = user.list(all()).unwrap().sandboxes;
    assert_eq!(listed.iter().filter(|one| one.id == id).count(), 1);
    let running = user.list(ListRequest::default()).unwrap().sandboxes;
    assert!(running.iter().all(|one| one.id != id));
    let verdict = user.verdict(task(id, 1)).unwrap();
    assert_eq!(verdict.exit_code, 3);
    assert!(verdict.verdict.contains("\"exit\""), "{}", verdict.verdict);
    for number in [0, 1] {
        let receipt = user.receipt(task(id, number)).unwrap().receipt;
        assert!(receipt.contains("layers"), "{receipt}");
    }
    let refused = user.exec(shell(id, "true")).unwrap_err();
    assert_eq!(refused.reason, "ENDED");
}

#[test]
fn ended_sandboxes_are_found_by_the_next_manager_and_by_nobody_else() {
    let setup = Setup::new();
    let socket = setup.place().path().join("m/run/metrics/m.sock");
    let table = format!("[metrics]\nsocket = {socket:?}\n");
    let Some(mut manager) = setup.tables(&table).start("history") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let sandbox = alice.sandbox(create());
    assert_eq!(alice.run(&sandbox.id, "exit 3").code, 3);
    alice.kill(of(&sandbox.id)).unwrap();
    found(&alice, &sandbox.id);
    let lives = alice.sandbox(create());
    alice.run(&lives.id, "exit 4");
    // The history is written behind the event. Of each sandbox: that it was made, what is
    // enforced, its task; of the first, its end.
    eventually("the history of all that was done", || {
        let text = scrape(&socket)?;
        let written = value(&text, "lakekeep_history_records_total", &[]);
        assert!(written <= 7.0, "{written}");
        (written == 7.0).then_some(())
    });

    manager.kill_manager();
    let alice = manager.alice();
    found(&alice, &sandbox.id);
    for refused in [
        bob_asks(&manager, &sandbox.id),
        manager
            .bob()
            .verdict(task(&sandbox.id, 1))
            .unwrap_err()
            .code,
        manager
            .bob()
            .receipt(task(&sandbox.id, 1))
            .unwrap_err()
            .code,
    ] {
        assert_eq!(refused, Code::NotFound);
    }
    assert!(bob.list(all()).is_err() || manager.bob().list(all()).unwrap().sandboxes.is_empty());
    let everybody = ListRequest {
        all_users: true,
        ..all()
    };
    let seen = manager.root().list(everybody).unwrap().sandboxes;
    let seen = seen.iter().find(|one| one.id == sandbox.id).unwrap();
    assert!(seen.labels.is_empty() && seen.trust_key.is_empty());
    // A task that ended before this manager's time, in a sandbox that goes on.
    assert_eq!(alice.verdict(task(&lives.id, 1)).unwrap().exit_code, 4);

    manager.kill_supervisor();
    manager.start_again();
    let alice = manager.alice();
    found(&alice, &sandbox.id);
    // It ended with its launcher while no manager ran.
    let lost = alice.get(of(&lives.id)).unwrap();
    assert!(lost.verdict.contains("\"lost\""), "{}", lost.verdict);
    assert_eq!(alice.verdict(task(&lives.id, 1)).unwrap().exit_code, 4);
    manager.end();
}

fn bob_asks(manager: &Manager, id: &str) -> Code {
    let of = SandboxRef {
        sandbox: id.to_owned(),
    };
    manager.bob().get(of).unwrap_err().code
}

#[test]
fn a_history_of_no_rows_remembers_nothing() {
    let setup = Setup::new().tables("[history]\nrows = 0\n");
    let Some(manager) = setup.start("no-history") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create());
    alice.kill(of(&sandbox.id)).unwrap();
    manager.kill_manager();
    let alice = manager.alice();
    assert_eq!(alice.get(of(&sandbox.id)).unwrap_err().code, Code::NotFound);
    manager.end();
}

fn start(sandbox: &str, word: &str, script: &str) -> ExecStart {
    ExecStart {
        request_id: word.to_owned(),
        detach: true,
        ..shell(sandbox, script)
    }
}

#[test]
fn a_start_that_is_repeated_is_the_same_task_also_at_the_next_manager() {
    let Some(manager) = Setup::new().start("starts") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create());
    let script = "echo begun; read x; echo got $x";
    let mut first = alice.exec(start(&sandbox.id, "w", script)).unwrap();
    first.prints("begun");
    // The answer is lost, and asked for again.
    drop(first);
    let mut again = alice.exec(start(&sandbox.id, "w", script)).unwrap();
    again.prints("begun");
    assert_eq!(again.task, 1);
    let other = alice.exec(start(&sandbox.id, "w", "false")).unwrap_err();
    assert_eq!((other.reason.as_str(), other.retry), ("CONFLICT", false));
    let long = alice.exec(start(&sandbox.id, &"w".repeat(65), "true"));
    assert_eq!(long.unwrap_err().reason, "BAD_REQUEST");

    manager.kill_manager();
    let alice = manager.alice();
    let mut last = alice.exec(start(&sandbox.id, "w", script)).unwrap();
    last.prints("begun");
    assert_eq!(last.task, 1);
    last.give(b"it\n");
    let done = last.finish().unwrap();
    assert!(done.text().ends_with("got it"), "{}", done.text());
    let ended = alice
        .exec(start(&sandbox.id, "w", script))
        .and_then(Talk::finish);
    assert_eq!(ended.unwrap().task, 1);
    let new = alice
        .exec(start(&sandbox.id, "v", "true"))
        .and_then(Talk::finish);
    assert_eq!(new.unwrap().task, 2);
    manager.end();
}

#[test]
fn events_are_told_from_the_oldest_and_to_the_end_of_what_is_kept() {
    let Some(manager) = Setup::new().start("events") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create());
    alice.run(&sandbox.id, "true");
    let kept = EventsRequest {
        from_oldest: true,
        no_follow: true,
        ..EventsRequest::default()
    };
    let words = eventually("the task's end among the events", || {
        let mut events = alice.events(kept.clone()).ok()?;
        let mut words = Vec::new();
        while let Some(event) = events.next_one().ok()? {
            words.push(event.what);
        }
        words.contains(&"exited".to_owned()).then_some(words)
    });
    assert_eq!(words, ["created", "started", "exited"]);
    let none = EventsRequest {
        no_follow: true,
        ..EventsRequest::default()
    };
    assert!(alice.events(none).unwrap().next_one().unwrap().is_none());
    let mut others = manager.bob().events(kept).unwrap();
    assert!(others.next_one().unwrap().is_none());
    manager.end();
}
