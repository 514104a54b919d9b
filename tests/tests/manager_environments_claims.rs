//! Environments that come with the claim of a sandbox that a manager made ahead, without one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use lakekeep_api::v1;
use lakekeep_tests::manager::parked::{claims, learn, ready, start_with};
use lakekeep_tests::manager::{
    ALICE, BOB, Machine, Manager, Talk, User, command, create, has_python, of,
};
use lakekeep_tests::{eventually, forget};
use serde_json::Value;
use tempfile::TempDir;

const VERSION: &str = "import lk_dist, sys; print(lk_dist.version, sys.prefix)";

/// The host's own.
const PYTHON: &str = "/usr/bin/python3";

/// Nothing imports it by itself.
const MODULE: &str = "wave";

fn start(test: &str, more: &str) -> Option<Manager> {
    has_python(test).then(|| start_with(test, more))?
}

/// A folder for machines that no task brings along.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("lkt-").tempdir_in("/srv");
    let folder = folder.unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn digest(told: &Value) -> String {
    told["digest"].as_str().unwrap().to_owned()
}

fn with(digest: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        environment: digest.to_owned(),
        ..create()
    }
}

/// One that was made ahead, claimed now.
fn claim(manager: &Manager, user: &User, request: v1::CreateRequest) -> v1::Sandbox {
    ready(manager);
    let before = claims(manager, "ready");
    let sandbox = user.sandbox(request);
    assert!(claims(manager, "ready") > before, "it was not made ahead");
    sandbox
}

fn python(user: &User, sandbox: &str, program: &str, code: &str) -> String {
    let start = command(sandbox, &[program, "-c", code]);
    user.exec(start).and_then(Talk::finish).unwrap().success()
}

fn mounted(folder: &Path, version: &str) -> String {
    format!("{version} {}", folder.join("venv").display())
}

#[test]
fn one_shape_serves_environments_of_all_users_and_none_sees_another_s() {
    let Some(manager) = start("claims_environment", "") else {
        return;
    };
    let folder = folder();
    let (home, other) = (folder.path().join("a"), folder.path().join("b"));
    let alice = Machine::at(&manager, ALICE, &home);
    let bob = Machine::at(&manager, BOB, &other);
    bob.install("2.0");
    let (hers, his) = (digest(&alice.push(&[])), digest(&bob.push(&[])));
    let (user, second) = (manager.alice(), manager.bob());
    // The shape is learned from one without any.
    learn(&manager, &user, create());
    let sandbox = claim(&manager, &user, with(&hers));
    assert_eq!(sandbox.environment, hers);
    let seen = python(&user, &sandbox.id, "python", VERSION);
    assert_eq!(seen, mounted(&home, "1.0"));
    // The next task, too: it was cloned after it came.
    let seen = python(&user, &sandbox.id, "python", VERSION);
    assert_eq!(seen, mounted(&home, "1.0"));
    let next = claim(&manager, &second, with(&his));
    let seen = python(&second, &next.id, "python", VERSION);
    assert_eq!(seen, mounted(&other, "2.0"));
    let look = format!(
        "ls -d {} {} 2>/dev/null; true",
        home.display(),
        other.display()
    );
    assert_eq!(
        second.run(&next.id, &look).success(),
        other.display().to_string()
    );
    assert_ne!(sandbox.trust_key, next.trust_key);
    // And who has none sees none.
    let bare = claim(&manager, &user, create());
    assert_eq!(user.run(&bare.id, &look).success(), "");
    // It cannot be changed.
    let touch = format!("touch {}/venv/x || echo refused", home.display());
    assert_eq!(user.run(&sandbox.id, &touch).success(), "refused");
    manager.end();
}

/// The receipt, without names and the numbers of namespaces and host ids.
fn receipt(user: &User, sandbox: &str) -> Value {
    let done = user.run(sandbox, "true");
    let mut receipt = done.outcome["receipt"].clone();
    assert!(receipt.is_object(), "{receipt}");
    forget(&mut receipt, &["sandbox", "task", "first"]);
    receipt
}

#[test]
fn it_is_enforced_as_in_one_that_was_made_with_it_and_survives_its_manager() {
    let Some(manager) = start("claims_environment_receipt", "") else {
        return;
    };
    let folder = folder();
    let home = folder.path().join("a");
    let machine = Machine::at(&manager, ALICE, &home);
    let hers = digest(&machine.push(&[]));
    let alice = manager.alice();
    // None of its shape is there yet.
    let cold = alice.sandbox(with(&hers));
    assert_eq!(claims(&manager, "ready"), 0.0);
    let expected = receipt(&alice, &cold.id);
    alice.kill(of(&cold.id)).unwrap();
    let warm = claim(&manager, &alice, with(&hers));
    assert_eq!(receipt(&alice, &warm.id), expected);
    assert!(machine.refused(&["env", "rm", &hers]).contains("in use"));
    manager.kill_manager();
    let words = ["exec", &warm.id, "--", "python", "-c", VERSION];
    let ran = machine.say(&words);
    let seen = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(seen.trim_end(), mounted(&home, "1.0"), "{ran:?}");
    assert!(machine.refused(&["env", "rm", &hers]).contains("in use"));
    manager.alice().kill(of(&warm.id)).unwrap();
    eventually("the environment of an ended sandbox to be free", || {
        let removed = machine.say(&["env", "rm", &hers]);
        removed.status.success().then_some(())
    });
    manager.end();
}

#[test]
fn what_lies_below_a_folder_that_tasks_share_is_there_from_the_beginning() {
    let Some(manager) = start("claims_environment_below", "") else {
        return;
    };
    // Its home is below /tmp, which is inside the tasks' own.
    let machine = Machine::new(&manager, ALICE, "a");
    let hers = digest(&machine.push(&[]));
    let alice = manager.alice();
    learn(&manager, &alice, create());
    let before = claims(&manager, "ready");
    let sandbox = alice.sandbox(with(&hers));
    assert_eq!(claims(&manager, "ready"), before, "it was made ahead");
    let seen = python(&alice, &sandbox.id, "python", VERSION);
    assert_eq!(seen, mounted(machine.home(), "1.0"));
    manager.end();
}

#[test]
fn no_task_with_an_environment_is_forked_from_what_has_imported_another() {
    let table = format!(
        "[[zygotes]]\npreset = \"general\"\ninterpreter = {PYTHON:?}\nmodules = [{MODULE:?}]\n"
    );
    let Some(manager) = start("claims_environment_zygote", &table) else {
        return;
    };
    let alice = manager.alice();
    let machine = Machine::new(&manager, ALICE, "a");
    // The same interpreter, by its path, as the zygote's.
    let hers = digest(&machine.push_of(Path::new(PYTHON), &[]));
    let look = format!("import sys; print({MODULE:?} in sys.modules)");
    let forked = |sandbox: &str| python(&alice, sandbox, PYTHON, &look) == "True";
    // Without an environment they are forked.
    learn(&manager, &alice, create());
    let bare = alice.sandbox(create());
    eventually("a forked task", || forked(&bare.id).then_some(()));
    // The first with one teaches the shape without a zygote, the second is made ahead.
    let cold = alice.sandbox(with(&hers));
    assert!(!forked(&cold.id));
    alice.kill(of(&cold.id)).unwrap();
    let before = claims(&manager, "ready");
    let warm = eventually("a claim of one made ahead", || {
        let sandbox = alice.sandbox(with(&hers));
        if claims(&manager, "ready") > before {
            return Some(sandbox);
        }
        alice.kill(of(&sandbox.id)).unwrap();
        None
    });
    for _ in 0..3 {
        assert!(!forked(&warm.id));
    }
    manager.end();
}
