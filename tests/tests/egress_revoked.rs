//! Rules that change while connections come in: none that began under the old ones lives on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod relay;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use lakekeep_tests::internet::Internet;
use lakekeep_tests::{Place, slack};
use relay::{Relay, SERVER, greeted};
use serde_json::{Value, json};

/// Clients that connect one time after the other.
const CLIENTS: usize = 4;

/// Times that what they do is allowed, and then is not any longer.
const ROUNDS: usize = 50;

/// The rules, and that nothing else bounds what connects.
fn rules(verdict: &str) -> Value {
    json!({
        "version": 1,
        "rules": [format!("{verdict} tcp 93.184.216.34:80")],
        "limits": { "connections": 65_536, "new_per_second": 100_000 }
    })
}

/// Connects until it is over, and returns all connections that were let out.
fn connect_on(over: &AtomicBool, first: &Sender<()>) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    while !over.load(Ordering::Acquire) {
        if let Some((stream, _)) = greeted(SERVER) {
            streams.push(stream);
            // Only the first is waited for.
            first.send(()).ok();
        }
    }
    streams
}

/// A server that says nothing more ends nothing: only the relay does.
fn assert_ended(mut stream: TcpStream) {
    let patience = Duration::from_secs(20) * slack();
    stream.set_read_timeout(Some(patience)).unwrap();
    let read = stream.read(&mut [0; 64]);
    let lives = match &read {
        Ok(bytes) => *bytes > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    assert!(!lives, "a connection outlived its rule: {read:?}");
}

#[test]
fn connections_that_begin_while_their_rule_goes_end_too() {
    let Some(internet) = Internet::make("egress_revoked::begin") else {
        return;
    };
    let place = Place::new();
    let relay = Relay::start(&internet, &place.hosts(""));
    let inside = relay.serve("box", &rules("deny"));
    for _ in 0..ROUNDS {
        relay.update("box", &rules("allow"));
        let (over, (first, came)) = (AtomicBool::new(false), channel());
        let streams = thread::scope(|scope| {
            let one = |first: Sender<()>| {
                let (inside, over) = (&inside, &over);
                scope.spawn(move || inside.run(|| connect_on(over, &first)))
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| one(first.clone())).collect();
            came.recv().unwrap();
            relay.update("box", &rules("deny"));
            over.store(true, Ordering::Release);
            let each = clients
                .into_iter()
                .flat_map(|client| client.join().unwrap());
            each.collect::<Vec<_>>()
        });
        assert!(!streams.is_empty());
        streams.into_iter().for_each(assert_ended);
    }
}
