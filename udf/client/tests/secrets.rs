//! What is printed of a session has no token, whoever prints it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use lakekeep_udf_client::{Environment, Kind, Options};
use stand::{function, stand, verdict};

const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9";

#[test]
fn no_session_prints_its_token() {
    let stand = stand(|worker| {
        worker.open();
        worker.linger();
        verdict("exit")
    });
    let options = Options {
        user: Some("ada".to_owned()),
        delegation: Some(TOKEN.to_owned()),
        ..Options::default()
    };
    let environment = Environment::of("/usr/bin/python3");
    let opening = stand
        .broker
        .begin(&environment, &function(Kind::Scalar), options)
        .unwrap();
    let printed = format!("{opening:?} {opening:#?}");
    // It has the options, of which the token is one.
    assert!(printed.contains("ada"), "{printed}");
    assert!(!printed.contains(TOKEN), "{printed}");
    let session = opening.finish().unwrap();
    let printed = format!("{session:?} {:?} {:?}", session.canceller(), stand.broker);
    assert!(!printed.contains(TOKEN), "{printed}");
}
