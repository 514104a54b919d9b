//! Sandboxes of a manager whose tasks are forked from a zygote: whose they are, what is left
//! of it, and what becomes of them when it ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use lakekeep_tests::manager::parked::{claimed, learn, start_with};
use lakekeep_tests::manager::{Manager, Talk, User, command, create, kill, of};
use lakekeep_tests::{Place, children, eventually, lakekeep};

const PYTHON: &str = "/usr/bin/python3";

/// Nothing imports it by itself.
const MODULE: &str = "wave";

fn start(test: &str, modules: &[&str]) -> Option<Manager> {
    let table = format!(
        "[[zygotes]]\npreset = \"general\"\ninterpreter = {PYTHON:?}\nmodules = {modules:?}\nsandboxes = 3\n"
    );
    start_with(test, &table)
}

/// What a program prints in this sandbox, in an interpreter of its own.
fn python(user: &User, sandbox: &str, program: &str) -> String {
    let start = command(sandbox, &[PYTHON, "-c", program]);
    user.exec(start).and_then(Talk::finish).unwrap().success()
}

/// Whether a program there finds imported what it has not imported.
fn is_forked(user: &User, sandbox: &str) -> bool {
    let look = format!("import sys; print({MODULE:?} in sys.modules)");
    python(user, sandbox, &look) == "True"
}

/// A zygote may still be making its imports: the next task is another chance.
fn until_forked(user: &User, sandbox: &str) {
    eventually("a forked task", || is_forked(user, sandbox).then_some(()));
}

/// The interpreters that launchers have started.
fn zygotes(manager: &Manager) -> BTreeSet<i32> {
    let servers = manager.launcher_servers().into_iter();
    let servers = servers.filter_map(|pid| u32::try_from(pid).ok());
    let is_python = |pid: &i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.to_string_lossy().contains("python")
    };
    servers.flat_map(children).filter(is_python).collect()
}

#[test]
fn tasks_are_forked_and_no_two_users_draw_alike() {
    let Some(manager) = start("zygotes", &[MODULE]) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = claimed(&manager, &alice, create());
    until_forked(&alice, &hers.id);
    assert!(is_forked(&alice, &hers.id), "the next one was not");
    learn(&manager, &bob, create());
    let his = bob.sandbox(create());
    until_forked(&bob, &his.id);
    let draw = "import random, uuid, os; print(random.random(), uuid.uuid4(), os.urandom(8).hex(), hash('a') and '')";
    assert_ne!(python(&alice, &hers.id, draw), python(&bob, &his.id, draw));
    let range =
        |user: &User, id: &str| python(user, id, "print(open('/proc/self/uid_map').read())");
    assert_ne!(range(&alice, &hers.id), range(&bob, &his.id));
    // The receipt says what is alike.
    let look = command(&hers.id, &[PYTHON, "-c", "0"]);
    let done = alice.exec(look).and_then(Talk::finish).unwrap();
    let warnings = done.outcome["receipt"]["warnings"].to_string();
    assert!(warnings.contains("zygote"), "{}", done.outcome);
    // What is not for the interpreter is executed.
    assert_eq!(alice.run(&hers.id, "echo well").success(), "well");
    alice.kill(of(&hers.id)).unwrap();
    bob.kill(of(&his.id)).unwrap();
    manager.end();
}

#[test]
fn a_killed_zygote_takes_no_sandbox_with_it_and_another_follows() {
    let Some(manager) = start("zygote_killed", &[MODULE]) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = claimed(&manager, &alice, create());
    until_forked(&alice, &sandbox.id);
    let dead = zygotes(&manager);
    assert!(!dead.is_empty());
    for pid in &dead {
        kill(*pid);
    }
    // One task may have been forked before.
    eventually("a task that is executed", || {
        (!is_forked(&alice, &sandbox.id)).then_some(())
    });
    eventually("another zygote", || {
        let next = alice.sandbox(create());
        let forked = is_forked(&alice, &next.id);
        alice.kill(of(&next.id)).unwrap();
        forked.then_some(())
    });
    assert!(zygotes(&manager).is_disjoint(&dead));
    assert_eq!(python(&alice, &sandbox.id, "print(6 * 7)"), "42");
    manager.end();
}

#[test]
fn a_zygote_that_cannot_import_costs_nobody_a_task() {
    let Some(manager) = start("zygote_import", &["there_is_no_such_module"]) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = claimed(&manager, &alice, create());
    assert!(!is_forked(&alice, &sandbox.id));
    eventually("its end", || zygotes(&manager).is_empty().then_some(()));
    let next = claimed(&manager, &alice, create());
    assert_eq!(python(&alice, &next.id, "print(6 * 7)"), "42");
    manager.end();
}

#[test]
fn nothing_is_left_of_a_zygote_whose_manager_was_killed() {
    let Some(manager) = start("zygote_manager", &[MODULE]) else {
        return;
    };
    let alice = manager.alice();
    let sandbox = claimed(&manager, &alice, create());
    until_forked(&alice, &sandbox.id);
    assert!(!zygotes(&manager).is_empty());
    manager.kill_manager();
    eventually("the end of its zygotes", || {
        zygotes(&manager).is_empty().then_some(())
    });
    // What was somebody's is, and goes on.
    let alice = manager.alice();
    assert_eq!(python(&alice, &sandbox.id, "print(6 * 7)"), "42");
    alice.kill(of(&sandbox.id)).unwrap();
    manager.end();
}

#[test]
fn a_zygote_that_there_cannot_be_is_refused_with_its_field() {
    let place = Place::new();
    let file = place.path().join("lakekeep.toml");
    let check = |zygote: &str| {
        let text = format!("[[zygotes]]\npreset = \"udf\"\n{zygote}");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(lakekeep());
        let checked = command.args(["serve", "--check", "--config"]).arg(&file);
        let said = checked.output().unwrap();
        assert!(!said.status.success(), "{said:?}");
        String::from_utf8(said.stderr).unwrap()
    };
    let good = "interpreter = \"/usr/bin/python3\"\nmodules = []\n";
    for (more, words) in [
        (
            "sandboxes = 0\n",
            "zygotes[0]: no zygote: it serves 1 to 128",
        ),
        (
            "sandboxes = 129\n",
            "zygotes[0]: no zygote: it serves 1 to 128",
        ),
        ("minutes = 0\n", "lakekeep.toml:5:11: zygotes[0].minutes"),
        ("seconds = 1\n", "seconds"),
    ] {
        let said = check(&format!("{good}{more}"));
        assert!(said.contains(words), "{more}: {said}");
    }
    let said = check("interpreter = \"python3\"\nmodules = []\n");
    assert!(said.contains("not an absolute path"), "{said}");
    let said = check("interpreter = \"/usr/bin/python3\"\nmodules = [\"os; x\"]\n");
    assert!(said.contains("is not the name of a module"), "{said}");
}
