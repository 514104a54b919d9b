//! Who waits for an answer looks for it a while before it sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use lakekeep_udf_client::{Kind, Options, UdfError};
use stand::{RESULT, message, numbers, stand, verdict};

/// What the worker of a session with these options is told.
fn told(options: Options) -> u64 {
    let (sender, receiver) = mpsc::channel();
    let stand = stand(move |worker| {
        sender.send(worker.open()).unwrap();
        worker.linger();
        verdict("exit")
    });
    let _session = stand.session_with(Kind::Scalar, options).unwrap();
    receiver.recv().unwrap()["look_us"].as_u64().unwrap()
}

fn looking(look: Duration) -> Options {
    Options {
        look,
        ..Options::default()
    }
}

#[test]
fn the_worker_is_told_how_long_to_look() {
    let several = std::thread::available_parallelism().unwrap().get() > 1;
    let expected = |micros| if several { micros } else { 0 };
    assert_eq!(told(Options::default()), expected(250));
    assert_eq!(told(looking(Duration::from_millis(7))), expected(7000));
    assert_eq!(told(looking(Duration::ZERO)), 0);
    let mut scarce = Options::default();
    scarce.limits.cpu = Some(0.9);
    assert_eq!(told(scarce), 0);
}

#[test]
fn a_look_that_is_too_long_is_refused_before_there_is_a_sandbox() {
    let stand = stand(|_| panic!("a worker was made"));
    let error = stand.session_with(Kind::Scalar, looking(Duration::from_secs(2)));
    let error = error.unwrap_err();
    assert!(matches!(error, UdfError::BadFunction(_)), "{error}");
    assert!(error.to_string().contains("look"), "{error}");
}

#[test]
fn looking_ends_at_the_deadline() {
    let stand = stand(|worker| {
        worker.open();
        worker.linger();
        verdict("signal")
    });
    let options = Options {
        call_timeout: Some(Duration::from_millis(50)),
        ..looking(Duration::from_secs(1))
    };
    let mut session = stand.session_with(Kind::Scalar, options).unwrap();
    let since = Instant::now();
    let error = session.call(&numbers(vec![1])).unwrap_err();
    assert!(matches!(error, UdfError::TimedOut { .. }), "{error}");
    let took = since.elapsed();
    let whole = Duration::from_millis(50)..Duration::from_secs(1);
    assert!(whole.contains(&took), "{took:?}");
}

#[test]
fn answers_are_the_same_however_long_one_looks() {
    for look in [
        Duration::ZERO,
        Duration::from_micros(1),
        Duration::from_millis(50),
    ] {
        let stand = stand(|worker| {
            worker.open();
            loop {
                let call = worker.receive();
                if call.kind == 0 {
                    return verdict("exit");
                }
                worker.send(RESULT, call.call, 2, &message(&numbers(vec![3, 4])));
            }
        });
        let mut session = stand.session_with(Kind::Scalar, looking(look)).unwrap();
        for _ in 0..50 {
            let answer = session.call(&numbers(vec![1, 2])).unwrap();
            assert_eq!(answer.column(0), numbers(vec![3, 4]).column(0));
            assert!(session.alive());
        }
    }
}
