//! A sandbox for one task: one request makes it, runs the task, and ends it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1::{self, ExecStart, Kind, State};
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{
    Done, Manager, Refused, Setup, Talk, User, create, milliseconds, of, shared_profile, shell,
};

/// A script in a sandbox of its own.
fn once(request: v1::CreateRequest, script: &str) -> ExecStart {
    ExecStart {
        once: Some(request),
        ..shell("", script)
    }
}

fn refused(user: &User, start: ExecStart) -> Refused {
    user.exec(start).and_then(Talk::finish).unwrap_err()
}

fn run(user: &User, start: ExecStart) -> Done {
    user.exec(start).unwrap().finish().unwrap()
}

/// Waits until the only sandbox of this user has ended, and gives it.
fn ended(user: &User) -> v1::Sandbox {
    eventually("the end of the sandbox", || {
        let all = user.list(v1::ListRequest {
            ended: true,
            ..v1::ListRequest::default()
        });
        let all = all.unwrap().sandboxes;
        assert!(all.len() <= 1, "{all:?}");
        all.into_iter().find(|one| one.state() == State::Ended)
    })
}

fn start(test: &str) -> Option<Manager> {
    Setup::new().start(test)
}

#[test]
fn its_place_is_free_when_its_end_is_heard() {
    let document = shared_profile("small", "[quotas]\nsandboxes = 1\ntasks = 1\n");
    let setup = Setup::new().profile("small", &document);
    let Some(manager) = setup.start("once") else {
        return;
    };
    let alice = manager.alice();
    let wanted = || v1::CreateRequest {
        profile: "small".to_owned(),
        ..create()
    };
    for round in 0..8 {
        let done = run(&alice, once(wanted(), &format!("echo {round}; exit 3")));
        assert_eq!((done.text().trim(), done.code), (&*round.to_string(), 3));
    }
    let all = alice.list(v1::ListRequest {
        ended: true,
        ..v1::ListRequest::default()
    });
    let all = all.unwrap().sandboxes;
    assert_eq!(all.len(), 8);
    for one in all {
        assert_eq!(one.state(), State::Ended);
        assert!(one.verdict.contains("only task"), "{}", one.verdict);
    }
    manager.end();
}

#[test]
fn what_cannot_be_started_leaves_nothing() {
    let Some(manager) = start("once_failed") else {
        return;
    };
    let alice = manager.alice();
    let both = ExecStart {
        sandbox: "0123456789abcdef".to_owned(),
        ..once(create(), "true")
    };
    let named = refused(&alice, both);
    assert_eq!(named.reason, "BAD_REQUEST", "{named:?}");
    let unknown = v1::CreateRequest {
        profile: "no-such".to_owned(),
        ..create()
    };
    let hidden = refused(&alice, once(unknown, "true"));
    assert_eq!(hidden.reason, "NOT_FOUND", "{hidden:?}");
    let secret = ExecStart {
        secrets: vec!["no-such".to_owned()],
        ..once(create(), "true")
    };
    let missing = refused(&alice, secret);
    assert_eq!(missing.reason, "NOT_FOUND", "{missing:?}");
    assert!(ended(&alice).verdict.contains("did not start"));
    manager.end();
}

#[test]
fn a_command_that_is_not_there_is_told_and_its_sandbox_ends() {
    let Some(manager) = start("once_missing") else {
        return;
    };
    let alice = manager.alice();
    let missing = ExecStart {
        arguments: vec![b"/no/such/program".to_vec()],
        ..once(create(), "")
    };
    let done = run(&alice, missing);
    assert_eq!((done.code, done.verdict()), (127, "exec_failed"));
    ended(&alice);
    manager.end();
}

#[test]
fn it_ends_when_its_caller_does_not_come_back() {
    let Some(manager) = start("once_left") else {
        return;
    };
    let alice = manager.alice();
    let long = ExecStart {
        linger: milliseconds(300),
        ..once(create(), "echo here; sleep 1000")
    };
    let mut talk = alice.exec(long).unwrap();
    talk.prints("here");
    drop(talk);
    ended(&alice);
    manager.end();
}

#[test]
fn a_successor_ends_it_with_its_task() {
    let Some(manager) = start("once_succeeded") else {
        return;
    };
    let alice = manager.alice();
    let batch = v1::CreateRequest {
        kind: Kind::Batch.into(),
        ..create()
    };
    let mut talk = alice
        .exec(once(batch, "echo here; read word; echo $word"))
        .unwrap();
    talk.prints("here");
    let living = alice.list(v1::ListRequest::default()).unwrap().sandboxes;
    let id = living[0].id.clone();
    manager.kill_manager();
    let alice = manager.alice();
    let mut again = alice
        .attach(v1::AttachStart {
            sandbox: id.clone(),
            ..v1::AttachStart::default()
        })
        .unwrap();
    again.give(b"word\n");
    let done = again.finish().unwrap();
    assert_eq!(done.text().trim(), "here\nword");
    assert_eq!(ended(&alice).id, id);
    assert_eq!(alice.get(of(&id)).unwrap().state(), State::Ended);
    manager.end();
}

#[test]
fn the_same_request_twice_is_one() {
    let Some(manager) = start("once_twice") else {
        return;
    };
    let alice = manager.alice();
    let request = || {
        let wanted = v1::CreateRequest {
            request_id: "made".to_owned(),
            ..create()
        };
        ExecStart {
            request_id: "started".to_owned(),
            ..once(wanted, "hostname")
        }
    };
    let first = run(&alice, request());
    let again = run(&alice, request());
    assert_eq!(first.success(), again.success());
    ended(&alice);
    manager.end();
}
