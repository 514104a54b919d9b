//! Resolvers that are slow or down, and peers that end half of a connection, never read, or
//! want many names: one flow's trouble is no other's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::FlowVerdict;
use lakekeep_tests::internet::{GREETING, Internet, Resolver, SILENCE};
use lakekeep_tests::{Place, slack};
use relay::{Inside, Relay, SERVER, greeted};
use serde_json::{Value, json};

/// Most lookups of one sandbox at a time.
const LOOKUPS: usize = 8;

fn document(rule: &str, limits: &Value) -> Value {
    json!({ "version": 1, "rules": [rule], "limits": limits })
}

/// How a connection to each of these names ends, all of them asked for at once.
fn connect_to_all(inside: &Inside, names: &[String]) -> Vec<io::Result<usize>> {
    let one = |name: &String| -> io::Result<usize> {
        let address = SocketAddr::new(inside.resolve(name), 80);
        inside.run(|| TcpStream::connect(address)?.read(&mut [0]))
    };
    thread::scope(|scope| {
        let one = |name| scope.spawn(move || one(name));
        let all: Vec<_> = names.iter().map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// The lookups go on in the resolver when nobody waits for them any longer; those that a
/// sandbox may have are all that it takes of the relay.
#[test]
fn names_that_are_never_answered_hold_nobody_else_up() {
    const LEADS: &[(&str, &[&str])] = &[
        ("*.slow.example", &[SILENCE]),
        ("pypi.example", &["93.184.216.34"]),
    ];
    let Some(internet) = Internet::make("egress_peers::slow_resolver") else {
        return;
    };
    let (place, resolver) = (Place::new(), Resolver::start(&internet, LEADS));
    let relay = Resolver::on_host(&internet, place.path(), || {
        Relay::start(&internet, &place.hosts(""))
    });
    let limits = json!({ "connect_seconds": 1, "new_names_per_minute": 60_000 });
    let slow = relay.serve("slow", &document("allow tcp *.slow.example", &limits));
    let other = relay.serve("other", &document("allow tcp pypi.example", &json!({})));
    let names: Vec<String> = (0..3 * LOOKUPS)
        .map(|n| format!("{n}.slow.example"))
        .collect();
    let ended = connect_to_all(&slow, &names);
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
    for _ in &names {
        let receipt = relay.told("raise connect_seconds in [limits]");
        assert_eq!(receipt.verdict, FlowVerdict::Failed);
    }
    let asked: BTreeSet<String> = resolver.asked().into_iter().collect();
    assert_eq!(asked.len(), LOOKUPS, "{asked:?}");
    let address = SocketAddr::new(other.resolve("pypi.example"), 80);
    let (_, greeting) = other.run(|| greeted(address)).unwrap();
    assert_eq!(greeting, GREETING);
}

#[test]
fn without_a_resolver_names_fail_and_addresses_do_not() {
    let Some(internet) = Internet::make("egress_peers::no_resolver") else {
        return;
    };
    let place = Place::new();
    // Its configuration names a resolver, and nobody is there.
    let relay = Resolver::on_host(&internet, place.path(), || {
        Relay::start(&internet, &place.hosts(""))
    });
    let rules = json!({
        "version": 1,
        "rules": ["allow tcp pypi.example:80", "allow tcp 93.184.216.34:80"],
    });
    let inside = relay.serve("box", &rules);
    let ended = connect_to_all(&inside, &["pypi.example".to_owned()]);
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
    let receipt = relay.told("pypi.example:80 was not reached");
    assert_eq!((receipt.verdict, receipt.sent), (FlowVerdict::Failed, 0));
    let (_, greeting) = inside.run(|| greeted(SERVER)).unwrap();
    assert_eq!(greeting, GREETING);
}

/// A server of the Internet's that serves one connection.
fn serve_one<T: Send + 'static>(
    internet: &Internet,
    body: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let listener = internet.in_internet(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)));
    let listener = listener.unwrap();
    thread::spawn(move || body(listener.accept().unwrap().0))
}

/// Bytes that neither socket nor pipe holds at a time.
const MANY: usize = 32 << 20;

#[test]
fn who_has_said_all_still_hears_all() {
    let Some(internet) = Internet::without_servers("egress_peers::half_closed") else {
        return;
    };
    let place = Place::new();
    let relay = Relay::start(&internet, &place.hosts(""));
    let inside = relay.serve("box", &document("allow tcp 93.184.216.34:80", &json!({})));
    // The client ends first, and then the server.
    let server = serve_one(&internet, |mut stream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream.write_all(&vec![7; MANY]).unwrap();
        question
    });
    let answer = inside.run(|| {
        let mut stream = TcpStream::connect(SERVER).unwrap();
        stream.write_all(b"all of it").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer.len()
    });
    assert_eq!(answer, MANY);
    assert_eq!(server.join().unwrap(), b"all of it");
    let receipt = relay.told("closed");
    assert_eq!((receipt.sent, receipt.received), (9, MANY as u64));
    // The server ends first, and then the client.
    let server = serve_one(&internet, |mut stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got.len()
    });
    inside.run(|| {
        let mut stream = TcpStream::connect(SERVER).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        stream.write_all(&vec![7; MANY]).unwrap();
    });
    assert_eq!(server.join().unwrap(), MANY);
    let receipt = relay.told("closed");
    assert_eq!((receipt.sent, receipt.received), (MANY as u64, 0));
}

/// As many as there are large pipes, and more.
const NEVER_READING: usize = 40;

#[test]
fn clients_that_never_read_take_a_pipe_each_and_end() {
    let Some(internet) = Internet::without_servers("egress_peers::never_reading") else {
        return;
    };
    let place = Place::new();
    let relay = Relay::start(&internet, &place.hosts(""));
    let rules = |idle: u32| {
        let limits = json!({ "idle_seconds": idle, "new_per_second": 1000 });
        document("allow tcp 93.184.216.34:80", &limits)
    };
    let inside = relay.serve("box", &rules(3600));
    let other = relay.serve("other", &rules(3600));
    // It sends for as long as anybody takes it, and says where it stopped.
    let listener = internet.in_internet(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)));
    let listener = listener.unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while stream.write_all(&[7; 4096]).is_ok() {});
        }
    });
    let before = relay.memory();
    let held: Vec<TcpStream> = inside.run(|| {
        let one = |_| TcpStream::connect(SERVER).unwrap();
        (0..NEVER_READING).map(one).collect()
    });
    // Others have pipes all the same.
    let read = other.run(|| {
        let mut stream = TcpStream::connect(SERVER).unwrap();
        let read = (&mut stream).take(MANY as u64);
        io::copy(&mut { read }, &mut io::sink()).unwrap()
    });
    assert_eq!(read, MANY as u64);
    let grown = relay.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more of its own memory");
    relay.update("box", &rules(1));
    for _ in &held {
        relay.told("nothing was carried for 1 s");
    }
    for mut stream in held {
        let patience = Duration::from_secs(20) * slack();
        stream.set_read_timeout(Some(patience)).unwrap();
        let ended = io::copy(&mut stream, &mut io::sink());
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn ten_thousand_names_have_an_address_each_and_no_more_have_one() {
    const NAMES: usize = 10_000;
    let Some(internet) = Internet::make("egress_peers::names") else {
        return;
    };
    let place = Place::new();
    let last = format!("93.184.216.34 {}.example\n", NAMES - 1);
    let relay = Relay::start(&internet, &place.hosts(&last));
    let rules: Vec<String> = (0..=NAMES)
        .map(|n| format!("allow tcp {n}.example:80"))
        .collect();
    let limits = json!({ "names": NAMES });
    let inside = relay.serve(
        "box",
        &json!({ "version": 1, "rules": rules, "limits": limits }),
    );
    let before = relay.memory();
    let names: Vec<String> = (0..NAMES).map(|n| format!("{n}.example")).collect();
    let addresses: BTreeSet<IpAddr> = names.iter().map(|name| inside.resolve(name)).collect();
    assert_eq!(addresses.len(), NAMES);
    let grown = relay.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    assert!(!inside.knows(&format!("{NAMES}.example")));
    let receipt = relay.told("raise limits.names");
    assert_eq!(receipt.name.as_deref(), Some(&*format!("{NAMES}.example")));
    // The last that has one leads where it should.
    let address = SocketAddr::new(inside.resolve(&names[NAMES - 1]), 80);
    let (_, greeting) = inside.run(|| greeted(address)).unwrap();
    assert_eq!(greeting, GREETING);
}

/// At most so many in a second, after a quarter of a second's at once.
const QUESTIONS: u32 = 2000;

#[test]
fn questions_are_answered_no_faster_than_they_may_come() {
    let Some(internet) = Internet::make("egress_peers::questions") else {
        return;
    };
    let place = Place::new();
    let relay = Relay::start(&internet, &place.hosts(""));
    let rules = document("allow tcp pypi.example", &json!({}));
    let (inside, other) = (relay.serve("box", &rules), relay.serve("other", &rules));
    let ask = |inside: &Inside, count: u32| {
        (0..count).for_each(|_| assert!(inside.knows("pypi.example")));
    };
    let began = Instant::now();
    let few = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(&inside, QUESTIONS / 2));
        }
        ask(&other, 1);
        began.elapsed()
    });
    // Two seconds' without a quarter of one; and another sandbox's question is none of these.
    let flood = began.elapsed();
    assert!(flood >= Duration::from_millis(1740), "{flood:?}");
    assert!(few < flood, "{few:?}, {flood:?}");
}
