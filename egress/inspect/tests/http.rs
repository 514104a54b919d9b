//! HTTP/1 requests, whole and in pieces; hostile ones by table.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_egress_inspect::{Inspector, Progress, Refusal};
use lakekeep_egress_rules::Streams;

const HTTP: Streams = Streams {
    http: true,
    ..Streams::NONE
};

fn inspector(streams: Streams) -> Inspector {
    Inspector::new("a.example".parse().unwrap(), streams)
}

fn whole(bytes: &[u8]) -> (Result<Progress, Refusal>, Vec<u8>) {
    let mut onward = Vec::new();
    let result = inspector(HTTP).client(bytes, &mut onward);
    (result, onward)
}

fn bytewise(bytes: &[u8]) -> (Result<Progress, Refusal>, Vec<u8>) {
    let (mut inspector, mut onward) = (inspector(HTTP), Vec::new());
    let mut last = Ok(Progress::Inspect);
    for byte in bytes.chunks(1) {
        last = inspector.client(byte, &mut onward);
        if last.is_err() {
            break;
        }
    }
    (last, onward)
}

const GET: &str = "GET /simple/ HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn requests_for_the_name_pass_unchanged() {
    let passing = [
        GET.to_owned(),
        "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhOST:\t A.Example:80 \r\nAccept: */*\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        "GET http://a.example/x?y=http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        "PROPFIND /dav HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /{GET}"),
        format!(
            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nGET /\r\na;x=y\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n{GET}"
        ),
        GET.repeat(20),
    ];
    for text in passing {
        let (result, onward) = whole(text.as_bytes());
        assert_eq!(
            (result, onward.as_slice()),
            (Ok(Progress::Inspect), text.as_bytes()),
            "{text}"
        );
        let (result, onward) = bytewise(text.as_bytes());
        assert_eq!(
            (result, onward.as_slice()),
            (Ok(Progress::Inspect), text.as_bytes()),
            "{text}, byte by byte"
        );
    }
}

/// Whatever stands before it, a request for another host is refused and nothing of it goes on.
#[test]
fn every_request_of_a_connection_is_looked_at() {
    let before = [
        GET.to_owned(),
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    for before in before {
        let both = format!("{before}GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
        for (result, onward) in [whole(both.as_bytes()), bytewise(both.as_bytes())] {
            assert!(
                matches!(result, Err(Refusal::Host { .. })),
                "{before}: {result:?}"
            );
            assert_eq!(onward, before.as_bytes());
        }
    }
}

const HOSTILE: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example.b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example@b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: b.example#a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example/b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example:80:81\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example:x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /\r\n\r\n",
    "GET\t/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "GET\u{b}/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "GET\u{c}/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET\0/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "get / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "FOO / http/1.1\r\nHost: b.example\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET / x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: b.example\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nX: y\r\n Host: b.example\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\n\tb.example\r\n\r\n",
    "GET / HTTP/1.1\nHost: a.example\n\n",
    "GET / HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nX: y\rHost: b.example\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nX: \0\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nno colon\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\n: a.example\r\nHost: a.example\r\n\r\n",
    "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET http://a.example@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET HTTP://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET https://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET @b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "connect b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket, h2c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: host\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close, Transfer-Encoding\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1, 1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1 1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length:\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9223372036854775808\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 99999999999999999999\r\n\r\n",
];

#[test]
fn hostile_heads_are_refused_without_a_byte() {
    assert!(HOSTILE.len() >= 60);
    for text in HOSTILE {
        for (result, onward) in [whole(text.as_bytes()), bytewise(text.as_bytes())] {
            let refusal = result.expect_err(text);
            assert!(onward.is_empty(), "{text:?}: {refusal}");
            let told = refusal.to_string();
            assert!(
                told.contains("; ") && !told.contains(char::is_control),
                "{text:?}: {told}"
            );
        }
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn hostile_chunks_are_refused() {
    let hostile = [
        "5\r\nabcdeGET",
        "3\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n",
        "+3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "\r\n",
        ";x\r\n",
        "g\r\n",
        "-1\r\n",
        "1000000000000000\r\n",
        "3;x\ry\r\nabc\r\n",
        "3;\0\r\nabc\r\n",
        "3\r\nabc\n\r0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0\r\nHost: b.example\r\n\r\n",
        "0\r\ncontent-length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nnothing\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ];
    for body in hostile {
        let text = format!("{CHUNKED}{body}");
        for (result, onward) in [whole(text.as_bytes()), bytewise(text.as_bytes())] {
            assert!(
                matches!(result, Err(Refusal::Http(_))),
                "{body:?}: {result:?}"
            );
            assert!(!onward.ends_with(b"GET"), "{body:?}");
        }
    }
    let long = format!("{CHUNKED}3;{}\r\n", "x".repeat(400));
    assert!(whole(long.as_bytes()).0.is_err());
    let trailers = format!("{CHUNKED}0\r\n{}", "X-Y: zzzzzzzz\r\n".repeat(1000));
    assert!(whole(trailers.as_bytes()).0.is_err());
}

#[test]
fn heads_are_bounded() {
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nX: {}",
        "y".repeat(40_000)
    );
    assert!(whole(long.as_bytes()).0.is_err());
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    assert!(whole(many.as_bytes()).0.is_err());
    let line = format!("GET /{}", "y".repeat(10_000));
    assert!(matches!(whole(line.as_bytes()).0, Err(Refusal::TooLong(_))));
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

#[test]
fn an_upgrade_waits_for_the_servers_word() {
    let frame = b"\x81\x85GET /";
    for (answer, then) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            Some(Progress::Opaque),
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101\r\n\r\n",
            Some(Progress::Opaque),
        ),
        ("HTTP/1.1 200 OK\r\n", None),
        ("HTTP/1.1 1010 OK\r\n", None),
        ("HTTP/1.0 101 OK\r\n", None),
        ("garbage\r\n", None),
    ] {
        let (mut inspector, mut onward) = (inspector(HTTP), Vec::new());
        assert_eq!(
            inspector.client(UPGRADE.as_bytes(), &mut onward),
            Ok(Progress::AwaitServer)
        );
        assert_eq!(
            inspector.client(frame, &mut onward),
            Ok(Progress::AwaitServer)
        );
        assert_eq!(onward, UPGRADE.as_bytes(), "what follows waits");
        let mut last = Ok(Progress::AwaitServer);
        for byte in answer.as_bytes().chunks(1) {
            if last == Ok(Progress::AwaitServer) {
                last = inspector.server(byte, &mut onward);
            }
        }
        match then {
            Some(progress) => {
                assert_eq!(last, Ok(progress), "{answer}");
                assert!(onward.ends_with(frame));
            }
            // The frame is then no request.
            None => {
                assert_eq!(last, Ok(Progress::Inspect), "{answer}");
                assert!(inspector.client(b"\r\n\r\n", &mut onward).is_err());
                assert_eq!(onward, UPGRADE.as_bytes(), "{answer}");
            }
        }
    }
}

#[test]
fn a_refused_upgrade_is_followed_by_requests_for_the_name() {
    let (mut inspector, mut onward) = (inspector(HTTP), Vec::new());
    inspector.client(UPGRADE.as_bytes(), &mut onward).unwrap();
    inspector.client(GET.as_bytes(), &mut onward).unwrap();
    assert_eq!(
        inspector.server(b"HTTP/1.1 426 No\r\n", &mut onward),
        Ok(Progress::Inspect)
    );
    assert!(onward.ends_with(GET.as_bytes()));
    assert!(
        inspector
            .client(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", &mut onward)
            .is_err()
    );
    let late = format!("{GET}{UPGRADE}");
    assert!(matches!(whole(late.as_bytes()).0, Err(Refusal::Http(_))));
}

/// (first bytes, what they are for a rule that says `tcp`)
const KINDS: &[(&[u8], &str)] = &[
    (b"\0\0\0\x08\x04\xd2\x16\x2f", "other"),
    (b"*1\r\n$4\r\nPING\r\n", "other"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "other"),
    (b"EHLO sandbox\r\n", "other"),
    (b"get some_key\r\n", "other"),
    (b"AMQP\0\0\x09\x01", "other"),
    (b"\x3a\0\0\0\x01", "other"),
    (b"\x16\x04", "other"),
    (b"\x81\0\0\0", "other"),
    (b"JDWP-Hand", "more"),
    (b"G", "more"),
    (b"\x16", "more"),
    (b"", "more"),
    (b"GET / HTTP/1.1\r\nHost: a.example\r\n", "more"),
    (b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "refused"),
    (b"BREW /pot Http/1.1\r\nHost: b.example\r\n\r\n", "refused"),
    (b"GET /index\r\n\r\n", "refused"),
    (b"\x15\x03\x01\0\x02\x01\0", "refused"),
];

#[test]
fn a_stream_is_what_its_first_bytes_say() {
    for (bytes, kind) in KINDS {
        let (mut inspector, mut onward) = (inspector(Streams::HELD), Vec::new());
        let kind_of = match inspector.client(bytes, &mut onward) {
            Ok(Progress::Opaque) => "other",
            Ok(_) => "more",
            Err(_) => "refused",
        };
        assert_eq!(kind_of, *kind, "{}", bytes.escape_ascii());
        assert_eq!(onward, if *kind == "other" { *bytes } else { b"" });
    }
}

#[test]
fn a_stream_that_ends_undecided_is_something_else_or_refused() {
    for (bytes, passes) in [
        (&b"JDWP-Handshake"[..], true),
        (b"\x16", true),
        (b"GET /", false),
        (b"\x16\x03\x01", false),
        (b"", true),
    ] {
        let (mut inspector, mut onward) = (inspector(Streams::HELD), Vec::new());
        inspector.client(bytes, &mut onward).unwrap();
        assert_eq!(inspector.is_undecided(), !bytes.is_empty());
        assert_eq!(
            inspector.client_ended(&mut onward).is_ok(),
            passes,
            "{}",
            bytes.escape_ascii()
        );
        assert_eq!(onward, if passes { bytes } else { b"" });
    }
}

#[test]
fn streams_that_no_rule_allows_are_refused_and_unchecked_ones_pass() {
    let tls_only = Streams {
        tls: true,
        ..Streams::NONE
    };
    let mut onward = Vec::new();
    assert!(matches!(
        inspector(tls_only).client(GET.as_bytes(), &mut onward),
        Err(Refusal::Protocol { .. })
    ));
    assert!(matches!(
        inspector(HTTP).client(b"\x16\x03\x01", &mut onward),
        Err(Refusal::Protocol { .. })
    ));
    assert!(matches!(
        inspector(tls_only).client(b"\0\0", &mut onward),
        Err(Refusal::Protocol { .. })
    ));
    assert!(onward.is_empty());
    let other = b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
    assert_eq!(
        inspector(Streams::ANY).client(other, &mut onward),
        Ok(Progress::Opaque)
    );
    assert_eq!(onward, other);
}
