//! Images of a manager's own store: what a profile allows, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;

use std::process::{Command, Output, Stdio};

use common::Tar;
use lakekeep_api::v1;
use lakekeep_tests::manager::parked::{claimed, tables};
use lakekeep_tests::manager::{
    ALICE, Manager, Refusals, SERVICE, Setup, Talk, User, account, create, of,
};
use lakekeep_tests::{Privilege, eventually, lakekeep};
use pull::{Content, shell};
use serde_json::json;

const NAME: &str = "docker.io/library/app:1";

/// A manager whose personal profiles allow images of one repository.
fn start(test: &str) -> Option<Manager> {
    let setup = Setup::new();
    let tables = tables(setup.place().path());
    let personal = "version = 1\nname = \"home-{user}\"\nowner = \"{user}\"\n\
        images = [\"host\", \"docker.io/library/app:*\"]\npresets = [\"general\", \"udf\"]\n\
        [limits.default]\nmemory = \"128MiB\"\n[admin]\nexpose_host_image = true\n";
    setup.tables(&tables).personal_whole(personal).start(test)
}

/// `lakekeep` on the manager's image store, as its account.
fn store(manager: &Manager, words: &[&str]) -> Output {
    let owner = account(SERVICE);
    let store = manager.kept().join("images");
    let mut command = Command::new("setpriv");
    command
        .args(["--clear-groups", "--reuid", &owner.uid.to_string()])
        .args(["--regid", &owner.gid.to_string(), "--"])
        .arg(lakekeep())
        .args(words)
        .arg("--store")
        .arg(store)
        .env("HOME", "/nonexistent")
        .current_dir("/");
    command.output().unwrap()
}

/// Loads an image that says `word`, under this name; its digest.
fn load(manager: &Manager, name: &str, word: &str) -> String {
    let folder = manager
        .place()
        .dir(&format!("layout-{word}"), Privilege::Root);
    let upper = Tar::default().file("data/word", word).end();
    let wishes = json!({
        "User": "app", "Env": ["PATH=/bin", "GREETING=of the image"], "WorkingDir": "/data/",
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["read -r word < word; echo $word, $PWD"],
    });
    Content::with_settings(&[shell().end(), upper], &wishes).layout(&folder);
    let loaded = store(
        manager,
        &["image", "load", folder.to_str().unwrap(), "--name", name],
    );
    assert!(loaded.status.success(), "{loaded:?}");
    let told = String::from_utf8(loaded.stdout).unwrap();
    told.trim().split('\t').nth(1).unwrap().to_owned()
}

fn on(image: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        policy: format!("version = 1\nimage = {image:?}\n"),
        ..create()
    }
}

const READ: &str = "read -r word < word; echo $word $GREETING; test ! -e /usr/bin/env";

#[test]
fn a_sandbox_runs_on_an_image_that_its_profile_allows() {
    let Some(manager) = start("manager_images") else {
        return;
    };
    let digest = load(&manager, NAME, "first");
    let alice = manager.alice();
    let sandbox = alice.sandbox(on("app:1"));
    assert_eq!(sandbox.image, format!("{NAME}@{digest}"));
    let done = alice.run(&sandbox.id, READ);
    assert_eq!(done.success(), "first of the image");
    let receipt = &done.outcome["receipt"];
    assert_eq!(receipt["image"], sandbox.image, "{receipt}");
    let warnings = receipt["warnings"].to_string();
    assert!(warnings.contains("the user \\\"app\\\""), "{warnings}");
    let host = alice.sandbox(create());
    assert_ne!(host.trust_key, sandbox.trust_key);
    // The name leads elsewhere now; the sandbox stays what it was, and is another's by its key.
    let next = load(&manager, NAME, "second");
    assert_ne!(next, digest);
    assert_eq!(alice.run(&sandbox.id, READ).success(), "first of the image");
    let newer = alice.sandbox(on("app:1"));
    assert_eq!(alice.run(&newer.id, READ).success(), "second of the image");
    assert_ne!(newer.trust_key, sandbox.trust_key);
    let log = manager.root().audit(v1::QueryAuditRequest::default());
    let log = log.unwrap();
    let noted = log
        .iter()
        .any(|it| it["action"] == "create_sandbox" && it["image"] == sandbox.image.as_str());
    assert!(noted, "{log:#?}");
    manager.end();
}

#[test]
fn what_a_profile_does_not_allow_is_refused_whether_it_is_there_or_not() {
    let Some(manager) = start("manager_images_refused") else {
        return;
    };
    load(&manager, NAME, "first");
    load(&manager, "docker.io/other/app:1", "other");
    let alice = manager.alice();
    // It works for what is allowed.
    let _kept = alice.sandbox(on(NAME));
    let said = |image: &str| {
        alice
            .create(on(image))
            .unwrap_err()
            .message
            .replace(image, "IMAGE")
    };
    let (there, nowhere) = ("docker.io/other/app:1", "docker.io/other/none:1");
    assert_eq!(said(there), said(nowhere));
    let mut refusals = Refusals::new(&manager);
    let store = manager.kept().join("images").display().to_string();
    for (what, image, reason) in [
        ("another repository", there, "BAD_POLICY"),
        ("no such repository", nowhere, "BAD_POLICY"),
        ("no such tag", "app:2", "NOT_FOUND"),
        ("the store's own folder", store.as_str(), "BAD_POLICY"),
        ("a way up", "../../images", "BAD_POLICY"),
        (
            "another registry",
            "example.com/library/app:1",
            "BAD_POLICY",
        ),
    ] {
        refusals.attempt(what, ALICE, reason, || alice.create(on(image)));
    }
    refusals.finish(6);
    let absent = alice.create(on("app:2")).unwrap_err().message;
    assert!(absent.contains("lakekeep image pull --store"), "{absent}");
    manager.end();
}

/// `lakekeep` for alice.
fn say(manager: &Manager, words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command
        .args(["--clear-groups", "--reuid", ALICE, "--regid", ALICE, "--"])
        .arg(lakekeep())
        .args(words)
        .env("LAKEKEEP_SOCKET", manager.socket())
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_task_runs_what_its_image_runs_where_that_is_asked_for() {
    let Some(manager) = start("manager_images_entrypoint") else {
        return;
    };
    load(&manager, NAME, "first");
    let alice = manager.alice();
    let id = alice.sandbox(on("app:1")).id;
    let run = |user: &User, arguments: &[&str]| {
        let start = v1::ExecStart {
            sandbox: id.clone(),
            arguments: arguments
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            entrypoint: true,
            ..v1::ExecStart::default()
        };
        user.exec(start).unwrap().finish().unwrap().success()
    };
    assert_eq!(run(&alice, &[]), "first, /data");
    assert_eq!(run(&alice, &["echo $0 given", "as"]), "as given");
    // Unless it is asked for, a task's words are its own.
    assert_eq!(alice.run(&id, "echo $0").success(), "/bin/sh");
    manager.kill_manager();
    let alice = manager.alice();
    assert_eq!(run(&alice, &[]), "first, /data");
    // What has no such image has no words.
    let host = alice.sandbox(create()).id;
    for (entrypoint, why) in [(true, "no command of its own"), (false, "name a program")] {
        let start = v1::ExecStart {
            sandbox: host.clone(),
            entrypoint,
            ..v1::ExecStart::default()
        };
        let refused = alice.exec(start).and_then(Talk::finish).unwrap_err();
        assert_eq!(refused.reason, "BAD_REQUEST", "{refused:?}");
        assert!(refused.message.contains(why), "{refused:?}");
    }
    manager.end();
}

#[test]
fn run_through_a_manager_is_as_without_one() {
    let Some(manager) = start("manager_images_run") else {
        return;
    };
    load(&manager, NAME, "first");
    let said = |words: &[&str]| {
        let output = say(&manager, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["run", "--image", "app:1"]), "first, /data\n");
    let given = ["run", "--image", "app:1", "--workdir", "/", "--", "pwd"];
    assert_eq!(said(&given), "/\n");
    let bare = ["run", "--image", "app:1", "--no-entrypoint"];
    assert_eq!(
        said(&[&bare[..], &["--", "/bin/sh", "-c", "echo $0"]].concat()),
        "/bin/sh\n"
    );
    let none = say(&manager, &bare);
    assert_eq!(none.status.code(), Some(125), "{none:?}");
    assert!(
        String::from_utf8_lossy(&none.stderr).contains("no command"),
        "{none:?}"
    );
    let id = said(&["create", "--image", "app:1"]);
    assert_eq!(said(&["exec", id.trim()]), "first, /data\n");
    manager.end();
}

fn run(user: &User, sandbox: &str) -> String {
    user.run(sandbox, READ).success()
}

#[test]
fn an_image_in_use_stays_also_under_the_next_manager_and_is_made_ahead() {
    let Some(manager) = start("manager_images_in_use") else {
        return;
    };
    load(&manager, NAME, "first");
    let alice = manager.alice();
    let sandbox = claimed(&manager, &alice, on(NAME));
    assert_eq!(run(&alice, &sandbox.id), "first of the image");
    let in_use = || {
        let removed = store(&manager, &["image", "rm", NAME]);
        let said = String::from_utf8_lossy(&removed.stderr).into_owned();
        assert!(said.contains("in use"), "{removed:?}");
        let collected = store(&manager, &["image", "gc", "--keep", "1B"]);
        assert!(collected.status.success(), "{collected:?}");
    };
    let mut own = on(NAME);
    own.policy += "[env]\nGREETING = \"of the request\"\n";
    let own = alice.sandbox(own);
    in_use();
    assert_eq!(run(&alice, &sandbox.id), "first of the image");
    assert_eq!(run(&alice, &own.id), "first of the request");
    manager.kill_manager();
    in_use();
    let alice = manager.alice();
    assert_eq!(run(&alice, &sandbox.id), "first of the image");
    assert_eq!(run(&alice, &own.id), "first of the request");
    alice.kill(of(&own.id)).unwrap();
    alice.kill(of(&sandbox.id)).unwrap();
    eventually("the image of an ended sandbox to be free", || {
        let removed = store(&manager, &["image", "rm", NAME]);
        removed.status.success().then_some(())
    });
    manager.end();
}
