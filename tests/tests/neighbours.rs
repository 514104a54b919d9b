//! Sandbox against sandbox (classes 46 to 48): the bait runs inside one, the
//! attacker inside another that lives at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;

use lakekeep_attacks::{Ended, Judgement, find, judge, write_binary};
use lakekeep_tests::{HostSnapshot, Place, Privilege, Run, Tracked, for_each_privilege, skip};

/// What one sandbox could want of another.
const ATTACKS: [&str; 13] = [
    "abstract_socket",
    "descriptor_from_outside",
    "service_socket",
    "loopback",
    "sysv_shm",
    "sysv_msg",
    "sysv_sem",
    "dev_shm_file",
    "read_hidden",
    "namespaces_shared",
    "foreign_cmdline",
    "kill_init",
    "environ_of_init",
];

#[test]
fn one_sandbox_cannot_reach_another() {
    for_each_privilege("neighbours", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let bin = place.dir("bin", privilege);
        write_binary(&bin).unwrap();
        let state = place.dir("state-shared", privilege);
        let (mut bait, facts) = bait_inside(&place, privilege, &state, &bin);
        for name in ATTACKS {
            let case = find(name).unwrap();
            let finished = run_in(&place, privilege, &state, &bin)
                .command(case.inside_args("general", &facts))
                .finish();
            let verdict = finished.verdict().map(str::to_owned);
            let ended = Ended {
                code: finished.code,
                stderr: finished.stderr.clone(),
                verdict,
            };
            let unenforced = case
                .layer
                .and_then(|layer| Some((layer, finished.unenforced(layer)?)));
            match (judge(case, &ended), unenforced) {
                (Judgement::Blocked(_), _) => {}
                // Said in the receipt, as it must be.
                (Judgement::Succeeded(_), Some((layer, reason))) => {
                    let test = format!("neighbours::{name}::{}", privilege.name());
                    skip(&test, layer, &reason);
                }
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
        assert!(
            bait.try_wait().unwrap().is_none(),
            "the bait must live until here"
        );
        drop(bait.stdin.take());
        drop(bait);
        before.assert_unchanged();
    });
}

fn run_in(place: &Place, privilege: Privilege, state: &Path, bin: &Path) -> Run {
    Run::new(place, privilege).state(state).flags([
        "--mount".to_owned(),
        format!("{}:/opt/attack:ro", bin.display()),
    ])
}

/// A bait in a sandbox of its own, and what it says that it made there.
fn bait_inside(
    place: &Place,
    privilege: Privilege,
    state: &Path,
    bin: &Path,
) -> (Tracked, Vec<(String, String)>) {
    let command = ["/opt/attack/attack", "--bait", "base=/home/user/bait"];
    let mut child = run_in(place, privilege, state, bin)
        .command(command)
        .spawn();
    let mut facts = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "ready" {
            return (child, facts);
        }
        let (key, value) = line.split_once('=').unwrap();
        facts.push((key.to_owned(), value.to_owned()));
    }
    panic!("the bait did not start inside: {:?}", child.wait());
}
