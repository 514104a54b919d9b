//! A process that receives environments, and collects them, is killed at random moments: what it
//! said that it has is there and sound, nothing is half there, and the next attempt succeeds.
//!
//! `LAKEKEEP_KILLS` says how often; the seed is printed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "../../content/tests/kills/mod.rs"]
mod kills;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{WIDE, environment};
use lakekeep_environment::Digest;
use lakekeep_tree::{Domain, list, look, receive, send};

const FOLDER: &str = "LAKEKEEP_TREE_TEST_FOLDER";
/// How often, where nothing is said.
const KILLS: u64 = 25;

/// Modules that a number chooses: two numbers share half of them.
fn modules(number: u64) -> Vec<Vec<u8>> {
    (0..20)
        .map(|module| {
            let seed = if module % 2 == 0 { 0 } else { number };
            let word = Digest::of(&[seed, module].map(u64::to_le_bytes).concat());
            word.as_bytes().repeat(500)
        })
        .collect()
}

/// Sends an environment, as a client and a manager do together.
fn push(domain: &Domain, number: u64) -> Digest {
    let (manifest, given) = environment(&modules(number));
    let mut arrival = domain.expect(&manifest, &[], WIDE).unwrap();
    let wanted = arrival.wanted().to_vec();
    let mut pack = Vec::new();
    send(&wanted, &given, &mut pack).unwrap();
    receive(&mut pack.as_slice(), &wanted, &mut |file, content| {
        arrival.take(file, content)
    })
    .unwrap();
    arrival.finish().unwrap();
    manifest.digest()
}

/// Receives and collects until it is killed.
#[test]
#[ignore = "run by the test that kills it"]
fn receives_for_ever() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        panic!("{FOLDER} must name a folder");
    };
    let domain = Domain::open(&folder).unwrap();
    let mut out = std::io::stdout();
    // Behind what the test harness has written on this line.
    writeln!(out).unwrap();
    let mut dice = kills::dice();
    loop {
        let digest = push(&domain, dice.u64(..1_000_000));
        writeln!(out, "ack {digest}").unwrap();
        if dice.u64(..4) == 0 {
            writeln!(out, "collecting").unwrap();
            domain.collect(700_000).unwrap();
        }
    }
}

/// What it said, in order.
fn killed(dice: &mut fastrand::Rng, folder: &Path) -> Vec<String> {
    // Somewhere within what comes next.
    let most = Duration::from_millis(20);
    kills::killed(dice, "receives_for_ever", (FOLDER, folder), 2..10, most)
}

#[test]
fn killed_at_any_moment_a_domain_is_whole_and_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = std::fs::canonicalize(place.path()).unwrap().join("domain");
    let mut dice = kills::dice();
    let kills = kills::times(KILLS);
    let mut verified = 0;
    for kill in 0..kills {
        let said = killed(&mut dice, &folder);
        let domain = Domain::open(&folder).unwrap();
        let store = domain.store();
        assert_eq!(
            std::fs::read_dir(folder.join("store/drafts"))
                .unwrap()
                .count(),
            0
        );
        let drafts = std::fs::read_dir(folder.join("inbox")).unwrap();
        let draft = |name: String| name.starts_with("draft");
        assert!(
            !drafts
                .into_iter()
                .any(|entry| draft(entry.unwrap().file_name().into_string().unwrap()))
        );
        let there: Vec<Digest> = list(store)
            .unwrap()
            .into_iter()
            .map(|(digest, _)| digest)
            .collect();
        for digest in &there {
            look(store, digest).unwrap().verify().unwrap();
            verified += 1;
        }
        // What was told of after the last collection began is there.
        let collected = said.iter().rposition(|line| line == "collecting");
        for line in said.iter().skip(collected.map_or(0, |at| at + 1)) {
            if let Some(digest) = line.strip_prefix("ack ") {
                assert!(
                    there.contains(&digest.parse().unwrap()),
                    "kill {kill}: {line}"
                );
            }
        }
        let report = store.fsck().unwrap();
        assert_eq!(report.damage, [], "kill {kill}");
        let digest = push(&domain, dice.u64(..1_000_000));
        domain.environment(&digest).unwrap().verify().unwrap();
    }
    assert!(verified >= kills, "{verified} environments were looked at");
}
