//! Attacks on another user's sandbox through the API: each is refused as if there were
//! no such sandbox, and is in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Debug;

use lakekeep_api::v1::{self, State};
use lakekeep_tests::Privilege;
use lakekeep_tests::manager::{
    ALICE, BOB, Manager, Refusals, Refused, Setup, Talk, User, create, of, shared_profile, shell,
};

/// Bob does something to a sandbox of Alice's, which works for her.
fn attack<T: Debug>(test: &str, attempt: impl Fn(&User, &str) -> Result<T, Refused>) {
    let Some(manager) = Setup::new().start(test) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let id = alice.sandbox(create()).id;
    alice.run(&id, "echo private | tee /tmp/x").success();
    let mut running = shell(&id, "echo begun; read line");
    running.detach = true;
    alice.exec(running).unwrap().prints("begun");
    let mut all = Refusals::new(&manager);
    all.attempt(test, BOB, "NOT_FOUND", || attempt(&bob, &id));
    all.finish(1);
    // Nothing has become of it, and the request was one that can succeed.
    let shown = alice.get(of(&id)).unwrap();
    assert_eq!((shown.state(), shown.tasks.len()), (State::Running, 2));
    assert_eq!(shown.tasks[RUNNING].state(), State::Running);
    assert_eq!(alice.run(&id, "cat /tmp/x").success(), "private");
    attempt(&alice, &id).unwrap();
    manager.end();
}

/// Alice's second task, in the list of them and by its number.
const RUNNING: usize = 1;
const SECOND: u32 = 2;

macro_rules! attacks {
    ($($name:ident: $attempt:expr;)+) => {
        $(
            #[test]
            fn $name() {
                attack(stringify!($name), $attempt);
            }
        )+
    };
}

attacks! {
    another_s_exec: |user, id| user.exec(shell(id, "cat /tmp/x"));
    another_s_attach: |user, id| user.attach(attach(id, SECOND, false));
    another_s_logs: |user, id| user.attach(attach(id, 1, true));
    another_s_output_resumed_at_an_offset: |user, id| {
        let mut from = attach(id, 1, true);
        from.stdout_offset = 3;
        from.no_follow = true;
        user.attach(from)
    };
    another_s_input: |user, id| {
        let mut into = attach(id, SECOND, false);
        into.stdin_offset = 0;
        let mut talk = user.attach(into)?;
        talk.give(b"bob was here\n");
        talk.finish()
    };
    another_s_file_read: |user, id| {
        user.read_file(v1::ReadFileRequest {
            sandbox: id.to_owned(),
            path: "/tmp/x".to_owned(),
            ..v1::ReadFileRequest::default()
        })
    };
    another_s_file_written: |user, id| {
        let header = v1::WriteFileHeader {
            sandbox: id.to_owned(),
            path: "/tmp/x".to_owned(),
            mode: 0o644,
            create_new: false,
        };
        user.write_file(header, b"bob was here")
    };
    another_s_folder_listed: |user, id| {
        user.list_files(v1::ListFilesRequest {
            sandbox: id.to_owned(),
            path: "/tmp".to_owned(),
            limit: 0,
        })
    };
    another_s_description: |user, id| user.get(of(id));
    another_s_stats: |user, id| {
        user.stats(v1::StatsRequest {
            sandbox: id.to_owned(),
            interval: None,
        })
    };
    another_s_events: |user, id| {
        user.events(v1::EventsRequest {
            sandbox: id.to_owned(),
            all_users: true,
            ..v1::EventsRequest::default()
        })
    };
    another_s_freeze: |user, id| user.freeze(of(id));
    another_s_thaw: |user, id| user.thaw(of(id));
    another_s_signal: |user, id| {
        user.signal(v1::SignalRequest {
            sandbox: id.to_owned(),
            task: SECOND,
            signal: 9,
        })
    };
    another_s_end: |user, id| user.kill(of(id));
    another_s_receipt: |user, id| user.receipt(task(id, 1));
    another_s_verdict: |user, id| user.verdict(task(id, 1));
}

fn task(sandbox: &str, task: u32) -> v1::TaskRef {
    v1::TaskRef {
        sandbox: sandbox.to_owned(),
        task,
    }
}

fn attach(id: &str, task: u32, read_only: bool) -> v1::AttachStart {
    v1::AttachStart {
        sandbox: id.to_owned(),
        task,
        read_only,
        ..v1::AttachStart::default()
    }
}

#[test]
fn another_s_sandbox_after_its_end() {
    let Some(manager) = Setup::new().start("after_its_end") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let id = alice.sandbox(create()).id;
    alice.run(&id, "echo private").success();
    alice.kill(of(&id)).unwrap();
    let logs = |user: &User| user.attach(attach(&id, 1, true)).and_then(Talk::finish);
    assert_eq!(logs(&alice).unwrap().text(), "private");
    let mut all = Refusals::new(&manager);
    all.attempt("logs", BOB, "NOT_FOUND", || logs(&bob));
    all.attempt("verdict", BOB, "NOT_FOUND", || bob.verdict(task(&id, 1)));
    all.attempt("get", BOB, "NOT_FOUND", || bob.get(of(&id)));
    all.finish(3);
    manager.end();
}

#[test]
fn another_s_volume_attached() {
    let setup = Setup::new();
    let folder = setup.place().dir("work", Privilege::Root);
    let volume = format!(
        "[[volume]]\nname = \"work\"\nsource = {folder:?}\ntarget = \"/work\"\noptional = true\n"
    );
    let Some(manager) = setup
        .profile("hers", &shared_profile("hers", &volume).replace(BOB, ALICE))
        .start("another_s_volume")
    else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let attached = |user: &User, sandbox: &str| {
        user.attach_volume(v1::AttachVolumeRequest {
            sandbox: sandbox.to_owned(),
            volume: "work".to_owned(),
        })
    };
    let hers = alice.sandbox(v1::CreateRequest {
        profile: "hers".to_owned(),
        ..create()
    });
    let his = bob.sandbox(create()).id;
    let mut all = Refusals::new(&manager);
    all.attempt("in her sandbox", BOB, "NOT_FOUND", || {
        attached(&bob, &hers.id)
    });
    all.attempt("in his own", BOB, "NOT_FOUND", || attached(&bob, &his));
    all.finish(2);
    assert!(alice.get(of(&hers.id)).unwrap().volumes.is_empty());
    assert_eq!(attached(&alice, &hers.id).unwrap().id, hers.id);
    manager.end();
}

#[test]
fn identifiers_that_are_guessed_or_none() {
    let Some(manager) = Setup::new().start("identifiers") else {
        return;
    };
    let bob = manager.bob();
    let his = bob.sandbox(create()).id;
    let mut all = Refusals::new(&manager);
    let upper = his.to_uppercase();
    let with_nul = format!("{his}\0");
    let guessed = [
        "",
        "0",
        "0000000000000000",
        "../../etc",
        "*",
        "%",
        "' OR 1=1 --",
        with_nul.as_str(),
        upper.as_str(),
    ];
    for id in guessed.into_iter().filter(|id| *id != his) {
        all.attempt(id, BOB, "NOT_FOUND", || bob.get(of(id)));
    }
    let long = "a".repeat(1 << 20);
    all.attempt("a long one", BOB, "NOT_FOUND", || bob.kill(of(&long)));
    all.finish(9);
    let longest = all_lines(&manager).map(|line| line.len()).max().unwrap();
    assert!(longest < 16 << 10, "a line of {longest} bytes");
    manager.end();
}

fn all_lines(manager: &Manager) -> impl Iterator<Item = String> {
    let events = manager.root().audit(v1::QueryAuditRequest::default());
    events.unwrap().into_iter().map(|event| event.to_string())
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
    all.attempt("logs", BOB, "NOT_FOUND", || {
        bob.attach(attach(&hers, 1, true))
    });
    all.attempt("kill", BOB, "NOT_FOUND", || bob.kill(of(&hers)));
    // The owner of the profile stops what runs in it, and reads none of it.
    let his = bob.sandbox(team).id;
    bob.run(&his, "echo private").success();
    let alices = alice.name().to_owned();
    all.attempt("owner's exec", &alices, "DENIED", || {
        alice.exec(shell(&his, "true"))
    });
    all.attempt("owner's logs", &alices, "DENIED", || {
        alice.attach(attach(&his, 1, true))
    });
    alice.kill(of(&his)).unwrap();
    // Nor does the administrator.
    let root = manager.root();
    all.attempt("root's logs", "root", "DENIED", || {
        root.attach(attach(&hers, 1, true))
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
