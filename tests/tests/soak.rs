//! Many runs in a row: the host does not grow by a single thing.
//!
//! `LAKEKEEP_TESTS_RUNS` sets the number of runs per privilege.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Run, cgroups_of_lakekeep, for_each_privilege, number_from_env,
    open_descriptors, orphans,
};

/// What must not grow, with its count.
fn counts() -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("orphans", orphans().len()),
        (
            "descriptors of the test",
            open_descriptors(std::process::id()),
        ),
        ("control groups of lakekeep", cgroups_of_lakekeep().len()),
        ("mounts", lines("/proc/self/mountinfo")),
        ("network namespaces", network_namespaces()),
        ("System V segments", lines("/proc/sysvipc/shm")),
    ])
}

fn lines(path: &str) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Different network namespaces that some process is in.
fn network_namespaces() -> usize {
    let Ok(list) = fs::read_dir("/proc") else {
        return 0;
    };
    let mut found: Vec<_> = list
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
        })
        .filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok())
        .collect();
    found.sort();
    found.dedup();
    found.len()
}

#[test]
fn nothing_grows() {
    let runs = number_from_env("LAKEKEEP_TESTS_RUNS", 100);
    for_each_privilege("soak", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let state = place.dir("state-shared", privilege);
        repeat(&place, privilege, &state, 3);
        let warm = counts();
        repeat(&place, privilege, &state, runs);
        before.assert_unchanged();
        let grown = lakekeep_tests::eventually_within(std::time::Duration::from_secs(20), || {
            let now = counts();
            now.iter()
                .all(|(what, count)| count <= &warm[what])
                .then_some(())
        });
        assert!(
            grown.is_some(),
            "before {warm:?}, after {runs} runs {:?}",
            counts()
        );
    });
}

/// Endings of every kind, one after another, all in one state directory.
fn repeat(place: &Place, privilege: Privilege, state: &std::path::Path, runs: usize) {
    for round in 0..runs {
        let run = Run::new(place, privilege).state(state);
        match round % 5 {
            0 => run.command(["true"]).finish().assert_code(0),
            1 => run.command(["/none-such"]).finish().assert_code(127),
            2 => run.shell("kill -KILL $$").finish().assert_code(137),
            3 => run
                .shell("sleep 1000 & echo x; exit 5")
                .finish()
                .assert_code(5),
            _ => run
                .flags(["--memory", "nonsense"])
                .command(["true"])
                .finish()
                .assert_code(125),
        };
    }
}

/// Each start sweeps what dead launchers left, and must not take one for dead that has just
/// begun. `LAKEKEEP_TESTS_RUNS` are divided among them, but each makes two.
#[test]
fn many_that_start_together_do_not_sweep_one_another() {
    const AT_ONCE: usize = 32;
    let runs = number_from_env("LAKEKEEP_TESTS_RUNS", 300).max(2 * AT_ONCE);
    for_each_privilege("soak_together", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let state = place.dir("state-shared", privilege);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| repeat(&place, privilege, &state, runs / AT_ONCE));
            }
        });
        before.assert_unchanged();
    });
}
