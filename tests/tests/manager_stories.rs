//! One manager, two ordinary users and an administrator: what each may expect of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_api::v1::State;
use lakekeep_tests::manager::{
    ALICE, BOB, Setup, account, command, create, milliseconds, of, shared_profile, shell,
};
use serde_json::Value;

fn last(sandbox: &str) -> v1::TaskRef {
    v1::TaskRef {
        sandbox: sandbox.to_owned(),
        task: 0,
    }
}

#[test]
fn two_users_and_an_administrator() {
    let setup = Setup::new().profile("team", &shared_profile("team", ""));
    let Some(manager) = setup.start("two_users") else {
        return;
    };
    let (alice, bob, root) = (manager.alice(), manager.bob(), manager.root());
    for (user, name) in [(&alice, ALICE), (&bob, BOB)] {
        let me = user.who_am_i(v1::WhoAmIRequest::default()).unwrap();
        assert_eq!((me.user.as_str(), me.administrator), (name, false));
        assert_eq!(me.identity.unwrap().uid, account(name).uid);
    }
    let me = root.who_am_i(v1::WhoAmIRequest::default()).unwrap();
    assert!(me.administrator);

    let team = || v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    };
    let (hers, his) = (alice.sandbox(team()), bob.sandbox(team()));
    assert_eq!(hers.state(), State::Running);
    assert_eq!(
        alice.run(&hers.id, "echo mine >/tmp/x; id -u").success(),
        "1000"
    );
    // Files of an interactive sandbox's home and /tmp stay from task to task.
    assert_eq!(alice.run(&hers.id, "cat /tmp/x").success(), "mine");
    let beside = bob.run(&his.id, "cat /tmp/x");
    assert_ne!(beside.code, 0);

    let listed = |user: &lakekeep_tests::manager::User, all_users| {
        let request = v1::ListRequest {
            all_users,
            ..v1::ListRequest::default()
        };
        let found = user.list(request).unwrap().sandboxes.into_iter();
        found.map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(&alice, false), std::slice::from_ref(&hers.id));
    assert_eq!(listed(&bob, false), std::slice::from_ref(&his.id));
    assert_eq!(listed(&root, true).len(), 2);

    let seen = alice.get(of(&hers.id)).unwrap();
    assert_eq!(seen.owner, ALICE);
    assert_eq!(seen.tasks.len(), 2);
    let receipt = alice.receipt(last(&hers.id)).unwrap().receipt;
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert!(receipt.get("layers").is_some(), "{receipt}");
    let verdict = alice.verdict(last(&hers.id)).unwrap();
    assert_eq!(verdict.exit_code, 0);

    // The administrator ends what others run, and reads none of it.
    let killed = root.kill(of(&his.id)).unwrap();
    assert_eq!(killed.state(), State::Ended);
    let verdict: Value = serde_json::from_str(&killed.verdict).unwrap();
    assert_eq!(verdict["kind"], "killed");
    assert!(
        verdict["explanation"].as_str().unwrap().contains("root"),
        "{verdict}"
    );
    assert_eq!(
        bob.exec(shell(&his.id, "true")).unwrap_err().reason,
        "ENDED"
    );
    assert_eq!(
        root.exec(shell(&hers.id, "true")).unwrap_err().reason,
        "DENIED"
    );
    manager.end();
}

#[test]
fn a_stream_goes_on_where_it_was_lost() {
    let Some(manager) = Setup::new().start("resume") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    // More than is heard between all the losses, where each piece is as large as may be.
    let last = 300_000;
    let script =
        format!("i=0; while [ $i -lt {last} ]; do i=$((i+1)); echo $i; echo e$i >&2; done");
    let mut talk = alice.exec(shell(&sandbox, &script)).unwrap();
    let task = {
        talk.until("its start", |talk| talk.task > 0);
        talk.task
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut drops = 0;
    let done = loop {
        let at = talk.stdout.len() + 2048 * (drops + 1);
        let more = drops < 20;
        talk.until("some output", |talk| !more || talk.stdout.len() > at);
        if !more {
            break talk.finish().unwrap();
        }
        let (out, errors) = talk.offsets();
        stdout.extend(std::mem::take(&mut talk.stdout));
        stderr.extend(std::mem::take(&mut talk.stderr));
        // The connection goes with its only user.
        drop(talk);
        drops += 1;
        talk = manager
            .alice()
            .attach(v1::AttachStart {
                sandbox: sandbox.clone(),
                task,
                stdout_offset: out,
                stderr_offset: errors,
                ..v1::AttachStart::default()
            })
            .unwrap();
    };
    stdout.extend(&done.stdout);
    stderr.extend(&done.stderr);
    assert_eq!(done.code, 0);
    let numbers: String = (1..=last).map(|i| format!("{i}\n")).collect();
    assert!(stdout == numbers.as_bytes(), "{} bytes", stdout.len());
    let numbers: String = (1..=last).map(|i| format!("e{i}\n")).collect();
    assert!(stderr == numbers.as_bytes(), "{} bytes", stderr.len());
    manager.end();
}

#[test]
fn a_terminal_has_its_size_and_its_keys() {
    let Some(manager) = Setup::new().start("terminal") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let mut start = command(&sandbox, &["/bin/sh"]);
    start.terminal = Some(v1::Window {
        rows: 30,
        columns: 90,
    });
    start.term = "xterm".to_owned();
    let mut talk = alice.exec(start).unwrap();
    talk.until("its start", |talk| talk.task > 0);
    talk.give(b"stty size; echo $TERM-ok\n");
    talk.prints("30 90");
    talk.prints("xterm-ok");
    talk.resize(41, 77);
    // The size may come after the line: asked until it is there.
    talk.give(b"until [ \"$(stty size)\" = '41 77' ]; do :; done; echo re''sized\n");
    talk.prints("resized");
    // The line is echoed before the shell runs it: it says itself when it is ready, and ends
    // whenever the signal comes after that.
    talk.give(
        b"trap 'echo inter''rupted; got=1' INT; echo re''ady; until [ \"$got\" ]; do :; done\n",
    );
    talk.prints("ready");
    let other = alice.run(&sandbox, "true");
    assert_eq!(other.code, 0);
    talk.give(&[3]);
    talk.prints("interrupted");
    talk.give(b"exit 7\n");
    let done = talk.finish().unwrap();
    assert_eq!(done.code, 7);
    let shown = alice.get(of(&sandbox)).unwrap();
    assert!(shown.tasks[0].tty);
    manager.end();
}

#[test]
fn signals_reach_the_command() {
    let Some(manager) = Setup::new().start("signals") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut talk = alice.exec(shell(&sandbox, script)).unwrap();
    talk.prints("ready");
    talk.signal(10);
    talk.prints("usr1");
    alice
        .signal(v1::SignalRequest {
            sandbox: sandbox.clone(),
            task: talk.task,
            signal: 15,
        })
        .unwrap();
    talk.prints("term");
    assert_eq!(talk.finish().unwrap().code, 5);
    let nonsense = v1::SignalRequest {
        sandbox: sandbox.clone(),
        task: 1,
        signal: 65,
    };
    assert_eq!(alice.signal(nonsense).unwrap_err().reason, "BAD_REQUEST");
    let mut talk = alice.exec(command(&sandbox, &["sleep", "1000"])).unwrap();
    talk.until("its start", |talk| talk.task > 0);
    talk.signal(9);
    let done = talk.finish().unwrap();
    assert_eq!(done.code, 137, "{}", done.outcome);
    manager.end();
}

#[test]
fn files_go_in_and_out() {
    let Some(manager) = Setup::new().start("files") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let header = |path: &str, create_new| v1::WriteFileHeader {
        sandbox: sandbox.clone(),
        path: path.to_owned(),
        mode: 0o640,
        create_new,
    };
    let size = alice.write_file(header("/tmp/data", false), &bytes);
    assert_eq!(size.unwrap(), 3_000_000);
    let read = |offset, length| {
        alice.read_file(v1::ReadFileRequest {
            sandbox: sandbox.clone(),
            path: "/tmp/data".to_owned(),
            offset,
            length,
        })
    };
    assert!(read(0, 0).unwrap() == bytes);
    assert!(read(1_000_000, 10).unwrap() == bytes[1_000_000..1_000_010]);
    let again = alice.write_file(header("/tmp/data", true), b"x");
    assert_eq!(again.unwrap_err().reason, "CONFLICT");
    let inside = alice.run(&sandbox, "stat -c '%a %s %u' /tmp/data");
    assert_eq!(inside.success(), "640 3000000 1000");
    let list = v1::ListFilesRequest {
        sandbox: sandbox.clone(),
        path: "/tmp".to_owned(),
        limit: 0,
    };
    let entries = alice.list_files(list).unwrap().entries;
    let data = entries.iter().find(|entry| entry.name == b"data").unwrap();
    assert_eq!((data.kind.as_str(), data.size), ("file", 3_000_000));
    let nowhere = alice.read_file(v1::ReadFileRequest {
        sandbox: sandbox.clone(),
        path: "/tmp/nothing".to_owned(),
        ..v1::ReadFileRequest::default()
    });
    assert_eq!(nowhere.unwrap_err().reason, "NOT_FOUND");
    manager.end();
}

#[test]
fn what_is_frozen_stands_still() {
    let Some(manager) = Setup::new().start("frozen") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let mut events = alice.events(v1::EventsRequest::default()).unwrap();
    let mut talk = alice
        .exec(shell(
            &sandbox,
            "echo first; read line; echo got $line; read line",
        ))
        .unwrap();
    talk.prints("first");
    let frozen = alice.freeze(of(&sandbox)).unwrap();
    assert_eq!(frozen.state(), State::Frozen);
    events.until("frozen", |event| event.what == "frozen");
    assert_eq!(
        alice.exec(shell(&sandbox, "true")).unwrap_err().reason,
        "FROZEN"
    );
    talk.give(b"word\n");
    talk.until("its input", |talk| talk.accepted == 5);
    let used = |user: &lakekeep_tests::manager::User| {
        let request = v1::StatsRequest {
            sandbox: sandbox.clone(),
            interval: milliseconds(100),
        };
        let mut feed = user.stats(request).unwrap();
        let mut cpu = || feed.next_one().unwrap().unwrap().sandboxes[0].cpu_us;
        (cpu(), cpu(), cpu())
    };
    let (first, _, last) = used(&alice);
    assert_eq!(first, last, "it runs while it is frozen");
    assert!(!talk.text().contains("got word"));
    let thawed = alice.thaw(of(&sandbox)).unwrap();
    assert_eq!(thawed.state(), State::Running);
    talk.prints("got word");
    talk.end_input();
    talk.finish().unwrap();
    events.until("its end", |event| event.what == "exited");
    manager.end();
}

#[test]
fn whoever_goes_away_can_come_back() {
    let Some(manager) = Setup::new().start("detached") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let mut start = shell(&sandbox, "echo begun; read line; echo got $line; exit 3");
    start.detach = true;
    let mut talk = alice.exec(start).unwrap();
    talk.prints("begun");
    let task = talk.task;
    drop((talk, alice));
    let alice = manager.alice();
    let attach = |no_follow| v1::AttachStart {
        sandbox: sandbox.clone(),
        task,
        no_follow,
        ..v1::AttachStart::default()
    };
    let mut talk = alice.attach(attach(false)).unwrap();
    talk.prints("begun");
    talk.give(b"again\n");
    talk.prints("got again");
    assert_eq!(talk.finish().unwrap().code, 3);
    // Its output can be read after its end, too.
    let done = alice.attach(attach(true)).unwrap().finish().unwrap();
    assert_eq!(done.text(), "begun\ngot again");
    // One that is not detached ends when nobody comes back.
    let mut events = alice.events(v1::EventsRequest::default()).unwrap();
    let mut start = command(&sandbox, &["sleep", "1000"]);
    start.linger = milliseconds(50);
    let mut talk = alice.exec(start).unwrap();
    talk.until("its start", |talk| talk.task > 0);
    let task = talk.task;
    drop(talk);
    events.until("the end of what was left", |event| {
        event.what == "exited" && event.task == task
    });
    manager.end();
}
