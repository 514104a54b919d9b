//! Sandboxes that a program keeps itself (`lakekeep_sandbox::Pool`), by root and by an
//! ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};

use lakekeep_tests::{
    HostSnapshot, Place, Tracked, eventually, for_each_privilege, orphans, pool_program, run_pool,
};
use serde_json::Value;

fn text<'a>(task: &'a Value, name: &str) -> &'a str {
    task[name].as_str().unwrap()
}

#[test]
fn tasks_follow_one_another_in_a_sandbox_and_each_is_judged() {
    for_each_privilege("pool_tasks", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let scripts = ["echo $$", "exit 7", "kill -9 $$", "sleep 60", "echo after"];
        let tasks = run_pool(&place, privilege, &[&["1"], &scripts[..]].concat());
        let verdict = |index: usize| &tasks[index]["outcome"]["verdict"];
        // The stub is the first process of its namespace; so it is for the last, which was
        // made ready while others ran.
        assert_eq!(text(&tasks[0], "output"), "2\n");
        assert_eq!(verdict(1)["exit_code"], 7);
        assert_eq!(verdict(2)["kind"], "signal");
        assert_eq!(verdict(3)["kind"], "wall_time");
        assert_eq!(text(&tasks[4], "output"), "after\n");
        before.assert_unchanged();
    });
}

#[test]
fn what_one_task_leaves_the_next_does_not_find() {
    for_each_privilege("pool_rest", |privilege| {
        let place = Place::new();
        let scripts = [
            "echo left >/tmp/it; sleep 60 & cat /tmp/it",
            "cat /tmp/it 2>/dev/null; cat /proc/[0-9]*/comm",
        ];
        let tasks = run_pool(&place, privilege, &[&["1"], &scripts[..]].concat());
        assert_eq!(text(&tasks[0], "output"), "left\n");
        let seen = text(&tasks[1], "output");
        assert!(seen.contains("sh\n"), "{seen}");
        assert!(!seen.contains("left") && !seen.contains("sleep"), "{seen}");
    });
}

#[test]
fn every_sandbox_is_its_own() {
    for_each_privilege("pool_own", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        // More than are ready: the last is made when it is asked for.
        let tasks = run_pool(
            &place,
            privilege,
            &["3", "hostname; readlink /proc/self/ns/uts"],
        );
        let mut said: Vec<&str> = tasks.iter().map(|task| text(task, "output")).collect();
        said.sort_unstable();
        said.dedup();
        assert_eq!(said.len(), 3, "{said:?}");
        for task in &tasks {
            let name = format!("sandbox-{}", &text(task, "sandbox")[..8]);
            assert!(text(task, "output").starts_with(&name), "{task}");
        }
        before.assert_unchanged();
    });
}

#[test]
fn what_its_program_leaves_when_it_is_killed_ends() {
    for_each_privilege("pool_killed", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let mut command = pool_program(&place, privilege);
        let mut child = Tracked::spawn(command.args(["wait:2", "true"]));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "waiting"));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the end of all of it", || {
            orphans().is_empty().then_some(())
        });
        // The next start sweeps what the dead could not take with them.
        assert_eq!(run_pool(&place, privilege, &["1", "true"]).len(), 1);
        before.assert_unchanged();
    });
}
