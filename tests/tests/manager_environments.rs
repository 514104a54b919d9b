//! Environments that are sent to a manager: by two users, once, and run with.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use lakekeep_tests::manager::{ALICE, BOB, Machine, Manager, Setup, has_python, shared_profile};
use lakekeep_tests::{eventually, lakekeep};
use serde_json::Value;

fn digest(told: &Value) -> &str {
    told["digest"].as_str().unwrap()
}

fn number(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap()
}

fn start(test: &str, setup: Setup) -> Option<Manager> {
    has_python(test).then(|| setup.start(test))?
}

const VERSION: &str = "import lk_dist, sys; print(lk_dist.version, sys.prefix)";

#[test]
fn what_a_user_has_sent_is_not_sent_again_and_code_runs_with_it() {
    let Some(manager) = start("environments_sent_once", Setup::new()) else {
        return;
    };
    let first = Machine::new(&manager, ALICE, "first");
    let told = first.push(&[]);
    assert_eq!(told["known"], false);
    let bytes = number(&told, "bytes");
    assert!(number(&told, "sent_bytes") > bytes / 2, "{told}");
    let expected = format!("1.0 {}\n", first.home().join("venv").display());
    assert_eq!(first.run(digest(&told), VERSION), expected);
    assert_eq!(first.push(&[])["known"], true);
    // Another machine of hers with the same libraries, elsewhere, and another module: another environment.
    let second = Machine::new(&manager, ALICE, "second");
    let module = second.home().join("local.py");
    std::fs::write(&module, "y = 1\n").unwrap();
    let again = second.push(&["--module", module.to_str().unwrap()]);
    assert_ne!(digest(&again), digest(&told));
    println!("first client: {told}\nsecond client: {again}");
    let bytes = number(&again, "bytes");
    assert!(number(&again, "sent_bytes") * 100 <= bytes, "{again}");
    // With the manifest, which names every file.
    let wire = number(&again, "wire_bytes");
    assert!(wire > 0 && wire * 100 <= bytes, "{again}");
    // Who reads no JSON is told the same.
    let python = second.python().display().to_string();
    let said = second.say(&["env", "push", "--python", &python]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains(" files sent, ") && said.contains(" bytes ("),
        "{said}"
    );
    let expected = format!("1.0 {}\n", second.home().join("venv").display());
    assert_eq!(second.run(digest(&again), VERSION), expected);
    let listed = first.succeed(Command::new(lakekeep()).args(["env", "ls"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains(digest(&told)) && listed.contains(digest(&again)),
        "{listed}"
    );
    manager.end();
}

#[test]
fn nobody_learns_or_runs_what_another_has() {
    let Some(manager) = start("environments_of_others", Setup::new()) else {
        return;
    };
    let alice = Machine::new(&manager, ALICE, "alice");
    let hers = alice.push(&[]);
    // It works for who has sent it.
    assert!(alice.run(digest(&hers), VERSION).starts_with("1.0"));
    let bob = Machine::new(&manager, BOB, "bob");
    let nowhere = "0".repeat(64);
    let words = |digest: &str| {
        let said = bob.refused(&["run", "--environment", digest, "--", "true"]);
        said.replace(digest, "DIGEST")
    };
    assert_eq!(
        words(digest(&hers)),
        words(&nowhere),
        "the same for what nobody has"
    );
    let gone = |digest: &str| {
        bob.refused(&["env", "rm", digest])
            .replace(digest, "DIGEST")
    };
    assert_eq!(gone(digest(&hers)), gone(&nowhere));
    assert!(bob.say(&["env", "ls"]).stdout.is_empty());
    // He has the same library, and is asked for all of it: nobody tells him that she has it.
    let his = bob.push(&[]);
    let sent = number(&his, "sent_bytes");
    assert!(
        sent >= number(&hers, "sent_bytes") * 99 / 100,
        "{hers} {his}"
    );
    assert!(bob.run(digest(&his), VERSION).starts_with("1.0"));
    manager.end();
}

#[test]
fn a_profile_shares_what_its_owner_sends_for_it() {
    let profile = shared_profile("team", "");
    let Some(manager) = start(
        "environments_shared",
        Setup::new().profile("team", &profile),
    ) else {
        return;
    };
    let alice = Machine::new(&manager, ALICE, "alice");
    let bob = Machine::new(&manager, BOB, "bob");
    let shared = alice.push(&["--share", "team"]);
    let run = |profile: &str| {
        let words = [
            "run",
            "--profile",
            profile,
            "--environment",
            digest(&shared),
            "--",
        ];
        bob.say(
            &[
                &words[..],
                &["python", "-c", "import lk_dist; print(lk_dist.version)"],
            ]
            .concat(),
        )
    };
    let done = run("team");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "1.0\n", "{done:?}");
    // In another profile it is not shared.
    let elsewhere = run(&format!("home-{BOB}"));
    assert_eq!(elsewhere.status.code(), Some(125), "{elsewhere:?}");
    // What is shared with him need not be sent: he may read it anyway.
    let his = bob.push(&[]);
    println!("shared with him: {his}");
    assert!(
        number(&his, "sent_bytes") * 100 <= number(&his, "bytes"),
        "{his}"
    );
    assert!(bob.run(digest(&his), VERSION).starts_with("1.0"));
    // To share is the owner's.
    let python = bob.python().display().to_string();
    let said = bob.refused(&["env", "push", "--python", &python, "--share", "team"]);
    assert!(said.contains("may not edit_profile"), "{said}");
    let said = bob.refused(&["env", "rm", digest(&shared), "--share", "team"]);
    assert!(said.contains("may not edit_profile"), "{said}");
    manager.end();
}

#[test]
fn an_environment_in_use_stays_also_under_the_next_manager() {
    let Some(manager) = start("environments_in_use", Setup::new()) else {
        return;
    };
    let alice = Machine::new(&manager, ALICE, "alice");
    let told = alice.push(&[]);
    let digest = digest(&told);
    let mut create = Command::new(lakekeep());
    create.args(["create", "--environment", digest]);
    let id = String::from_utf8(alice.succeed(&mut create).stdout).unwrap();
    let id = id.trim();
    let in_use = || {
        let said = alice.refused(&["env", "rm", digest]);
        assert!(said.contains("is in use"), "{said}");
        let collected = alice.say(&["env", "gc", "--keep", "0"]);
        let text = String::from_utf8(collected.stdout).unwrap();
        assert!(text.contains("is in use, and stays"), "{text}");
    };
    in_use();
    manager.kill_manager();
    in_use();
    let words = ["exec", id, "--", "python", "-c", VERSION];
    let ran = alice.say(&words);
    assert!(ran.stdout.starts_with(b"1.0"), "{ran:?}");
    alice.succeed(Command::new(lakekeep()).args(["kill", id]));
    let removed = || {
        alice
            .say(&["env", "rm", digest])
            .status
            .success()
            .then_some(())
    };
    eventually("the environment of an ended sandbox to be free", removed);
    assert!(alice.say(&["env", "ls"]).stdout.is_empty());
    manager.end();
}
