//! What one sandbox can take of the relay: as much as its limits say, told with the limit's name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::FlowVerdict;
use lakekeep_tests::internet::{GREETING, Internet};
use lakekeep_tests::{Place, eventually};
use relay::{Inside, Relay, SERVER, greeted};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::{Value, json};

/// What the host's resolver answers.
const HOSTS: &str = "93.184.216.34 pypi.example\n";

struct Ground {
    internet: Internet,
    relay: Relay,
    _place: Place,
}

impl Ground {
    fn make(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let place = Place::new();
        let hosts = place.hosts(HOSTS);
        let relay = Relay::start(&internet, &hosts);
        Some(Self {
            internet,
            relay,
            _place: place,
        })
    }

    fn serve(&self, rule: &str, limits: &Value) -> Inside {
        self.relay
            .serve(&format!("box-{rule}"), &document(rule, limits))
    }

    /// Other limits for the sandbox of this rule, which lives.
    fn limit(&self, rule: &str, limits: &Value) {
        self.relay
            .update(&format!("box-{rule}"), &document(rule, limits));
    }
}

fn document(rule: &str, limits: &Value) -> Value {
    json!({ "version": 1, "rules": [rule], "limits": limits })
}

#[test]
fn the_relay_keeps_nothing_that_it_does_not_need() {
    let Some(ground) = Ground::make("egress_limits::seal") else {
        return;
    };
    // It serves, and all its threads are there.
    let inside = ground.serve("allow tcp 93.184.216.34:80", &json!({}));
    let (_stream, greeting) = inside.run(|| greeted(SERVER)).unwrap();
    assert_eq!(greeting, GREETING);
    for (field, expected) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "65534 65534 65534 65534"),
        ("Groups", ""),
    ] {
        let found = ground.relay.status(field);
        assert!(found.len() >= 3, "{found:?}");
        assert!(
            found.iter().all(|one| one == expected),
            "{field}: {found:?}"
        );
    }
}

#[test]
fn a_flood_takes_no_more_than_the_limits() {
    let Some(ground) = Ground::make("egress_limits::flood") else {
        return;
    };
    const FLOOD: usize = 20_000;
    const MOST: usize = 64;
    let limits = json!({ "connections": MOST, "new_per_second": 100_000 });
    let inside = ground.serve("allow tcp 93.184.216.34:80", &limits);
    let before = (ground.relay.memory(), ground.relay.descriptors());
    let held: Vec<TcpStream> = inside.run(|| {
        let held = (0..MOST).map(|_| greeted(SERVER).unwrap().0).collect();
        flood(SERVER, FLOOD);
        held
    });
    let receipt = ground.relay.told("raise connections in [limits]");
    assert_eq!(receipt.verdict, FlowVerdict::Denied);
    assert!(
        receipt.words.contains("64 connections are open"),
        "{}",
        receipt.words
    );
    let after = (ground.relay.memory(), ground.relay.descriptors());
    let grown = after.0.saturating_sub(before.0);
    assert!(grown < 16 << 20, "{grown} bytes more");
    // Two sockets each, and at most the pipes that are kept.
    let most = 2 * MOST + 2 * 64 + 8;
    assert!(
        after.1 - before.1 <= most,
        "{} descriptors more",
        after.1 - before.1
    );
    drop(held);
    eventually("a connection after the flood", || {
        inside
            .run(|| greeted(SERVER))
            .map(|(_, greeting)| assert_eq!(greeting, GREETING))
    });
}

/// So many connections, at most a thousand of them at a time, none of them waited for.
fn flood(to: SocketAddr, count: usize) {
    let mut open = VecDeque::new();
    for _ in 0..count {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        let socket = socket.unwrap();
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(errno) => panic!("connect: {errno}"),
        }
        open.push_back(socket);
        if open.len() > 1000 {
            open.pop_front();
        }
    }
}

#[test]
fn more_than_the_limit_pass_where_the_limit_is_higher() {
    let Some(ground) = Ground::make("egress_limits::higher") else {
        return;
    };
    let limits = json!({ "connections": 256, "new_per_second": 100_000 });
    let inside = ground.serve("allow tcp 93.184.216.34:80", &limits);
    let all: Vec<_> = inside.run(|| (0..200).map(|_| greeted(SERVER).unwrap()).collect());
    assert_eq!(all.len(), 200);
}

#[test]
fn new_connections_have_their_turn_or_are_refused() {
    let Some(ground) = Ground::make("egress_limits::arrivals") else {
        return;
    };
    let limits = json!({ "new_per_second": 2, "connect_seconds": 1 });
    let inside = ground.serve("allow tcp 93.184.216.34:80", &limits);
    inside.run(|| flood(SERVER, 40));
    let receipt = ground.relay.told("raise new_per_second in [limits]");
    assert_eq!(receipt.verdict, FlowVerdict::Denied);
    assert_eq!((receipt.sent, receipt.received), (0, 0));
}

#[test]
fn bytes_leave_no_faster_than_they_may() {
    let Some(ground) = Ground::make("egress_limits::bytes") else {
        return;
    };
    let send = |inside: &Inside| {
        let before = ground.internet.arrived().1;
        let began = Instant::now();
        inside.run(|| {
            let (mut stream, _) = greeted(SERVER).unwrap();
            stream.write_all(&[7; 384 << 10]).unwrap();
        });
        eventually("all of it arrives", || {
            (ground.internet.arrived().1 - before == 384 << 10).then_some(())
        });
        began.elapsed()
    };
    let limits = json!({ "bytes_per_second": 128 << 10 });
    let slow = send(&ground.serve("allow tcp 93.184.216.34", &limits));
    // Three seconds' bytes, of which the burst and the last piece are not waited for.
    let least = Duration::from_millis(2500);
    assert!(slow >= least, "{slow:?}");
    // Without the limit it need not take so long. On a busy host it may, and another time does not.
    let free = ground.serve("allow tcp 93.184.216.34:80", &json!({}));
    eventually("as many bytes without a limit in less time", || {
        (send(&free) < least).then_some(())
    });
}

#[test]
fn what_says_nothing_ends() {
    let Some(ground) = Ground::make("egress_limits::idle") else {
        return;
    };
    let inside = ground.serve("allow tcp 93.184.216.34:80", &json!({ "idle_seconds": 1 }));
    let ended = inside.run(|| {
        let (mut stream, _) = greeted(SERVER).unwrap();
        stream.read(&mut [0])
    });
    assert!(
        ended.is_err(),
        "a reset, and no end that looks like an answer: {ended:?}"
    );
    let receipt = ground.relay.told("raise idle_seconds in [limits]");
    assert_eq!(receipt.verdict, FlowVerdict::Allowed);
}

/// The rule of a sandbox whose limits change.
const RULE: &str = "allow tcp 93.184.216.34:80";

#[test]
fn a_live_sandbox_has_as_many_connections_as_may_be_now() {
    let Some(ground) = Ground::make("egress_limits::follow_connections") else {
        return;
    };
    let inside = ground.serve(RULE, &json!({ "connections": 2 }));
    let mut held: Vec<TcpStream> =
        inside.run(|| (0..2).map(|_| greeted(SERVER).unwrap().0).collect());
    let refused = || inside.run(|| greeted(SERVER).map(drop));
    assert!(refused().is_none());
    ground.relay.told("2 connections are open");
    ground.limit(RULE, &json!({ "connections": 3 }));
    held.extend(inside.run(|| greeted(SERVER)).map(|(stream, _)| stream));
    assert_eq!(held.len(), 3);
    // Fewer than there are: none of them ends, and no other comes before enough of them did.
    ground.limit(RULE, &json!({ "connections": 1 }));
    assert!(refused().is_none());
    ground.relay.told("1 connections are open");
    let last = held.pop().unwrap();
    drop(held);
    for _ in 0..2 {
        ground.relay.told("closed");
    }
    assert!(refused().is_none());
    let before = ground.internet.arrived().1;
    (&last).write_all(b"it goes on").unwrap();
    eventually("the last one's bytes", || {
        (ground.internet.arrived().1 - before == 10).then_some(())
    });
    drop(last);
    ground.relay.told("closed");
    eventually("a connection again", || inside.run(|| greeted(SERVER)));
}

#[test]
fn a_live_connection_follows_the_limits() {
    let Some(ground) = Ground::make("egress_limits::follow") else {
        return;
    };
    let inside = ground.serve(RULE, &json!({ "bytes_per_second": 1024 }));
    let (mut slow, _) = inside.run(|| greeted(SERVER)).unwrap();
    // At this rate they would take a minute.
    let (before, began) = (ground.internet.arrived().1, Instant::now());
    slow.write_all(&[7; 64 << 10]).unwrap();
    ground.limit(RULE, &json!({}));
    eventually("all of it arrives", || {
        (ground.internet.arrived().1 - before == 64 << 10).then_some(())
    });
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    // It may say nothing for five minutes, and then for a second.
    ground.limit(RULE, &json!({ "idle_seconds": 1 }));
    let ended = slow.read(&mut [0]);
    assert!(ended.is_err(), "{ended:?}");
    ground.relay.told("nothing was carried for 1 s");
    // New ones come one at a time.
    ground.limit(RULE, &json!({ "new_per_second": 2, "connect_seconds": 1 }));
    inside.run(|| flood(SERVER, 40));
    ground.relay.told("raise new_per_second in [limits]");
}

/// A client that says nothing, says what is not allowed, or never comes to an end.
#[test]
fn nothing_is_connected_to_before_the_client_has_said_for_whom_it_is() {
    let Some(ground) = Ground::make("egress_limits::first_bytes") else {
        return;
    };
    let limits = json!({ "first_bytes_seconds": 1 });
    // The server is reached where it may be the one that speaks first.
    let open = ground.serve("allow tcp pypi.example:80", &limits);
    let address = SocketAddr::new(open.resolve("pypi.example"), 80);
    let (_, greeting) = open.run(|| greeted(address)).unwrap();
    assert_eq!(greeting, GREETING);

    let before = ground.internet.arrived();
    for (rule, said, words) in [
        (
            "allow tls pypi.example:80",
            &b""[..],
            "raise first_bytes_seconds in [limits]",
        ),
        (
            "allow tls pypi.example:80",
            b"\x16\x03\x01\x02\x00",
            "raise first_bytes_seconds",
        ),
        (
            "allow http pypi.example:80",
            b"GET / HT",
            "raise first_bytes_seconds",
        ),
        (
            "allow tls pypi.example:80",
            b"GET / HTTP/1.1\r\n",
            "the stream is HTTP",
        ),
        (
            "allow http pypi.example:80",
            b"GET / HTTP/1.1\r\nHost: index.example\r\n\r\n",
            "the HTTP request is for index.example",
        ),
    ] {
        let rules = json!({ "version": 1, "rules": [rule], "limits": limits });
        let inside = ground
            .relay
            .serve(&format!("{rule} {words} {}", said.len()), &rules);
        let address = SocketAddr::new(inside.resolve("pypi.example"), 80);
        let ended = inside.run(|| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(said).unwrap();
            stream.read(&mut [0])
        });
        assert!(ended.is_err(), "{rule}: {ended:?}");
        let receipt = ground.relay.told(words);
        assert_eq!(receipt.verdict, FlowVerdict::Denied, "{}", receipt.words);
        assert_eq!(receipt.sent, 0);
    }
    assert_eq!(ground.internet.arrived(), before);
}

#[test]
fn a_request_that_may_leave_is_answered() {
    let Some(ground) = Ground::make("egress_limits::answered") else {
        return;
    };
    let inside = ground.serve("allow http pypi.example:80", &json!({}));
    let address = SocketAddr::new(inside.resolve("pypi.example"), 80);
    let request = b"GET / HTTP/1.1\r\nHost: pypi.example\r\n\r\n";
    let before = ground.internet.arrived().1;
    let answer = inside.run(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = vec![0; GREETING.len()];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer, GREETING.as_bytes());
    eventually("the request arrives", || {
        (ground.internet.arrived().1 - before == request.len() as u64).then_some(())
    });
}
