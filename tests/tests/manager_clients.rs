//! Clients that do not do as they should: the manager goes on answering the others.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use lakekeep_api::v1::exec_request::Request as In;
use lakekeep_api::v1::{self, WhoAmIRequest};
use lakekeep_tests::manager::{ALICE, BOB, Code, Manager, Setup, channel, create, shell, wait};
use lakekeep_tests::{Privilege, eventually, slack};
use serde_json::Value;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

/// When a connection that has said nothing is closed, and what a busy host may take beyond.
const UNHEARD: Duration = Duration::from_secs(10 + 15);

/// The manager's resident memory, bytes.
fn memory(manager: &Manager) -> u64 {
    let pid = manager.pid().unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() << 10
}

fn goes_on(manager: &Manager, pid: i32) {
    let me = manager.bob().who_am_i(WhoAmIRequest::default()).unwrap();
    assert_eq!(me.user, BOB);
    assert_eq!(manager.pid(), Some(pid), "it was started again");
}

#[test]
fn what_is_not_a_request_ends_its_own_connection() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let Some(manager) = Setup::new().start("frames") else {
        return;
    };
    let pid = manager.pid().unwrap();
    let huge_frame: &[u8] = &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1];
    let headers_without_end: &[u8] = &[0, 0, 4, 1, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    let stream_zero: &[u8] = &[0, 0, 1, 0, 0, 0, 0, 0, 0, 7];
    let attempts: [&[&[u8]]; 7] = [
        &[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
        &[&[0; 4096]],
        &[PREFACE, SETTINGS, huge_frame, &[7; 65536]],
        &[PREFACE, SETTINGS, headers_without_end],
        &[PREFACE, SETTINGS, stream_zero],
        &[PREFACE, &[0xff; 1024]],
        &[PREFACE, SETTINGS, &[0, 0, 8, 6, 0, 0, 0, 0, 0], &[1; 3]],
    ];
    for (number, parts) in attempts.into_iter().enumerate() {
        let mut stream = manager.connection(ALICE);
        for part in parts {
            // It may be closed before all is written: that is the point.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        stream
            .shutdown(std::net::Shutdown::Write)
            .unwrap_or_default();
        let mut said = Vec::new();
        // To its end: it is the manager that closes.
        let _end = stream.read_to_end(&mut said);
        eprintln!("attempt {number}: {} bytes of answer", said.len());
        goes_on(&manager, pid);
    }
    manager.end();
}

#[test]
fn a_thousand_silent_connections_disturb_nobody() {
    let Some(manager) = Setup::new().start("silent") else {
        return;
    };
    let pid = manager.pid().unwrap();
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let before = memory(&manager);
    let silent: Vec<UnixStream> = (0..1000)
        .map(|_| UnixStream::connect(manager.socket()).unwrap())
        .collect();
    goes_on(&manager, pid);
    assert_eq!(alice.run(&sandbox, "echo well").success(), "well");
    let during = memory(&manager);
    assert!(
        during < before + (64 << 20),
        "{} KiB for each silent connection",
        (during - before) / 1024 / 1000
    );
    // As over TCP: each is closed when it has said nothing for long, and noted.
    for mut one in silent {
        one.set_read_timeout(Some(UNHEARD * slack())).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
    }
    goes_on(&manager, pid);
    eventually("all of them in the audit log", || {
        let counted = unheard(&manager);
        assert!(counted <= 1000, "{counted}");
        (counted == 1000).then_some(())
    });
    manager.end();
}

/// Connections of this host's users that said nothing for too long, as the audit log counts
/// them.
fn unheard(manager: &Manager) -> u64 {
    let asked = v1::QueryAuditRequest {
        action: "connect".to_owned(),
        outcome: "denied".to_owned(),
        ..v1::QueryAuditRequest::default()
    };
    let events = manager.root().audit(asked).unwrap().into_iter();
    let late = |event: &Value| event["reason"].as_str().unwrap().contains("HTTP/2 within");
    let counts = events.filter(late).map(|event| {
        assert!(event["extra"]["from"].as_str().unwrap().starts_with("uid "));
        match event["extra"]["count"].as_str() {
            Some(count) => count.parse().unwrap(),
            None => 1,
        }
    });
    counts.sum()
}

#[test]
fn who_never_reads_costs_no_memory() {
    let setup = Setup::new().personal("[limits.maximum]\noutput = \"512MiB\"\n");
    let Some(manager) = setup.start("never_reads") else {
        return;
    };
    let pid = manager.pid().unwrap();
    let alice = manager.alice();
    let sandbox = alice.sandbox(v1::CreateRequest {
        policy: "version = 1\n[limits]\noutput = \"512MiB\"\n".to_owned(),
        ..create()
    });
    let before = memory(&manager);
    let script = "head -c 67108864 /dev/zero; echo printed >&2; read line";
    let mut start = shell(&sandbox.id, script);
    start.detach = true;
    // Four that start a loud task each and never take a byte of it.
    let silent: Vec<_> = (0..4).map(|_| alice.exec(start.clone()).unwrap()).collect();
    let bob = manager.alice();
    for task in 1..=4 {
        let mut other = bob
            .attach(v1::AttachStart {
                sandbox: sandbox.id.clone(),
                task,
                stdout_offset: 0,
                read_only: true,
                ..v1::AttachStart::default()
            })
            .unwrap();
        other.until("all that is printed", |talk| !talk.stderr.is_empty());
    }
    let during = memory(&manager);
    assert!(
        during < before + (48 << 20),
        "{} MiB more with 256 MiB unread",
        (during - before) >> 20
    );
    goes_on(&manager, pid);
    drop(silent);
    manager.end();
}

#[test]
fn input_out_of_order_is_refused_and_what_is_known_is_passed_over() {
    let Some(manager) = Setup::new().start("stdin_order") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create()).id;
    let mut start = shell(&sandbox, "cat");
    start.detach = true;
    let mut talk = alice.exec(start).unwrap();
    talk.until("its start", |talk| talk.task > 0);
    talk.give(b"one ");
    // The same again, and a piece that overlaps: given once.
    talk.give_at(0, b"one ");
    talk.give_at(2, b"e two ");
    talk.prints("one two ");
    assert_eq!(talk.text(), "one two ");
    let task = talk.task;
    talk.give_at(100, b"gap");
    let refused = loop {
        match talk.step() {
            Ok(true) => {}
            Ok(false) => panic!("the stream ended without a word"),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason, "BAD_REQUEST", "{refused:?}");
    let attach = || v1::AttachStart {
        sandbox: sandbox.clone(),
        task,
        ..v1::AttachStart::default()
    };
    // A second start in the same stream is none.
    let mut talk = alice.attach(attach()).unwrap();
    talk.say_anything(In::Start(Box::new(shell(&sandbox, "true"))));
    let refused = loop {
        match talk.step() {
            Ok(true) => {}
            Ok(false) => panic!("the stream ended without a word"),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason, "BAD_REQUEST", "{refused:?}");
    // Beyond what was printed there is nothing to attach to.
    let mut far = attach();
    far.stdout_offset = 1 << 40;
    let far = alice
        .attach(far)
        .and_then(lakekeep_tests::manager::Talk::finish);
    assert_eq!(far.unwrap_err().reason, "OUTPUT_GONE");
    let mut talk = alice.attach(attach()).unwrap();
    talk.until("its start", |talk| talk.accepted == 8);
    talk.give(b"three");
    talk.end_input();
    let done = talk.finish().unwrap();
    assert_eq!(done.text(), "one two three");
    manager.end();
}

#[test]
fn health_and_reflection_answer_and_what_is_no_method_is_noted() {
    let Some(manager) = Setup::new().start("services") else {
        return;
    };
    let open = || channel(manager.connection(ALICE));
    let mut health = HealthClient::new(open());
    let asked = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["", "lakekeep.v1.Sandboxes", "lakekeep.v1.Accounts"] {
        let answer = wait("health", health.check(asked(service)));
        let status = answer.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(open());
    let stream = reflection.server_reflection_info(tokio_stream::iter([list]));
    let mut stream = wait("reflection", stream).unwrap().into_inner();
    let answer = wait("its answer", stream.message()).unwrap().unwrap();
    let answer = format!("{answer:?}");
    for service in ["lakekeep.v1.Sandboxes", "lakekeep.v1.Accounts"] {
        assert!(answer.contains(service), "{answer}");
    }
    // Whoever asks for what there is not was not asked who it is.
    let unknown = wait("health", health.check(asked("nothing"))).unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let log = manager.root().audit(v1::QueryAuditRequest::default());
    let noted = |event: &serde_json::Value| {
        event["action"] == "unknown_method" && event["who"] == "?" && event["outcome"] == "denied"
    };
    assert!(log.unwrap().iter().any(noted));
    manager.end();
}

#[test]
fn systemd_hands_it_the_socket_and_hears_when_it_is_ready() {
    let setup = Setup::new().activated();
    let path = setup.place().dir("m", Privilege::Root).join("notify");
    let notified = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    notified
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let Some(manager) = setup.start("systemd") else {
        return;
    };
    let mut word = [0; 64];
    let length = notified.recv(&mut word).unwrap();
    assert_eq!(&word[..length], b"READY=1");
    let me = manager.alice().who_am_i(WhoAmIRequest::default()).unwrap();
    assert_eq!(me.user, ALICE);
    manager.end();
}
