//! The receipt: what was enforced, as read back, and never silently less.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_tests::{Finished, Place, Privilege, Run, for_each_privilege};
use serde_json::Value;

/// Layers that no host and no privilege may lack.
const ALWAYS: [&str; 12] = [
    "user_namespace",
    "mount_namespace",
    "pid_namespace",
    "ipc_namespace",
    "uts_namespace",
    "network_namespace",
    "capabilities",
    "no_new_privileges",
    "seccomp",
    "read_only_root",
    "masked_proc",
    "descriptors",
];

/// Layers that root always has as well.
const AS_ROOT: [&str; 6] = [
    "id_range",
    "separate_uid",
    "memory_limit",
    "pids_limit",
    "cgroup_namespace",
    "not_dumpable",
];

fn state<'a>(run: &'a Finished, layer: &str) -> &'a str {
    run.layer(layer)
        .and_then(|l| l.get("state"))
        .and_then(Value::as_str)
        .unwrap_or("absent")
}

#[test]
fn every_layer_is_listed_once_with_a_state() {
    for_each_privilege("layers", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege).command(["true"]).finish();
        run.assert_code(0);
        let receipt = run.receipt.as_ref().unwrap();
        let layers = receipt["receipt"]["layers"].as_array().unwrap();
        let mut names: Vec<&str> = layers
            .iter()
            .map(|layer| layer["layer"].as_str().unwrap())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a layer is listed twice");
        for layer in layers {
            match layer["state"].as_str() {
                Some("enforced") => {}
                Some("unenforced") => {
                    let reason = layer["reason"].as_str().unwrap_or("");
                    assert!(!reason.is_empty(), "unenforced without a reason: {layer}");
                }
                _ => panic!("a state that does not exist: {layer}"),
            }
        }
    });
}

#[test]
fn the_layers_that_must_hold_are_enforced() {
    for_each_privilege("always", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege).command(["true"]).finish();
        run.assert_code(0);
        for layer in ALWAYS {
            assert_eq!(
                state(&run, layer),
                "enforced",
                "{layer}: {:?}",
                run.layer(layer)
            );
        }
        if privilege == Privilege::Root {
            for layer in AS_ROOT {
                assert_eq!(
                    state(&run, layer),
                    "enforced",
                    "{layer}: {:?}",
                    run.layer(layer)
                );
            }
        }
    });
}

/// The receipt's claims, asked of the kernel from inside.
#[test]
fn the_claims_agree_with_what_the_task_sees() {
    for_each_privilege("agreement", |privilege| {
        let place = Place::new();
        let script = "grep -E '^(NoNewPrivs|Seccomp|CapBnd|CapEff|CapAmb):' /proc/self/status; ulimit -n; readlink /proc/self/ns/user";
        let run = Run::new(&place, privilege)
            .flags(["--open-files", "77"])
            .shell(script)
            .finish();
        run.assert_code(0);
        let text = run.text();
        let says = |line: &str| {
            text.lines()
                .any(|at| at.split_whitespace().collect::<Vec<_>>().join(" ") == line)
        };
        assert!(says("NoNewPrivs: 1"), "{text}");
        assert!(says("Seccomp: 2"), "{text}");
        for set in ["CapBnd", "CapEff", "CapAmb"] {
            assert!(says(&format!("{set}: 0000000000000000")), "{text}");
        }
        assert!(says("77"), "{text}");
        let own = std::fs::read_link("/proc/self/ns/user")
            .unwrap()
            .display()
            .to_string();
        assert!(!text.contains(&own), "the host's user namespace: {text}");
        for layer in [
            "no_new_privileges",
            "seccomp",
            "capabilities",
            "open_files_limit",
            "user_namespace",
        ] {
            assert_eq!(state(&run, layer), "enforced", "{layer}");
        }
    });
}

#[test]
fn a_limit_s_value_is_the_kernel_s() {
    for_each_privilege("values", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .flags(["--memory", "256MiB", "--pids", "33"])
            .command(["true"])
            .finish();
        run.assert_code(0);
        for (layer, value) in [("memory_limit", 256 * 1024 * 1024_u64), ("pids_limit", 33)] {
            if state(&run, layer) == "enforced" {
                let held = &run.layer(layer).unwrap()["value"];
                let held = held
                    .as_u64()
                    .or_else(|| held["rlimit"].as_u64())
                    .unwrap_or(0);
                // The sandbox's own processes come on top of the command's.
                let own = if layer == "pids_limit" { 4 } else { 0 };
                assert!((value..=value + own).contains(&held), "{layer}: {held}");
            } else {
                assert!(
                    run.unenforced(layer).is_some(),
                    "{layer} is neither enforced nor explained"
                );
                assert_eq!(
                    privilege,
                    Privilege::User,
                    "{layer} must be enforced for root"
                );
            }
        }
    });
}

#[test]
fn a_floor_that_holds_changes_nothing() {
    for_each_privilege("floor", |privilege| {
        let place = Place::new();
        let list = ALWAYS.map(|layer| format!("\"{layer}\"")).join(", ");
        let policy = place.file(
            "floor.toml",
            privilege,
            format!("version = 1\n[floor]\nrequire = [{list}]\n"),
        );
        let policy = policy.display().to_string();
        Run::new(&place, privilege)
            .flags(["--policy", &policy])
            .command(["true"])
            .finish()
            .assert_code(0);
    });
}

#[test]
fn no_secret_and_no_host_variable_is_in_the_receipt() {
    for_each_privilege("secrets", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .environment("HOST_ONLY", "hidden-value-1")
            .flags(["--env", "TOKEN=hidden-value-2"])
            .command(["true"])
            .finish();
        run.assert_code(0);
        let text = run.receipt.as_ref().unwrap().to_string();
        assert!(!text.contains("hidden-value"), "{text}");
        assert!(!run.stderr.contains("hidden-value"), "{}", run.stderr);
    });
}

#[test]
fn the_receipt_survives_every_ending() {
    for_each_privilege("endings", |privilege| {
        let place = Place::new();
        for (script, kind) in [("exit 9", "exit"), ("kill -KILL $$", "signal")] {
            let run = Run::new(&place, privilege).shell(script).finish();
            run.assert_verdict(kind);
            assert!(run.layer("seccomp").is_some(), "{:?}", run.receipt);
        }
        let run = Run::new(&place, privilege)
            .flags(["--timeout", "300ms"])
            .command(["sleep", "9"])
            .finish();
        run.assert_verdict("wall_time");
        assert!(run.layer("seccomp").is_some());
    });
}
