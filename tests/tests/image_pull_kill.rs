//! A pull is killed at random moments: the store is sound, nothing half has a name, and the next pull goes on.
//! `LAKEKEEP_KILLS` says how often; the seed is printed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[path = "../../images/content/tests/kills/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod kills;
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;

use std::process::Stdio;
use std::time::{Duration, Instant};

use lakekeep_tests::{Place, Privilege};
use pull::{Content, Puller, Registry, noise, said};

/// How often, where nothing is said.
const KILLS: u64 = 20;

/// How long a whole pull takes here, from its start to its end.
fn whole(registry: &Registry) -> Duration {
    let place = Place::new();
    let puller = Puller::new(&place, Privilege::User);
    let begun = Instant::now();
    puller.pulled(&registry.name("latest"), &["--plain-http"]);
    begun.elapsed()
}

#[test]
fn killed_at_any_moment_a_pull_can_be_gone_on_with() {
    let kills = kills::times(KILLS);
    let mut dice = kills::dice();
    let layers: Vec<_> = (0..6).map(|seed| noise(100 + seed, 4 << 20)).collect();
    let registry = Registry::honest(Content::image(&layers));
    let name = registry.name("latest");
    let whole = whole(&registry);
    let (mut killed, mut resumed, mut rounds) = (0, 0, 0);
    while killed < kills {
        rounds += 1;
        let place = Place::new();
        let puller = Puller::new(&place, Privilege::User);
        loop {
            let words = ["image", "pull", &name, "--plain-http", "--quiet"];
            let mut command = puller.command(&words);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let moment = kills::moment(&mut dice, whole);
            if !kills::kill_after(&mut command.spawn().unwrap(), moment) {
                break;
            }
            killed += 1;
            // Sound whenever it is looked at; a name that is there already leads to a whole image.
            puller.assert_sound();
            if puller.names() != "" {
                break;
            }
            let left: u64 = puller.partial().iter().sum();
            resumed += usize::from(left > 0);
            if killed >= kills {
                break;
            }
        }
        let pulled = puller.pull(&name, &["--plain-http"]);
        assert!(pulled.status.success(), "{}", said(&pulled));
        puller.assert_sound();
        assert_eq!(puller.partial(), [0; 0]);
        assert!(puller.names().contains(&name));
    }
    println!("{killed} kills in {rounds} images, {resumed} left a beginning");
    // Ranges were asked for: what was there was not fetched again.
    let asked = registry.asked();
    let ranges = asked
        .iter()
        .filter(|asked| !asked.header("range").is_empty())
        .count();
    println!("{ranges} layers gone on with");
    assert!(resumed == 0 || ranges > 0);
}
