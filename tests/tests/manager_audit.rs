//! The audit log: who did what, as whom and for whom; whole, or it is seen.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lakekeep_api::v1;
use lakekeep_tests::lakekeep;
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

/// A copy of what a manager remembers of its audit log.
struct Copied(PathBuf);

impl Copied {
    fn of(manager: &Manager, name: &str) -> Self {
        let to = manager.place().path().join(name);
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(manager.kept()).arg(&to);
        assert!(copy.status().unwrap().success());
        Self(to)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// The log's only file.
    fn file(&self) -> PathBuf {
        let files = fs::read_dir(self.folder()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut logs = paths.filter(|path| path.extension().is_some_and(|word| word == "jsonl"));
        let file = logs.next().unwrap();
        assert_eq!(logs.next(), None);
        file
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.file()).unwrap();
        change(&mut bytes);
        fs::write(self.file(), bytes).unwrap();
    }

    fn lines(&self, change: impl FnOnce(&mut Vec<&[u8]>)) {
        self.change(|bytes| {
            let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            change(&mut lines);
            *bytes = lines.concat();
        });
    }
}

/// `lakekeep audit verify` without a manager: its code, and what it printed for programs.
fn verify(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(lakekeep());
    command.args(["audit", "verify", "--json", "--folder"]);
    command.arg(folder).args(more).env_clear();
    let output = command.output().unwrap();
    let text = match output.stdout.is_empty() {
        true => output.stderr,
        false => output.stdout,
    };
    let told = serde_json::from_slice(&text);
    let told = told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&text)));
    (output.status.code(), told)
}

/// It is not whole: at this line, for a reason with these words.
#[track_caller]
fn is_broken(log: &Copied, line: Option<u64>, words: &str) {
    let (code, told) = verify(&log.folder(), &[]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["whole"], false);
    assert_eq!(told["line"], json!(line), "{told}");
    let file = log.file();
    assert_eq!(told["file"], file.file_name().unwrap().to_str().unwrap());
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains(words), "{problem}");
}

#[test]
fn it_is_verified_without_a_manager_and_what_was_changed_is_named() {
    let Some(mut manager) = Setup::new().start("offline") else {
        return;
    };
    let bob = manager.bob();
    let sandbox = bob.sandbox(create()).id;
    for word in ["one", "two", "three"] {
        bob.run(&sandbox, &format!("echo {word}")).success();
    }
    // Also while it is written.
    let (code, told) = verify(&manager.kept().join("audit"), &[]);
    assert_eq!((code, &told["whole"]), (Some(0), &json!(true)), "{told}");
    manager.kill_supervisor();
    let whole = Copied::of(&manager, "whole");
    let (code, told) = verify(&whole.folder(), &[]);
    assert_eq!(code, Some(0), "{told}");
    let events = told["events"].as_u64().unwrap();
    assert!(events >= 6, "{told}");
    assert_eq!(told["last"]["seq"], events);

    let flipped = Copied::of(&manager, "flipped");
    flipped.change(|bytes| {
        let third = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let start = third.map(|(at, _)| at).nth(1).unwrap() + 1;
        bytes[start + 20] ^= 1;
    });
    is_broken(&flipped, Some(3), "its hash is not that of its bytes");

    let dropped = Copied::of(&manager, "dropped");
    dropped.lines(|lines| {
        lines.remove(3);
    });
    is_broken(&dropped, Some(4), "event 4 belongs here");
    let mut command = Command::new(lakekeep());
    command.args(["audit", "verify", "--folder"]);
    let output = command.arg(dropped.folder()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let first = "lakekeep: not whole after 3 events: audit-00000000000000000001.jsonl:4: event 4";
    assert!(words.starts_with(first), "{words}");
    assert!(words.contains("the last good event is number 3"), "{words}");
    // What can be seen without the key is seen without it.
    let (code, told) = verify(&dropped.folder(), &["--no-key"]);
    assert_eq!((code, &told["line"]), (Some(1), &json!(4)), "{told}");

    let cut = Copied::of(&manager, "cut");
    cut.lines(|lines| lines.truncate(4));
    is_broken(&cut, None, &format!("ends with event 4, and {events}"));
    let within = Copied::of(&manager, "within");
    within.change(|bytes| bytes.truncate(bytes.len() - 10));
    is_broken(&within, None, "its end was cut off");
    manager.start_again();
    manager.end();
}

#[test]
fn what_cannot_be_verified_is_told_with_the_remedy() {
    let Some(mut manager) = Setup::new().start("unverified") else {
        return;
    };
    manager.kill_supervisor();
    let fails = |folder: &Path, more: &[&str], words: &str| {
        let (code, told) = verify(folder, more);
        assert_eq!(code, Some(125), "{told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    };
    let log = Copied::of(&manager, "log");
    fails(&log.0.join("nowhere"), &[], "cannot be reached");
    fails(&log.0, &["--no-key"], "there is no audit log in");
    let other = manager.place().path().join("other.key");
    fs::rename(log.0.join("audit.key"), &other).unwrap();
    fails(&log.folder(), &[], "name its key with --key");
    let other = other.to_str().unwrap();
    assert_eq!(verify(&log.folder(), &["--key", other]).0, Some(0));
    // Without the key it is said that less was looked at.
    let (code, told) = verify(&log.folder(), &["--no-key"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told["notes"].to_string().contains("no hash was checked"));
    manager.start_again();
    manager.end();
}
