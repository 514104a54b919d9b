//! Attacks on another user's sandbox through the API: each is refused as if there were
//! no such sandbox, and is in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::{BOB, Refusals, Setup, User, create, of, shared_profile, shell};

fn task(sandbox: &str) -> v1::TaskRef {
    v1::TaskRef {
        sandbox: sandbox.to_owned(),
        task: 1,
    }
}

#[test]
fn another_s_sandbox_is_not_there() {
    let Some(manager) = Setup::new().start("anothers") else {
        return;
    };
    let alice = manager.alice();
    let id = alice.sandbox(create()).id;
    // What is attacked works for whose it is.
    alice.run(&id, "echo private >/tmp/x; cat /tmp/x").success();
    let bob = manager.bob();
    let mut all = Refusals::new(&manager);
    strangers(&mut all, &bob, &id, "NOT_FOUND");
    all.finish(14);
    // And nothing has become of it.
    assert_eq!(alice.run(&id, "cat /tmp/x").success(), "private");
    manager.end();
}

/// Every request that names a sandbox.
fn strangers(all: &mut Refusals<'_>, user: &User, id: &str, reason: &str) {
    let who = user.name().to_owned();
    let who = who.as_str();
    let path = "/tmp/x".to_owned();
    let name = id.to_owned();
    all.attempt("exec", who, reason, || user.exec(shell(id, "cat /tmp/x")));
    all.attempt("attach", who, reason, || user.attach(attach(id, false)));
    all.attempt("logs", who, reason, || user.attach(attach(id, true)));
    all.attempt("read_file", who, reason, || {
        user.read_file(v1::ReadFileRequest {
            sandbox: name.clone(),
            path: path.clone(),
            ..v1::ReadFileRequest::default()
        })
    });
    all.attempt("write_file", who, reason, || {
        let header = v1::WriteFileHeader {
            sandbox: name.clone(),
            path: path.clone(),
            mode: 0o644,
            create_new: false,
        };
        user.write_file(header, b"bob was here")
    });
    all.attempt("list_files", who, reason, || {
        user.list_files(v1::ListFilesRequest {
            sandbox: name.clone(),
            path: "/tmp".to_owned(),
            limit: 0,
        })
    });
    all.attempt("get", who, reason, || user.get(of(id)));
    all.attempt("stats", who, reason, || {
        user.stats(v1::StatsRequest {
            sandbox: name.clone(),
            interval: None,
        })
    });
    all.attempt("freeze", who, reason, || user.freeze(of(id)));
    all.attempt("thaw", who, reason, || user.thaw(of(id)));
    all.attempt("signal", who, reason, || {
        user.signal(v1::SignalRequest {
            sandbox: name.clone(),
            task: 1,
            signal: 9,
        })
    });
    all.attempt("kill", who, reason, || user.kill(of(id)));
    all.attempt("receipt", who, reason, || user.receipt(task(id)));
    all.attempt("verdict", who, reason, || user.verdict(task(id)));
    all.attempt("attach_volume", who, reason, || {
        user.attach_volume(v1::AttachVolumeRequest {
            sandbox: name.clone(),
            volume: "home".to_owned(),
        })
    });
}

fn attach(id: &str, read_only: bool) -> v1::AttachStart {
    v1::AttachStart {
        sandbox: id.to_owned(),
        task: 1,
        read_only,
        ..v1::AttachStart::default()
    }
}

#[test]
fn lists_events_and_stats_show_a_stranger_nothing() {
    let Some(manager) = Setup::new().start("filters") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let mut events = bob
        .events(v1::EventsRequest {
            all_users: true,
            ..v1::EventsRequest::default()
        })
        .unwrap();
    let hers = alice.sandbox(create());
    let seen = bob.list(v1::ListRequest {
        all_users: true,
        ended: true,
        ..v1::ListRequest::default()
    });
    assert!(seen.unwrap().sandboxes.is_empty());
    let named = bob.list(v1::ListRequest {
        all_users: true,
        profile: hers.profile.clone(),
        ..v1::ListRequest::default()
    });
    assert!(named.unwrap().sandboxes.is_empty());
    let mut stats = bob.stats(v1::StatsRequest::default()).unwrap();
    assert!(stats.next_one().unwrap().unwrap().sandboxes.is_empty());
    // Events come in order: his own comes after hers would have.
    let his = bob.sandbox(create());
    let first = events.next_one().unwrap().unwrap();
    assert_eq!((first.sandbox, first.owner.as_str()), (his.id, BOB));
    let mut of_hers = bob
        .events(v1::EventsRequest {
            sandbox: hers.id.clone(),
            after: 0,
            all_users: true,
        })
        .unwrap();
    alice.kill(of(&hers.id)).unwrap();
    // A stream that is cut from outside: nothing came before its end.
    let killer = manager.pid().unwrap();
    lakekeep_tests::manager::kill(killer);
    assert!(!matches!(of_hers.next_one(), Ok(Some(_))));
    manager.answers();
    manager.end();
}

#[test]
fn a_contributor_sees_a_colleague_s_sandbox_and_not_what_is_in_it() {
    let setup = Setup::new().profile("team", &shared_profile("team", ""));
    let Some(manager) = setup.start("colleagues") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let team = v1::CreateRequest {
        profile: "team".to_owned(),
        labels: [("secret".to_owned(), "plan".to_owned())].into(),
        ..create()
    };
    let hers = alice.sandbox(team.clone()).id;
    alice.run(&hers, "echo private").success();
    let shown = bob.list(v1::ListRequest {
        all_users: true,
        ..v1::ListRequest::default()
    });
    let shown = shown.unwrap().sandboxes;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].labels.is_empty());
    assert!(shown[0].tasks.iter().all(|task| task.program.is_empty()));
    let mut all = Refusals::new(&manager);
    all.attempt("exec", BOB, "NOT_FOUND", || bob.exec(shell(&hers, "true")));
    all.attempt("logs", BOB, "NOT_FOUND", || bob.attach(attach(&hers, true)));
    all.attempt("kill", BOB, "NOT_FOUND", || bob.kill(of(&hers)));
    // The owner of the profile stops what runs in it, and reads none of it.
    let his = bob.sandbox(team).id;
    bob.run(&his, "echo private").success();
    let alices = alice.name().to_owned();
    all.attempt("owner's exec", &alices, "DENIED", || {
        alice.exec(shell(&his, "true"))
    });
    all.attempt("owner's logs", &alices, "DENIED", || {
        alice.attach(attach(&his, true))
    });
    alice.kill(of(&his)).unwrap();
    // Nor does the administrator.
    let root = manager.root();
    all.attempt("root's logs", "root", "DENIED", || {
        root.attach(attach(&hers, true))
    });
    all.attempt("root's files", "root", "DENIED", || {
        root.list_files(v1::ListFilesRequest {
            sandbox: hers.clone(),
            path: "/tmp".to_owned(),
            limit: 0,
        })
    });
    all.finish(7);
    manager.end();
}
