//! A pull is killed at random moments: the store is sound, nothing half has a name, and the next pull goes on.
//!
//! LAKEKEEP_TEST_PULL_KILLS  how many times; the seed is printed

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[allow(dead_code, reason = "the rest is for other tests")]
mod pull;

use std::hash::{BuildHasher, Hasher};
use std::io::{BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lakekeep_tests::{Place, Privilege, number_from_env};
use pull::{Content, Puller, Registry, noise, said};

struct Random(u64);

impl Random {
    fn new() -> Random {
        let seed = std::hash::RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

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
    let kills = number_from_env("LAKEKEEP_TEST_PULL_KILLS", 20);
    let mut random = Random::new();
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
            let mut child = puller
                .command(&words)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let moment = whole.mul_f64(random.below(1000) as f64 / 1000.0);
            let ended = ended_within(&mut child, moment);
            if !ended {
                child.kill().unwrap();
            }
            let success = child.wait().unwrap().success();
            if success {
                break;
            }
            killed += 1;
            // Sound whenever it is looked at; no name leads to half an image.
            puller.assert_sound();
            assert_eq!(puller.names(), "", "kill {killed}");
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

/// Whether it ends by itself within this time: its output closes then.
fn ended_within(child: &mut std::process::Child, time: Duration) -> bool {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (told, ended) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let read = output.read_to_end(&mut Vec::new());
        // Nobody waits any more if it was killed.
        told.send(read.is_ok()).ok();
    });
    let in_time = ended.recv_timeout(time).is_ok();
    if in_time {
        reader.join().unwrap();
    }
    in_time
}
