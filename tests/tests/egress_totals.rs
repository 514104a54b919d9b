//! What sandboxes have together, at a relay: those of a profile, and all that it serves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::{FlowVerdict, RuleLevel};
use lakekeep_tests::internet::Internet;
use lakekeep_tests::{Place, eventually};
use relay::{Inside, Relay, SERVER, greeted};
use serde_json::{Value, json};

/// Two sandboxes of one profile, and one of another, at one relay.
struct Ground {
    internet: Internet,
    relay: Relay,
    _place: Place,
    one: Inside,
    two: Inside,
    other: Inside,
}

impl Ground {
    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let place = Place::new();
        let relay = Relay::start(&internet, &place.hosts("93.184.216.34 pypi.example\n"));
        let none = documents(&json!({}), &json!({}));
        Some(Self {
            one: relay.serve_in("lab", "one", &none),
            two: relay.serve_in("lab", "two", &none),
            other: relay.serve_in("other", "other", &none),
            internet,
            relay,
            _place: place,
        })
    }

    /// Other totals of the profile and of all: one of its sandboxes brings them.
    fn total(&self, owner: &Value, administrator: &Value) {
        let rules = documents(owner, administrator);
        self.relay.update_in("one", &rules);
    }

    /// Has two sandboxes send so much at the same time, and says how long it takes until all of it
    /// has arrived.
    fn send(&self, both: [&Inside; 2], bytes: usize) -> Duration {
        let (before, began) = (self.internet.arrived().1, Instant::now());
        thread::scope(|scope| {
            for inside in both {
                scope.spawn(move || {
                    inside.run(|| {
                        let (mut stream, _) = greeted(SERVER).unwrap();
                        stream.write_all(&vec![7; bytes]).unwrap();
                    });
                });
            }
        });
        let all = 2 * u64::try_from(bytes).unwrap();
        eventually("all of it arrives", || {
            (self.internet.arrived().1 - before >= all).then_some(())
        });
        began.elapsed()
    }
}

fn documents(owner: &Value, administrator: &Value) -> [(RuleLevel, Value); 2] {
    let document = |total: &Value| json!({ "version": 1, "rules": ["allow tcp 93.184.216.34:80"], "total": total });
    [
        (RuleLevel::Administrator, document(administrator)),
        (RuleLevel::Owner, document(owner)),
    ]
}

/// As many of so many connections as are let out.
fn hold(inside: &Inside, count: usize) -> Vec<TcpStream> {
    inside.run(|| {
        let all = (0..count).filter_map(|_| greeted(SERVER));
        all.map(|(stream, _)| stream).collect()
    })
}

#[test]
fn sandboxes_of_a_profile_share_its_connections() {
    let Some(ground) = Ground::make("egress_totals::connections") else {
        return;
    };
    let (none, four) = (json!({}), json!({ "connections": 4 }));
    // Without a total they have more together than it will be.
    let free = [hold(&ground.one, 3), hold(&ground.two, 3)];
    assert_eq!(free.each_ref().map(Vec::len), [3, 3]);
    drop(free);
    for _ in 0..6 {
        ground.relay.told("closed");
    }
    ground.total(&four, &none);
    let hers = hold(&ground.one, 3);
    let his = hold(&ground.two, 3);
    assert_eq!((hers.len(), his.len()), (3, 1));
    let receipt = ground
        .relay
        .told("the profile lab's total of 4 connections is used up");
    assert_eq!(receipt.verdict, FlowVerdict::Denied);
    assert_eq!(receipt.sandbox, "two");
    assert!(
        receipt.words.contains("[egress.total] of the profile"),
        "{}",
        receipt.words
    );
    let others = hold(&ground.other, 5);
    assert_eq!(others.len(), 5);
    // More for those who live; then fewer than there are, of which none ends and none comes.
    ground.total(&json!({ "connections": 5 }), &none);
    let more = hold(&ground.two, 2);
    assert_eq!(more.len(), 1);
    ground.total(&json!({ "connections": 1 }), &none);
    drop((more, his));
    assert_eq!(hold(&ground.one, 1).len(), 0);
    let before = ground.internet.arrived().1;
    for mut stream in &hers {
        stream.write_all(b"it goes on").unwrap();
    }
    eventually("the bytes of those that live", || {
        (ground.internet.arrived().1 - before == 30).then_some(())
    });
    drop(hers);
    eventually("a connection again", || hold(&ground.two, 1).pop());
}

#[test]
fn all_sandboxes_share_the_administrators_connections() {
    let Some(ground) = Ground::make("egress_totals::administrator") else {
        return;
    };
    ground.total(&json!({}), &json!({ "connections": 3 }));
    let hers = hold(&ground.one, 2);
    let others = hold(&ground.other, 2);
    assert_eq!((hers.len(), others.len()), (2, 1));
    let receipt = ground
        .relay
        .told("the administrator's total of 3 connections");
    assert_eq!(receipt.sandbox, "other");
    ground.total(&json!({}), &json!({}));
    assert_eq!(hold(&ground.other, 3).len(), 3);
}

#[test]
fn sandboxes_of_a_profile_share_its_new_connections() {
    let Some(ground) = Ground::make("egress_totals::arrivals") else {
        return;
    };
    let visit = |both: [&Inside; 2]| {
        let began = Instant::now();
        thread::scope(|scope| {
            for inside in both {
                scope.spawn(move || assert_eq!(hold(inside, 10).len(), 10));
            }
        });
        began.elapsed()
    };
    let both = [&ground.one, &ground.two];
    let free = visit(both);
    ground.total(&json!({ "new_per_second": 5 }), &json!({}));
    let slow = visit(both);
    // Twenty at five a second, of which one comes at once.
    assert!(slow >= Duration::from_millis(3500), "{slow:?}");
    assert!(free < slow, "{free:?} without a total, {slow:?} with one");
}

#[test]
fn sandboxes_of_a_profile_share_its_bandwidth() {
    let Some(ground) = Ground::make("egress_totals::bytes") else {
        return;
    };
    let both = [&ground.one, &ground.two];
    let free = ground.send(both, 192 << 10);
    ground.total(&json!({ "bytes_per_second": 128 << 10 }), &json!({}));
    let slow = ground.send(both, 192 << 10);
    // Three seconds' bytes, of which the burst and two pieces of each are not waited for.
    assert!(slow >= Duration::from_millis(2400), "{slow:?}");
    assert!(free < slow, "{free:?} without a total, {slow:?} with one");
    // At this rate it would take a minute: another profile's sandbox does not, and nor does what
    // waits once the rate is another.
    let (mut waits, _) = ground.one.run(|| greeted(SERVER)).unwrap();
    ground.total(&json!({ "bytes_per_second": 1024 }), &json!({}));
    let before = ground.internet.arrived().1;
    waits.write_all(&[7; 64 << 10]).unwrap();
    ground.send([&ground.other, &ground.other], 64 << 10);
    ground.total(&json!({}), &json!({}));
    eventually("what waited", || {
        (ground.internet.arrived().1 - before == 192 << 10).then_some(())
    });
}
