//! What the caller's own state must not change, and what others on the host must
//! not be able to put in the caller's way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::{Command, Output};

use lakekeep_tests::{Place, Privilege, Run, for_each_privilege};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Starts the run from a shell that has done `before`.
fn from_shell(before: &str, run: &Run) -> Output {
    let inner = run.to_command();
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{before}; exec \"$0\" \"$@\""))
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_strict_umask_changes_nothing_inside() {
    let place = Place::new();
    if !Privilege::Root.available("umask") {
        return;
    }
    let run = Run::new(&place, Privilege::Root).shell("umask; stat -c %a /tmp /etc/passwd");
    let output = from_shell("umask 077", &run);
    assert_eq!(said(&output), "0022\n1777\n444\n", "{output:?}");
}

/// Of a real-time policy one loop would be enough to take a processor from the host.
#[test]
fn a_real_time_policy_is_not_inherited() {
    const POLICY: &str = "sed 's/.*) //' /proc/self/stat | cut -d' ' -f39; ionice";
    let place = Place::new();
    if !Privilege::Root.available("policy") {
        return;
    }
    let run = Run::new(&place, Privilege::Root).shell(POLICY);
    let real_time = "chrt -f -p 7 $$ >/dev/null && ionice -c 1 -n 3 -p $$";
    let outside = from_shell(&format!("{real_time} && {{ {POLICY}; }} >&2"), &run);
    let words = String::from_utf8_lossy(&outside.stderr).into_owned();
    assert_eq!(words, "1\nrealtime: prio 3\n", "{outside:?}");
    assert_eq!(said(&outside), "0\nnone: prio 0\n", "{outside:?}");
}

#[test]
fn ignored_signals_and_personality_are_not_inherited() {
    let place = Place::new();
    if !Privilege::Root.available("inherited") {
        return;
    }
    let script = "grep SigIgn /proc/self/status; cat /proc/self/personality";
    let run = Run::new(&place, Privilege::Root).shell(script);
    let outside = from_shell("trap '' HUP USR1", &run);
    let text = said(&outside);
    let (ignored, personality) = text.trim().split_once('\n').unwrap();
    let ignored = u64::from_str_radix(ignored.trim_start_matches("SigIgn:").trim(), 16).unwrap();
    // The C library keeps 32 and 33 for itself.
    assert_eq!(ignored & !(0b11 << 31), 0, "{text}");
    assert_eq!(personality, "00000000");
}

#[test]
fn a_callers_own_hard_limit_is_kept_and_told() {
    let place = Place::new();
    if !Privilege::Root.available("hard_limit") {
        return;
    }
    let run = Run::new(&place, Privilege::Root).shell("ulimit -Hn");
    let output = from_shell("ulimit -n 300", &run);
    let text = said(&output);
    // Root may raise a hard limit, and does not.
    assert_eq!(text, "300\n", "{output:?}");
    let receipt: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.receipt_path()).unwrap()).unwrap();
    let layers = receipt["receipt"]["layers"].as_array().unwrap();
    let layer = layers
        .iter()
        .find(|layer| layer["layer"] == "open_files_limit")
        .unwrap();
    assert_eq!(layer["value"], 300, "{layer}");
}

#[test]
fn a_receipt_never_replaces_what_is_no_file() {
    let place = Place::new();
    if !Privilege::Root.available("receipt") {
        return;
    }
    let dir = place.dir("receipts", Privilege::Root);
    let device = dir.join("null");
    let null = rustix::fs::makedev(1, 3);
    mknodat(
        CWD,
        &device,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        null,
    )
    .unwrap();
    let run = Run::new(&place, Privilege::Root)
        .receipt(&device)
        .command(["true"]);
    assert!(run.to_command().output().unwrap().status.success());
    assert!(
        fs::symlink_metadata(&device)
            .unwrap()
            .file_type()
            .is_char_device()
    );
    // A link that somebody placed where the receipt goes is written through, as
    // any program would, and stays a link; the folder gets no second file.
    let target = dir.join("target");
    let link = dir.join("link.json");
    fs::write(&target, "").unwrap();
    symlink(&target, &link).unwrap();
    Run::new(&place, Privilege::Root)
        .receipt(&link)
        .command(["true"])
        .finish()
        .assert_code(0);
    assert!(
        fs::symlink_metadata(&link)
            .unwrap()
            .file_type()
            .is_symlink()
    );
    assert!(fs::read_to_string(&target).unwrap().contains("\"layers\""));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
}

#[test]
fn a_state_folder_that_others_may_write_is_refused() {
    for_each_privilege("state_folder", |privilege| {
        let place = Place::new();
        let open = place.dir("open", privilege);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let folder = place.dir("own", privilege);
        let link = place.path().join(format!("link-{}", privilege.name()));
        symlink(&folder, &link).unwrap();
        for state in [&open, &link] {
            let run = Run::new(&place, privilege)
                .state(state)
                .command(["true"])
                .finish();
            run.assert_code(125);
            assert!(run.stderr.contains("LAKEKEEP_STATE_DIR"), "{}", run.stderr);
            assert!(
                run.stderr.contains(&state.display().to_string()),
                "{}",
                run.stderr
            );
        }
    });
}

#[test]
fn ids_of_sandboxes_that_follow_each_other_differ() {
    let place = Place::new();
    if !Privilege::Root.available("ids") {
        return;
    }
    let state = place.dir("state-shared", Privilege::Root);
    let firsts: BTreeSet<u64> = (0..8)
        .map(|_| {
            let run = Run::new(&place, Privilege::Root)
                .state(&state)
                .command(["true"])
                .finish();
            run.assert_code(0);
            run.layer("id_range").unwrap()["value"]["first"]
                .as_u64()
                .unwrap()
        })
        .collect();
    // Eight random places in a table of four thousand.
    assert!(firsts.len() >= 7, "{firsts:?}");
    let ids = fs::metadata(state.join("ids")).unwrap();
    assert_eq!(
        ids.permissions().mode() & 0o077,
        0,
        "others could hold every lease"
    );
}

#[test]
fn mounts_below_writable_directories_stay_in_sight() {
    for_each_privilege("below_scratch", |privilege| {
        let place = Place::new();
        let data = place.dir("data", privilege);
        fs::write(data.join("file"), "seen\n").unwrap();
        fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o644)).unwrap();
        let source = data.display();
        let run = Run::new(&place, privilege)
            .flags([
                "--mount".to_owned(),
                format!("{source}:/tmp/in/dir"),
                "--mount".to_owned(),
                format!("{source}/file:/home/user/file"),
            ])
            .shell("cat /tmp/in/dir/file /home/user/file; echo x > /tmp/own && echo writable")
            .finish();
        run.assert_code(0);
        assert_eq!(
            String::from_utf8_lossy(&run.stdout),
            "seen\nseen\nwritable\n"
        );
        let run = Run::new(&place, privilege)
            .flags(["--mount".to_owned(), format!("{source}:/home/user:rw")])
            .shell("cat file; echo new > made")
            .finish();
        run.assert_code(0);
        assert_eq!(fs::read_to_string(data.join("made")).unwrap(), "new\n");
    });
}

#[test]
fn a_command_that_did_not_start_has_no_enforced_task_layers() {
    for_each_privilege("not_started", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .command(["/nonexistent"])
            .finish();
        run.assert_code(127);
        let seccomp = run.layer("seccomp").unwrap();
        assert_eq!(seccomp["state"], "unenforced", "{seccomp}");
    });
}
