//! A task that was made ready before its command was known is like any other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_tests::{HostSnapshot, Place, Privilege, Run, for_each_privilege};
use serde_json::Value;

const READY: [&str; 2] = ["--embedded", "--made-ready"];

/// A receipt without what is another's in each sandbox.
fn receipt(place: &Place, privilege: Privilege, preset: &str, flags: &[&str]) -> Value {
    let run = Run::new(place, privilege)
        .flags(["--preset", preset])
        .flags(flags)
        .command(["true"])
        .finish();
    run.assert_code(0);
    let mut receipt = run.receipt.unwrap()["receipt"].clone();
    forget(&mut receipt);
    receipt
}

/// Names of sandboxes, numbers of namespaces and of ids; and the room for the task that was
/// ready, which is the only difference.
fn forget(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !["sandbox", "task", "first"].contains(&name.as_str()));
            if map.get("layer").is_some_and(|layer| layer == "pids_limit") {
                map.retain(|name, _| name == "layer" || name == "state");
            }
            map.values_mut().for_each(forget);
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn it_has_the_receipt_of_one_that_was_not() {
    for_each_privilege("ready_receipt", |privilege| {
        let place = Place::new();
        for preset in ["udf", "notebook", "general"] {
            let cold = receipt(&place, privilege, preset, &[]);
            assert_eq!(receipt(&place, privilege, preset, &READY), cold, "{preset}");
        }
    });
}

#[test]
fn it_gets_its_command_its_variables_and_its_streams() {
    for_each_privilege("ready_command", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let run = Run::new(&place, privilege)
            .flags(READY)
            .flags(["--env", "WORD=said", "--workdir", "/tmp"])
            .stdin("heard")
            .shell("echo $WORD; pwd; cat; ls -l /proc/self/fd | grep -c -- '->'; echo aside >&2")
            .finish();
        run.assert_code(0);
        // Three streams, and the folder that ls reads.
        assert_eq!(run.text(), "said\n/tmp\nheard4\n");
        assert!(run.stderr.contains("aside"), "{}", run.stderr);
        before.assert_unchanged();
    });
}

#[test]
fn a_command_too_large_for_one_message_arrives_whole() {
    for_each_privilege("ready_large", |privilege| {
        let place = Place::new();
        let long = "x".repeat(100_000);
        let run = Run::new(&place, privilege)
            .flags(READY)
            .command(["/bin/sh", "-c", "printf %s \"$1\" | wc -c", "sh", &long])
            .finish();
        run.assert_code(0);
        assert_eq!(run.text().trim(), "100000");
    });
}

#[test]
fn what_cannot_be_started_is_told_as_ever() {
    for_each_privilege("ready_failures", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let code = |flags: &[&str], command: &[&str]| {
            let run = Run::new(&place, privilege)
                .flags(READY)
                .flags(flags)
                .command(command)
                .finish();
            run.code
        };
        assert_eq!(code(&[], &["no-such-program"]), 127);
        assert_eq!(code(&[], &["/etc/passwd"]), 126);
        assert_eq!(code(&["--timeout", "1s"], &["sleep", "60"]), 124);
        before.assert_unchanged();
    });
}

#[test]
fn what_cannot_be_ready_is_made_when_it_is_asked_for() {
    for_each_privilege("ready_never", |privilege| {
        let place = Place::new();
        // A filter that tells is no ordinary one.
        let run = Run::new(&place, privilege)
            .flags(READY)
            .flags(["--explain-syscalls"])
            .command(["true"])
            .finish();
        run.assert_code(0);
    });
}
