//! Sandboxes that a program keeps itself (`lakekeep_sandbox::Pool`), by root and by an
//! ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, eventually, for_each_privilege, orphans, pool_program,
    run_pool,
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
        let tasks = run_pool(
            &place,
            privilege,
            &[&["wall:5s", "1"], &scripts[..]].concat(),
        );
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

/// A folder of a client's with a word in it, and that word.
fn client(place: &Place, privilege: Privilege) -> (String, &'static str) {
    let folder = place.dir("client", privilege);
    std::fs::write(folder.join("word"), "swordfish\n").unwrap();
    (folder.display().to_string(), "swordfish\n")
}

#[test]
fn an_environment_comes_with_the_claim() {
    for_each_privilege("pool_environment", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let (folder, word) = client(&place, privilege);
        // Below what is nobody's, below a task's own folders, and a single file.
        let shown = format!(
            "show:{folder}:/srv/client/lib,{folder}:/home/user/client,{folder}:/tmp/a/b,{folder}/word:/opt/word"
        );
        let read = "cat /srv/client/lib/word /home/user/client/word /tmp/a/b/word /opt/word";
        let told = "echo $CLIENT $PATH";
        // Without it nothing of it is there.
        let bare = run_pool(&place, privilege, &["1", read, told]);
        assert_eq!(text(&bare[0], "output"), "");
        assert!(!text(&bare[1], "output").contains("client"), "{}", bare[1]);
        // The first of these was made ready before, the others after.
        let tasks = run_pool(&place, privilege, &[&shown, "2", read, read, told]);
        for task in [&tasks[0], &tasks[1], &tasks[3], &tasks[4]] {
            assert_eq!(text(task, "output"), word.repeat(4), "{task}");
        }
        let said = text(&tasks[2], "output");
        assert!(said.starts_with("ada /srv/client/bin:/"), "{said}");
        before.assert_unchanged();
    });
}

#[test]
fn an_environment_of_the_claim_cannot_be_changed() {
    for_each_privilege("pool_environment_read_only", |privilege| {
        let place = Place::new();
        let (folder, word) = client(&place, privilege);
        let shown = format!("show:{folder}:/srv/client/lib");
        // Its owner can, outside.
        std::fs::write(format!("{folder}/new"), "new").unwrap();
        let write = "cd /srv/client/lib; echo x >word; echo x >newer; rm new; mount -o remount,rw . ; echo x >word; cat word new";
        let tasks = run_pool(&place, privilege, &[&shown, "1", write, write]);
        for task in &tasks {
            assert_eq!(text(task, "output"), format!("{word}new"), "{task}");
        }
        assert!(!std::path::Path::new(&folder).join("newer").exists());
    });
}

#[test]
fn an_environment_has_no_place_on_a_link_or_another_mount() {
    for_each_privilege("pool_environment_places", |privilege| {
        let place = Place::new();
        let (folder, _) = client(&place, privilege);
        for (target, why) in [
            ("/bin/client", "is a symbolic link"),
            ("/usr", "is another mount"),
            ("/usr/no-such-place", "does not exist"),
        ] {
            let shown = format!("show:{folder}:{target}");
            let mut command = pool_program(&place, privilege);
            let refused = command
                .args([shown.as_str(), "1", "true"])
                .stderr(std::process::Stdio::piped())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(
                !refused.status.success() && said.contains(why),
                "{target}: {said}"
            );
        }
    });
}
