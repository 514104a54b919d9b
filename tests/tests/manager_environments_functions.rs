//! Sessions of user functions with an environment that their user has sent to the manager.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Read;

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, Code, ENGINE, Machine, Manager, Refusals, Refused, Setup, has_python,
};
use serde_json::{Value, json};

/// What a worker imports first: it says where it is, and waits.
const WAITS: &str = "import lk_dist, os, sys\n\
    os.write(2, f'{lk_dist.version} {sys.prefix} {sys.executable}'.encode())\n\
    os.write(0, b'here')\n\
    os.read(0, 1)\n";

fn start(test: &str) -> Option<Manager> {
    let delegate = format!("[[auth.delegate]]\nactor = \"{ENGINE}\"\nusers = [\"{ALICE}\"]\n");
    has_python(test).then(|| Setup::new().tables(&delegate).start(test))?
}

/// A machine whose environment has what a worker imports.
fn machine<'m>(manager: &'m Manager, user: &str) -> Machine<'m> {
    let machine = Machine::new(manager, user, user);
    machine.module("pyarrow", WAITS);
    machine.module("cloudpickle", "import sys\nsys.exit()\n");
    machine
}

fn push(machine: &Machine<'_>) -> String {
    let told = machine.push(&[]);
    told["digest"].as_str().unwrap().to_owned()
}

fn session(number: u32, environment: &str) -> Value {
    json!({ "number": number, "interpreter": "/no/such/python", "environment": environment })
}

/// What a refusal says, as one over gRPC does.
fn told(failed: &Value) -> Result<(), Refused> {
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    Err(Refused {
        reason: text("code"),
        message: text("message"),
        retry: !failed["retry_after_ms"].is_null(),
        code: Code::Unknown,
    })
}

#[test]
fn a_worker_runs_with_the_environment_of_its_user() {
    let Some(manager) = start("functions_environment") else {
        return;
    };
    let machine = machine(&manager, ALICE);
    let digest = push(&machine);
    let engine = manager.engine(ALICE);
    let (id, mut streams) = engine.open(&session(1, &digest));
    streams.wait();
    let here = machine.python();
    let prefix = machine.home().join("venv");
    let expected = format!("1.0 {} {}", prefix.display(), here.display());
    let mut said = vec![0; expected.len()];
    streams.stderr.read_exact(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said), expected);
    let mine = manager.alice().get(lakekeep_tests::manager::of(&id));
    let with = mine.unwrap();
    assert_eq!(with.environment, digest);
    // In use, it stays.
    assert!(machine.refused(&["env", "rm", &digest]).contains("in use"));
    streams.let_go();
    assert_eq!(engine.ended(1)["verdict"]["kind"], "exit");
    // It is a part of the trust key.
    let (bare, _streams) = engine.open(&json!({ "number": 2, "interpreter": "/no/such/python" }));
    let without = manager.alice().get(lakekeep_tests::manager::of(&bare));
    assert_ne!(without.unwrap().trust_key, with.trust_key);
    assert_eq!(engine.ended(2)["verdict"]["kind"], "exec_failed");
    // An engine that acts for her has hers.
    let other = manager.engine(ENGINE);
    let mut asked = session(1, &digest);
    asked["user"] = json!(ALICE);
    let (_, streams) = other.open(&asked);
    streams.wait();
    streams.let_go();
    assert_eq!(other.ended(1)["verdict"]["kind"], "exit");
    let log = manager.root().audit(v1::QueryAuditRequest::default());
    let log = log.unwrap();
    for action in ["create_sandbox", "exec", "end_function"] {
        let noted = log
            .iter()
            .any(|it| it["action"] == action && it["environment"] == digest.as_str());
        assert!(noted, "{action}: {log:#?}");
    }
    manager.end();
}

#[test]
fn an_environment_of_somebody_else_is_as_one_that_nobody_has() {
    let Some(manager) = start("functions_environment_of_others") else {
        return;
    };
    let hers = push(&machine(&manager, ALICE));
    let alice = manager.engine(ALICE);
    // It works for who has sent it.
    let (_, streams) = alice.open(&session(1, &hers));
    streams.wait();
    let bob = manager.engine(BOB);
    let nowhere = "0".repeat(64);
    let words = |digest: &str| {
        let failed = bob.refused(&session(1, digest));
        failed.to_string().replace(digest, "DIGEST")
    };
    let said = words(&hers);
    assert_eq!(said, words(&nowhere), "the same for what nobody has");
    assert!(said.contains("lakekeep env push"), "{said}");
    let mut refusals = Refusals::new(&manager);
    let mut attempt = |what, who, reason, open: Value| {
        let engine = manager.engine(who);
        refusals.attempt(what, who, reason, || told(&engine.refused(&open)));
    };
    attempt("another's", BOB, "NOT_FOUND", session(1, &hers));
    attempt("nobody's", BOB, "NOT_FOUND", session(1, &nowhere));
    attempt("no digest", BOB, "BAD_REQUEST", session(1, "../venv"));
    attempt("empty", BOB, "BAD_REQUEST", session(1, ""));
    // An engine has no right to what its users have, unless it acts for them.
    attempt("an engine's own", ENGINE, "NOT_FOUND", session(1, &hers));
    let mut as_bob = session(1, &hers);
    as_bob["user"] = json!(BOB);
    attempt("for another", ENGINE, "DENIED", as_bob);
    refusals.finish(6);
    manager.end();
}

#[test]
fn one_without_what_a_worker_imports_is_refused_with_the_command() {
    let Some(manager) = start("functions_environment_unfit") else {
        return;
    };
    let machine = Machine::new(&manager, ALICE, "machine");
    let digest = push(&machine);
    // For commands it serves.
    assert_eq!(
        machine.run(&digest, "import lk_dist; print(lk_dist.version)"),
        "1.0\n"
    );
    let failed = manager.engine(ALICE).refused(&session(1, &digest));
    assert_eq!(failed["code"], "BAD_REQUEST", "{failed}");
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("has no pyarrow"), "{message}");
    assert!(message.contains("pip install pyarrow"), "{message}");
    manager.end();
}
