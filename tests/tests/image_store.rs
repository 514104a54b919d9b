//! Images of the store: loaded and run on, as root and as an ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
mod layout;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Tar;
use lakekeep_tests::{HostSnapshot, Place, Privilege, Run, for_each_privilege, lakekeep};
use layout::shell;
use serde_json::{Value, json};

fn upper() -> Vec<u8> {
    Tar::default()
        .file("data/.wh.removed", "")
        .file("data/upper", "upper")
        .symlink("data/link", "/data/lower")
        .end()
}

/// An OCI layout with these layers.
fn layout(place: &Place, owner: Privilege, layers: &[Vec<u8>], settings: &Value) -> PathBuf {
    let path = place.dir("app", owner);
    layout::layout(&path, layers, settings);
    path
}

fn image(store: &Path, privilege: Privilege, words: &[&str]) -> Output {
    let mut command = Command::new(lakekeep());
    command.args(words).env("LAKEKEEP_STORE", store);
    // Who runs something keeps its state here, and not in a folder of /tmp.
    command.env("XDG_RUNTIME_DIR", store.parent().unwrap());
    // Where the tests were started may be closed to the ordinary user.
    command.current_dir("/");
    privilege.apply(&mut command);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

fn run(place: &Place, privilege: Privilege, store: &Path) -> Run {
    Run::new(place, privilege).environment("LAKEKEEP_STORE", store.to_str().unwrap())
}

fn wishes() -> Value {
    json!({
        "User": "app",
        "Env": ["PATH=/bin", "GREETING=of the image", "OVER=of the image"],
        "WorkingDir": "/data/",
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["echo $GREETING; read -r line < upper; echo $line"],
    })
}

#[test]
fn an_image_is_loaded_and_run_as_it_wishes() {
    for_each_privilege("image_run", |privilege| {
        let place = Place::new();
        let store = place.dir("home", privilege).join("store");
        let layout = layout(&place, privilege, &[shell(), upper()], &wishes());
        let before = HostSnapshot::take(place.path());
        let loaded = image(
            &store,
            privilege,
            &["image", "load", layout.to_str().unwrap()],
        );
        assert!(loaded.status.success(), "{}", said(&loaded));
        let digest = said(&loaded).trim().split('\t').nth(1).unwrap().to_owned();

        // Entrypoint, command, variable, folder: all the image's.
        let own = run(&place, privilege, &store)
            .flags(["--image", "app"])
            .finish();
        own.assert_code(0);
        assert_eq!(own.stdout, b"of the image\nupper\n", "{}", own.text());
        assert!(own.stderr.contains("user \"app\""), "{}", own.stderr);

        // By digest, with the caller's own words: they go over the image's.
        let flags = [
            "--image",
            &digest,
            "--env",
            "OVER=mine",
            "--workdir",
            "/",
            "--no-entrypoint",
        ];
        let given = run(&place, privilege, &store)
            .flags(flags)
            .command([
                "sh",
                "-c",
                "echo $OVER; read -r l < data/link; echo $l; test ! -e data/removed",
            ])
            .finish();
        given.assert_code(0);
        assert_eq!(given.stdout, b"mine\nlower\n", "{}", given.text());

        // The image is as it was, whatever was tried.
        let write = run(&place, privilege, &store)
            .flags(["--image", "app", "--no-entrypoint"])
            .command(["/bin/sh", "-c", "echo x > /data/upper"])
            .finish();
        assert_ne!(write.code, 0);
        let checked = image(&store, privilege, &["store", "fsck"]);
        assert!(checked.status.success(), "{}", said(&checked));
        before.assert_unchanged();
    });
}

#[test]
fn an_image_in_use_is_not_removed() {
    for_each_privilege("image_in_use", |privilege| {
        let place = Place::new();
        let store = place.dir("home", privilege).join("store");
        let layout = layout(&place, privilege, &[shell(), upper()], &wishes());
        let loaded = image(
            &store,
            privilege,
            &["image", "load", layout.to_str().unwrap()],
        );
        assert!(loaded.status.success(), "{}", said(&loaded));
        let mut running = run(&place, privilege, &store)
            .flags(["--image", "app", "--no-entrypoint"])
            .command(["/bin/sh", "-c", "echo ready; read -r line; echo $line"])
            .to_command()
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = std::io::BufReader::new(running.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        let removed = image(&store, privilege, &["image", "rm", "app"]);
        assert_eq!(removed.status.code(), Some(125), "{}", said(&removed));
        assert!(said(&removed).contains("in use"), "{}", said(&removed));
        let collected = image(&store, privilege, &["image", "gc", "--keep", "1B"]);
        assert!(collected.status.success(), "{}", said(&collected));
        // What it has not read yet is still there.
        std::io::Write::write_all(&mut running.stdin.take().unwrap(), b"go on\n").unwrap();
        assert!(running.wait().unwrap().success());
        let removed = image(&store, privilege, &["image", "rm", "app"]);
        assert!(removed.status.success(), "{}", said(&removed));
        image(&store, privilege, &["image", "gc"]);
        assert_eq!(
            fs::read_dir(store.join("folders/sha256")).unwrap().count(),
            0
        );
    });
}

#[test]
fn what_is_refused_is_told_with_the_remedy() {
    for_each_privilege("image_refused", |privilege| {
        let place = Place::new();
        let store = place.dir("home", privilege).join("store");
        let evil = [Tar::default().file("../../evil", "x").end()];
        let layout = layout(&place, privilege, &evil, &json!({}));
        let path = layout.to_str().unwrap();
        for (words, parts) in [
            (
                vec!["image", "load", path],
                vec!["layer 1", "../../evil", "upwards"],
            ),
            (vec!["image", "load", "/none"], vec!["/none", "docker save"]),
            (
                vec!["image", "load", "--name", "UPPER", path],
                vec!["UPPER", "lower case"],
            ),
            (vec!["image", "rm", "none"], vec!["no image", "image ls"]),
            (vec!["image", "inspect", "none"], vec!["no image"]),
            (
                vec!["run", "--embedded", "--image", "none", "--", "x"],
                vec!["none", "image load"],
            ),
            (
                vec!["run", "--embedded", "--image", "./none", "--", "x"],
                vec!["none", "does not exist"],
            ),
            (
                vec!["run", "--embedded", "--image", "host"],
                vec!["command", "--"],
            ),
        ] {
            let output = image(&store, privilege, &words);
            assert_eq!(
                output.status.code(),
                Some(125),
                "{words:?}: {}",
                said(&output)
            );
            for part in parts {
                assert!(said(&output).contains(part), "{words:?}: {}", said(&output));
            }
        }
        let listed = image(&store, privilege, &["image", "ls"]);
        assert_eq!(said(&listed), "");
        // A store that a stranger can write to is none.
        fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let listed = image(&store, privilege, &["image", "ls"]);
        assert!(
            said(&listed).contains("writable by nobody else"),
            "{}",
            said(&listed)
        );
    });
}
