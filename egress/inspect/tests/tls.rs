//! Client hellos: a real client's, in every cut, and hostile ones by table.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use lakekeep_egress_inspect::{Inspector, MAX_HELD_BYTES, Progress, Refusal};
use lakekeep_egress_rules::Streams;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const TLS: Streams = Streams {
    tls: true,
    ..Streams::NONE
};

/// What a rustls client sends first.
fn real_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// The result of pieces that arrive one after the other, and what went on.
fn pieces<'a>(
    streams: Streams,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<Progress, Refusal>, Vec<u8>) {
    let mut inspector = Inspector::new("a.example".parse().unwrap(), streams);
    let (mut onward, mut last) = (Vec::new(), Ok(Progress::Inspect));
    for piece in pieces {
        last = inspector.client(piece, &mut onward);
        if last.is_err() {
            let again = inspector.client(b"more", &mut onward);
            assert_eq!(again, last, "a refusal is final");
            break;
        }
    }
    (last, onward)
}

fn whole(bytes: &[u8]) -> (Result<Progress, Refusal>, Vec<u8>) {
    pieces(TLS, [bytes])
}

#[test]
fn a_real_hello_passes_in_every_cut_and_only_whole() {
    let hello = real_hello("a.example");
    for cut in 1..hello.len() {
        let (first, onward) = pieces(TLS, [&hello[..cut]]);
        assert_eq!(
            (first, onward.len()),
            (Ok(Progress::Inspect), 0),
            "cut at {cut}"
        );
        let (both, onward) = pieces(Streams::HELD, [&hello[..cut], &hello[cut..]]);
        assert_eq!(
            (both, &onward),
            (Ok(Progress::Opaque), &hello),
            "cut at {cut}"
        );
    }
    let (bytewise, onward) = pieces(TLS, hello.chunks(1));
    assert_eq!((bytewise, onward), (Ok(Progress::Opaque), hello));
}

#[test]
fn a_real_hello_passes_over_any_number_of_records() {
    let hello = real_hello("a.example");
    let message = &hello[5..];
    for size in [1, 2, 3, 5, 50, 200] {
        let records: Vec<u8> = message
            .chunks(size)
            .flat_map(|part| record(22, part))
            .collect();
        let (result, onward) = whole(&records);
        assert_eq!(
            (result, onward),
            (Ok(Progress::Opaque), records),
            "records of {size}"
        );
    }
}

#[test]
fn a_real_hello_for_another_name_is_refused_without_a_byte() {
    for name in [
        "b.example",
        "a.example.org",
        "xa.example",
        "example",
        "a.a.example",
    ] {
        let (result, onward) = whole(&real_hello(name));
        assert!(
            matches!(result, Err(Refusal::ServerName { .. })),
            "{name}: {result:?}"
        );
        assert!(onward.is_empty());
    }
    let (result, _) = whole(&real_hello("192.0.2.1"));
    assert_eq!(
        result,
        Err(Refusal::NoServerName),
        "rustls sends no name for an address"
    );
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [&[kind, 3, 1, length[0], length[1]], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

fn entry(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind][..], &vector16(name)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector16(&entry(0, name)))
}

/// A hello's body with these extensions.
fn body(extensions: &[u8]) -> Vec<u8> {
    let head = [&[3, 3][..], &[7; 32], &[0], &vector16(&[0x13, 1]), &[1, 0]].concat();
    [head, vector16(extensions)].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[1, length[1], length[2], length[3]], body].concat()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    record(22, &message(&body(extensions)))
}

#[test]
fn well_formed_hellos_pass() {
    let grease = extension(0x0a0a, &[0]);
    let passing = [
        hello(&server_name(b"a.example")),
        hello(&server_name(b"A.Example")),
        hello(
            &[
                grease.clone(),
                server_name(b"a.example"),
                extension(16, b"\0\x03\x02h2"),
            ]
            .concat(),
        ),
        hello(&[server_name(b"a.example"), grease].concat()),
        [
            hello(&server_name(b"a.example")),
            record(20, &[1]),
            record(23, b"early data"),
        ]
        .concat(),
    ];
    for bytes in passing {
        let (result, onward) = whole(&bytes);
        assert_eq!((result, onward), (Ok(Progress::Opaque), bytes));
    }
}

/// What it is, and the bytes.
type Case = (&'static str, Vec<u8>);

fn good() -> Vec<u8> {
    server_name(b"a.example")
}

/// Hellos whose server name is not the one name.
fn other_names() -> Vec<Case> {
    let two = [entry(0, b"a.example"), entry(0, b"b.example")].concat();
    let trailing = [vector16(&entry(0, b"a.example")), vec![0]].concat();
    let list = |content: &[u8]| hello(&extension(0, content));
    vec![
        (
            "no extensions at all",
            record(22, &message(&body(&good())[..41])),
        ),
        ("no server name", hello(&extension(16, b"\0\x03\x02h2"))),
        ("no server name and nothing", hello(&[])),
        ("another name", hello(&server_name(b"b.example"))),
        ("a name below", hello(&server_name(b"x.a.example"))),
        ("a dot at the end", hello(&server_name(b"a.example."))),
        (
            "a NUL in the name",
            hello(&server_name(b"a.example\0.b.example")),
        ),
        ("a space in the name", hello(&server_name(b"a.example "))),
        ("an empty name", hello(&server_name(b""))),
        (
            "a name beyond ASCII",
            hello(&server_name("ä.example".as_bytes())),
        ),
        ("an address", hello(&server_name(b"192.0.2.1"))),
        ("two names", list(&vector16(&two))),
        (
            "another kind of name",
            list(&vector16(&entry(1, b"a.example"))),
        ),
        ("an empty list of names", list(&vector16(&[]))),
        ("an empty extension", list(&[])),
        ("bytes after the list", list(&trailing)),
    ]
}

/// Hellos with the right name and extensions that hide another.
fn other_extensions() -> Vec<Case> {
    let beside = |more: &[u8]| hello(&[&good()[..], more].concat());
    vec![
        ("two extensions", beside(&server_name(b"b.example"))),
        ("the same extension twice", beside(&good())),
        ("an encrypted hello", beside(&extension(0xfe0d, &[0; 8]))),
        (
            "an encrypted hello first",
            hello(&[extension(0xfe0d, &[0; 8]), good()].concat()),
        ),
        ("an encrypted name", beside(&extension(0xffce, &[0; 8]))),
        ("an extension that is too long", beside(&[0, 5, 0, 9])),
    ]
}

/// Hellos that are none, or lie about a length.
fn other_hellos() -> Vec<Case> {
    let whole = message(&body(&good()));
    let random = [&[3, 3][..], &[7; 32]].concat();
    let of = |head: &[u8], rest: &[u8]| record(22, &message(&[&random, head, rest].concat()));
    let lying = {
        let mut bytes = whole.clone();
        bytes[3] = bytes[3].wrapping_add(1);
        record(22, &[bytes, vec![0]].concat())
    };
    vec![
        (
            "bytes after the extensions",
            record(22, &message(&[body(&good()), vec![0]].concat())),
        ),
        ("a message after the hello", record(22, &whole.repeat(2))),
        ("a length that lies", lying),
        (
            "a session id of 33 bytes",
            of(&[&[33][..], &[0; 33]].concat(), &body(&good())[35..]),
        ),
        ("no cipher suite", of(&[0, 0, 0, 1, 0], &vector16(&good()))),
        (
            "half a cipher suite",
            of(&[0, 0, 1, 9, 1, 0], &vector16(&good())),
        ),
        ("another message", record(22, &[2, 0, 0, 1, 0])),
        ("a hello of 64 KiB", record(22, &[1, 1, 0, 0])),
    ]
}

/// Streams whose records are no hello's.
fn other_records() -> Vec<Case> {
    let first = record(22, &message(&body(&good()))[..20]);
    let before = |first: Vec<u8>| [first, hello(&good())].concat();
    vec![
        ("an empty record", before(record(22, &[]))),
        (
            "a record of 16 KiB and one",
            record(22, &vec![1; (1 << 14) + 1]),
        ),
        (
            "another record within",
            [first, record(21, &[1, 0])].concat(),
        ),
        ("an alert first", before(record(21, &[1, 0]))),
        ("a change of cipher first", before(record(20, &[1]))),
        ("application data first", record(23, b"x")),
        (
            "version 2",
            vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10],
        ),
        (
            "a record of version 4",
            vec![22, 3, 1, 0, 1, 1, 22, 4, 1, 0, 1, 0],
        ),
        ("not TLS", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("not TLS either", vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
    ]
}

#[test]
fn hostile_hellos_are_refused() {
    let cases = [
        other_names(),
        other_extensions(),
        other_hellos(),
        other_records(),
    ]
    .concat();
    assert!(cases.len() >= 40);
    for (what, bytes) in cases {
        let (result, onward) = whole(&bytes);
        let Err(refusal) = result else {
            panic!("{what} passed");
        };
        assert!(onward.is_empty(), "{what}");
        let told = refusal.to_string();
        assert!(
            told.contains("; ") && !told.contains(char::is_control),
            "{what}: {told}"
        );
        // Byte by byte it is refused too.
        let (bytewise, onward) = pieces(TLS, bytes.chunks(1));
        assert!(
            bytewise.is_err() && onward.is_empty(),
            "{what}, byte by byte"
        );
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let endless: Vec<u8> = std::iter::repeat_n(record(22, &[1]), 1).flatten().collect();
    let mut inspector = Inspector::new("a.example".parse().unwrap(), TLS);
    let mut onward = Vec::new();
    let mut fed = 0;
    let ended = loop {
        fed += 6;
        // A hello of one byte a record, whose length allows for 32 KiB.
        let piece = if fed < 24 {
            [&endless[..5], &[[1, 0, 0x7f][fed / 6 - 1]]].concat()
        } else {
            record(22, &[9])
        };
        if let Err(refusal) = inspector.client(&piece, &mut onward) {
            break refusal;
        }
        assert!(fed <= MAX_HELD_BYTES + 6);
    };
    assert!(matches!(ended, Refusal::TooLong(_)), "{ended}");
    assert!(onward.is_empty());
}
