//! Who gives up before there is a sandbox leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use lakekeep_udf_client::{Asked, Environment, Kind, Options, UdfError};
use lakekeep_udf_packets::{Answer, Request};
use stand::{Stand, function, hear, say, stand_that};

/// What the broker heard.
type Heard = Receiver<Request>;

/// A broker that makes no sandbox, and says so of each that is ended.
fn slow() -> (Stand, Heard) {
    let (sender, heard) = mpsc::channel();
    let stand = stand_that(move |control| {
        let mut kept = Vec::new();
        while let Some((request, given)) = hear(&control) {
            kept.extend(given);
            if let Request::Kill { number } = &request {
                let message = "it was ended before it had a sandbox".to_owned();
                let (number, code, retry_after_ms) = (*number, None, None);
                let failed = Answer::Failed {
                    number,
                    message,
                    code,
                    retry_after_ms,
                };
                say(&control, &failed);
            }
            sender.send(request).unwrap();
        }
    });
    (stand, heard)
}

fn asked(stand: &Stand, heard: &Heard) -> (Asked, u32) {
    let environment = Environment::of("/usr/bin/python3");
    let asked = stand
        .broker
        .ask(&environment, &function(Kind::Scalar), Options::default());
    let Request::Open(open) = heard.recv().unwrap() else {
        panic!("something else was asked");
    };
    (asked.unwrap(), open.number)
}

#[test]
fn what_nobody_wants_any_more_is_ended() {
    let (stand, heard) = slow();
    let (asked, number) = asked(&stand, &heard);
    drop(asked);
    assert_eq!(heard.recv().unwrap(), Request::Kill { number });
}

#[test]
fn who_waits_for_a_sandbox_can_be_cancelled() {
    let (stand, heard) = slow();
    let (asked, number) = asked(&stand, &heard);
    let canceller = asked.canceller();
    let waits = std::thread::spawn(move || asked.begin());
    canceller.cancel();
    assert_eq!(heard.recv().unwrap(), Request::Kill { number });
    let error = waits.join().unwrap().unwrap_err();
    assert!(matches!(error, UdfError::Cancelled), "{error}");
}

#[test]
fn who_waits_too_long_has_it_ended() {
    let (stand, heard) = slow();
    let environment = Environment::of("/usr/bin/python3");
    let options = Options {
        open_timeout: Duration::from_millis(20),
        ..Options::default()
    };
    let error = stand
        .broker
        .begin(&environment, &function(Kind::Scalar), options)
        .unwrap_err();
    assert!(error.to_string().contains("within 20ms"), "{error}");
    let asked = heard.recv().unwrap();
    assert!(matches!(asked, Request::Open(_)), "{asked:?}");
    let ended = heard.recv().unwrap();
    assert!(matches!(ended, Request::Kill { .. }), "{ended:?}");
}
