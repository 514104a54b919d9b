//! Workers that lie, over the real socket: each gives a typed error, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lakekeep_udf_client::{Kind, Options, UdfError};
use stand::{
    CRASHED, DONE, ERROR, OPENED, PART, PIECE, RESULT, Worker, header, message, numbers, quick,
    stand, verdict,
};

/// A worker that opens well, hears a call, and answers with what `lie` sends.
fn told(lie: impl Fn(&Worker) + Send + Sync + 'static) -> UdfError {
    let stand = stand(move |worker| {
        worker.open();
        worker.receive();
        lie(&worker);
        worker.linger();
        verdict("signal")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    let error = session.call(&numbers(vec![1, 2])).unwrap_err();
    assert!(!error.remedy().is_empty());
    // It is over, and says why.
    let after = session.call(&numbers(vec![1])).unwrap_err();
    assert!(matches!(&after, UdfError::Closed(_)), "{after}");
    assert!(!session.alive());
    error
}

fn violation(lie: impl Fn(&Worker) + Send + Sync + 'static) -> String {
    match told(lie) {
        UdfError::Protocol(rule) => rule,
        other => panic!("{other}"),
    }
}

fn good() -> Vec<u8> {
    message(&numbers(vec![10, 20]))
}

#[test]
fn a_worker_that_does_as_it_should_is_believed_as_far_as_checked() {
    let stand = stand(|worker| {
        let opening = worker.open();
        assert_eq!(opening["kind"], "scalar");
        assert_eq!(opening["format"], "pickle");
        for _ in 0..2 {
            let call = worker.receive();
            worker.send(RESULT, call.call, call.rows, &call.content);
        }
        worker.linger();
        verdict("exit")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    for values in [vec![1, 2, 3], vec![]] {
        let batch = numbers(values);
        assert_eq!(session.call(&batch).unwrap().column(0), batch.column(0));
    }
    // In the wrong way nothing is sent.
    let wrong = session
        .stream([Ok(numbers(vec![1]))])
        .next()
        .unwrap()
        .unwrap_err();
    assert!(wrong.to_string().contains("call or map"), "{wrong}");
    assert!(session.alive());
    assert_eq!(session.end().unwrap().verdict.kind, "exit");
}

#[test]
fn packets_that_are_no_frames_are_violations() {
    let rule = violation(|worker| worker.raw(b"short"));
    assert!(rule.contains("less than a header"), "{rule}");
    let rule = violation(|worker| {
        let mut header = header(RESULT, 0, 1, 0, 2);
        header[2] = 1;
        worker.raw(&header);
    });
    assert!(rule.contains("no frame has"), "{rule}");
    let rule = violation(|worker| worker.raw(&vec![RESULT; 24 + PIECE + 1]));
    assert!(rule.contains("larger"), "{rule}");
    let rule = violation(|worker| worker.raw(&header(RESULT, 0, 1, 8, 2)));
    assert!(rule.contains("declares 8"), "{rule}");
    for kind in [0, 1, 5, 6, 22, 255] {
        let rule = violation(move |worker| worker.send(kind, 1, 2, &good()));
        assert!(rule.contains("out of place"), "{rule}");
    }
}

#[test]
fn answers_that_nobody_asked_for_are_violations() {
    let rule = violation(|worker| worker.send(RESULT, 2, 2, &good()));
    assert!(rule.contains("call 2 instead of 1"), "{rule}");
    for kind in [OPENED, DONE] {
        let rule = violation(move |worker| worker.send(kind, 1, 0, b"{}"));
        assert!(rule.contains("instead of a result"), "{rule}");
    }
    let stand = stand(|worker| {
        worker.open();
        worker.send(RESULT, 1, 2, &good());
        worker.linger();
        verdict("signal")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    // It is on its way; a call before it has come would be refused for it.
    while session.alive() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn no_descriptor_is_ever_taken() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for place in [0, 2] {
        let rule = violation(move |worker| {
            let bytes = [&header(RESULT, place, 1, 8, 2)[..], b"12345678"].concat();
            worker.send_with(&bytes, &[worker.socket.as_fd(), worker.stdout.as_fd()]);
        });
        assert!(rule.contains("descriptor"), "{rule}");
    }
    // Other tests of this process may have some meanwhile, but not these many more.
    assert!(open() < before + 64);
    let rule = violation(|worker| worker.raw(&header(RESULT, 2, 1, 1 << 20, 2)));
    assert!(rule.contains("in parts"), "{rule}");
}

#[test]
fn parts_are_of_one_frame_and_of_their_size() {
    let rule = violation(|worker| worker.send(PART, 1, 0, b"part"));
    assert!(rule.contains("part of no frame"), "{rule}");
    for length in [0, PIECE as u64, (256 << 20) + 1, u64::MAX] {
        let rule = violation(move |worker| worker.raw(&header(RESULT, 1, 1, length, 2)));
        assert!(rule.contains("in parts"), "{rule}");
    }
    let rule = violation(|worker| worker.raw(&header(ERROR, 1, 1, 1 << 20, 0)));
    assert!(rule.contains("in parts"), "{rule}");
    let rule = violation(|worker| {
        worker.raw(&header(RESULT, 1, 1, PIECE as u64 + 8, 2));
        worker.send(PART, 1, 0, &[0; 8]);
    });
    assert!(rule.contains("instead of 131080"), "{rule}");
    let rule = violation(|worker| {
        worker.raw(&header(RESULT, 1, 1, PIECE as u64 + 8, 2));
        worker.send(PART, 2, 0, &[0; PIECE]);
    });
    assert!(rule.contains("part of"), "{rule}");
    let rule = violation(|worker| {
        worker.raw(&header(RESULT, 1, 1, PIECE as u64 + 8, 2));
        worker.send(RESULT, 1, 2, &good());
    });
    assert!(rule.contains("out of place"), "{rule}");
}

#[test]
fn a_crash_between_parts_is_heard() {
    let error = told(|worker| {
        worker.raw(&header(RESULT, 1, 1, PIECE as u64 + 8, 2));
        worker.send(
            CRASHED,
            0,
            0,
            br#"{"signal": "SIGSEGV", "library": "/lib/x.so"}"#,
        );
    });
    let UdfError::Crashed(crash) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (crash.signal.as_str(), crash.library.as_str()),
        ("SIGSEGV", "/lib/x.so")
    );
}

#[test]
fn words_that_are_no_json_are_violations() {
    for words in [&b""[..], b"{", b"[]", &[0xff; 64], &[b'['; 60_000]] {
        let words = words.to_vec();
        violation(move |worker| worker.send(ERROR, 1, 0, &words));
    }
    let rule = violation(|worker| worker.send(ERROR, 1, 0, &[b' '; 65_537]));
    assert!(rule.contains("65536 are allowed"), "{rule}");
    let refused = stand(|worker| {
        for _ in 0..4 {
            worker.receive();
        }
        worker.send(OPENED, 0, 0, br#"{"version": 2}"#);
        worker.linger();
        verdict("signal")
    });
    let error = refused.session(Kind::Scalar).unwrap_err();
    assert!(matches!(error, UdfError::Protocol(_)), "{error}");
}

#[test]
fn rows_are_counted() {
    // Its own header says so, and the call does not.
    for rows in [0, 1, 3, u64::MAX] {
        let rule = violation(move |worker| {
            let content = message(&numbers(vec![7; usize::try_from(rows.min(9)).unwrap()]));
            worker.send(RESULT, 1, rows, &content);
        });
        assert!(rule.contains("declared as 2"), "{rule}");
    }
    let endless = stand(|worker| {
        worker.open();
        worker.receive();
        worker.send(RESULT, 1, 5, &message(&numbers(vec![1; 5])));
        worker.linger();
        verdict("signal")
    });
    let options = Options {
        max_rows: 4,
        ..quick()
    };
    let mut session = endless.session_with(Kind::Batches, options).unwrap();
    let error = session
        .stream([Ok(numbers(vec![1]))])
        .next()
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
}

#[test]
fn an_end_in_the_middle_is_explained_by_who_saw_it_from_outside() {
    let stand = stand(|worker| {
        worker.open();
        worker.receive();
        worker.raw(&header(RESULT, 1, 1, PIECE as u64 + 8, 2));
        let mut told = verdict("out_of_memory");
        told.limit = Some(1 << 20);
        told
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    let error = session.call(&numbers(vec![1, 2])).unwrap_err();
    let UdfError::OutOfMemory { limit, peak, rows } = error else {
        panic!("{error}");
    };
    assert_eq!((limit, peak, rows), (Some(1 << 20), Some(1 << 20), 2));
}

#[test]
fn a_flood_of_output_holds_nothing_up() {
    let stand = stand(|mut worker| {
        worker.open();
        let call = worker.receive();
        for _ in 0..64 {
            worker.stdout.write_all(&[b'o'; 1 << 16]).unwrap();
            worker.stderr.write_all(&[b'e'; 1 << 16]).unwrap();
        }
        worker.send(RESULT, call.call, call.rows, &call.content);
        worker.linger();
        verdict("exit")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    session.call(&numbers(vec![1])).unwrap();
    let output = session.output();
    assert!(
        output.len() < 66_000 && output.contains("more bytes"),
        "{}",
        output.len()
    );
}

#[test]
fn endless_output_does_not_outlast_the_time_of_a_call() {
    let stand = stand(|mut worker| {
        worker.open();
        while worker.stdout.write_all(&[b'o'; 1 << 16]).is_ok() {}
        verdict("signal")
    });
    let options = Options {
        call_timeout: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    let mut session = stand.session_with(Kind::Scalar, options).unwrap();
    let error = session.call(&numbers(vec![1])).unwrap_err();
    assert!(matches!(error, UdfError::TimedOut { .. }), "{error}");
}

#[test]
fn a_call_is_cancelled_from_another_thread() {
    let stand = stand(|worker| {
        worker.open();
        worker.linger();
        verdict("signal")
    });
    let options = Options::default();
    let mut session = stand.session_with(Kind::Scalar, options).unwrap();
    let canceller = session.canceller();
    let cancelled = std::thread::spawn(move || canceller.cancel());
    let error = session.call(&numbers(vec![1])).unwrap_err();
    cancelled.join().unwrap();
    assert!(matches!(error, UdfError::Cancelled), "{error}");
    assert!(error.retryable());
}

#[test]
fn both_ways_are_held_up_and_neither_waits_for_the_other() {
    // It reads nothing before it has sent more than any buffer takes.
    let sent = Arc::new(AtomicBool::new(false));
    let seen = sent.clone();
    let stand = stand(move |worker| {
        worker.open();
        let big = message(&numbers(vec![1; 8_000]));
        for _ in 0..200 {
            worker.send(RESULT, 1, 8_000, &big);
        }
        seen.store(true, Ordering::SeqCst);
        let mut rows = 0;
        loop {
            let packet = worker.receive();
            match packet.kind {
                5 => rows += packet.rows,
                _ => break,
            }
        }
        assert_eq!(rows, 200 * 8_000);
        worker.send(DONE, 1, 0, b"");
        worker.linger();
        verdict("exit")
    });
    let mut session = stand.session(Kind::Batches).unwrap();
    let input = (0..200).map(|_| Ok(numbers(vec![2; 8_000])));
    let rows: usize = session
        .stream(input)
        .map(|batch| batch.unwrap().num_rows())
        .sum();
    assert_eq!(rows, 200 * 8_000);
    assert!(sent.load(Ordering::SeqCst) && session.alive());
}

#[test]
fn a_stream_is_given_and_taken_by_two_threads() {
    let stand = stand(|worker| {
        worker.open();
        loop {
            let packet = worker.receive();
            match packet.kind {
                5 => worker.send(RESULT, packet.call, packet.rows, &packet.content),
                6 => worker.send(DONE, packet.call, 0, b""),
                _ => return verdict("exit"),
            }
        }
    });
    let mut session = stand.session(Kind::Batches).unwrap();
    for _ in 0..2 {
        let (mut input, results) = session.duplex().unwrap();
        let rows: usize = std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..300 {
                    input.send(&numbers(vec![3; 4_000])).unwrap();
                }
                input.finish().unwrap();
            });
            results.map(|batch| batch.unwrap().num_rows()).sum()
        });
        assert_eq!(rows, 300 * 4_000);
    }
    let (input, mut results) = session.duplex().unwrap();
    drop(input);
    assert!(results.next().unwrap().is_err());
}

#[test]
fn calls_are_sent_ahead_and_answered_in_order() {
    let stand = stand(|worker| {
        worker.open();
        // Nothing is answered before three are there.
        let first: Vec<_> = (0..3).map(|_| worker.receive()).collect();
        for call in first {
            worker.send(RESULT, call.call, call.rows, &call.content);
        }
        loop {
            let call = worker.receive();
            if call.kind != 5 {
                return verdict("exit");
            }
            worker.send(RESULT, call.call, call.rows, &call.content);
        }
    });
    let options = Options {
        ahead: 3,
        ..quick()
    };
    let mut session = stand.session_with(Kind::Scalar, options).unwrap();
    let batches = (0..9).map(|number| Ok(numbers(vec![number])));
    let answers: Vec<_> = session.map(batches).map(Result::unwrap).collect();
    let expected: Vec<_> = (0..9).map(|number| numbers(vec![number])).collect();
    let columns = |of: &[arrow_array::RecordBatch]| -> Vec<_> {
        of.iter().map(|batch| batch.column(0).clone()).collect()
    };
    assert_eq!(columns(&answers), columns(&expected));
    assert!(session.alive());
    // What was sent ahead and not taken is nobody's.
    session
        .map((0..9).map(|number| Ok(numbers(vec![number]))))
        .next()
        .unwrap()
        .unwrap();
    assert!(!session.alive());
}

#[test]
fn a_broker_that_ends_takes_its_sessions_along() {
    let stand = stand(|worker| {
        worker.open();
        worker.linger();
        verdict("signal")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    drop(stand);
    let error = session.call(&numbers(vec![1])).unwrap_err();
    assert!(matches!(error, UdfError::Unavailable { .. }), "{error}");
    assert!(error.retryable());
}

#[test]
fn what_is_not_declared_is_not_sent() {
    let stand = stand(|worker| {
        worker.open();
        let call = worker.receive();
        worker.send(RESULT, call.call, call.rows, &call.content);
        worker.linger();
        verdict("exit")
    });
    let mut session = stand.session(Kind::Scalar).unwrap();
    let schema = arrow_schema::Schema::new(vec![arrow_schema::Field::new(
        "x",
        arrow_schema::DataType::Utf8,
        true,
    )]);
    let text: arrow_array::ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["a"]));
    let batch = arrow_array::RecordBatch::try_new(schema.into(), vec![text]).unwrap();
    let error = session.call(&batch).unwrap_err();
    assert!(matches!(error, UdfError::Input(_)), "{error}");
    // The worker has heard nothing of it, and the call numbers go on.
    session.call(&numbers(vec![4])).unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = lakekeep_udf_client::Broker::start("/no/such/lakekeep").unwrap_err();
    assert!(error.to_string().contains("/no/such/lakekeep"), "{error}");
    assert!(error.remedy().contains("install"), "{}", error.remedy());
    let error = lakekeep_udf_client::Broker::connect("/no/such/socket").unwrap_err();
    assert!(error.to_string().contains("/no/such/socket"), "{error}");
}
