//! Packets that are no questions, and streams that are no messages.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use lakekeep_egress_names::Unanswerable::{Kind, Malformed, Operation, Silence, Version};
use lakekeep_egress_names::{
    Allowed, FrameError, Frames, MAX_QUERY_BYTES, Outcome, Unanswerable, Via, Zone, framed,
};
use lakekeep_egress_rules::Limits;

/// Identity, flags, and the four counts.
fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let words = [0xbeef, flags, counts[0], counts[1], counts[2], counts[3]];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const A_EXAMPLE: &[u8] = b"\x01a\x07example\0\0\x01\0\x01";
const RD: u16 = 0x0100;

fn with(head: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    [&head, rest].concat()
}

fn outcome(packet: &[u8]) -> (Option<ResponseCode>, Outcome) {
    let mut zone = Zone::new("fd00:0:0:1::".parse().unwrap(), &Limits::default()).unwrap();
    let answer = zone.answer(packet, Via::Udp, Duration::ZERO, |_| Allowed::Listed);
    let code = answer.packet.map(|packet| {
        let reply = Message::from_vec(&packet).unwrap();
        assert_eq!(reply.metadata.id, 0xbeef);
        assert!(packet.len() <= 1232 && reply.answers.len() <= 1);
        reply.metadata.response_code
    });
    (code, answer.outcome)
}

#[test]
fn a_plain_question_is_one() {
    let (code, outcome) = outcome(&with(header(RD, [1, 0, 0, 0]), A_EXAMPLE));
    assert_eq!(code, Some(ResponseCode::NoError));
    assert!(matches!(outcome, Outcome::Address(_)));
}

/// EDNS with no options; the version is the seventh byte.
const EDNS_1: &[u8] = b"\x01a\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\x01\0\0\0\0";
const EDNS_TWICE: &[u8] =
    b"\x01a\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0\0\0\x29\x04\xd0\0\0\0\0\0\0";
const ADDRESS_BESIDE: &[u8] =
    b"\x01a\x07example\0\0\x01\0\x01\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x01\x01\x01";

/// What it is, its flags, its counts, what follows, and what becomes of it.
type Case = (&'static str, u16, [u16; 4], &'static [u8], Unanswerable);

const HOSTILE: &[Case] = &[
    ("an answer", 0x8180, [1, 0, 0, 0], A_EXAMPLE, Silence),
    (
        "an answer that refuses",
        0x8185,
        [1, 0, 0, 0],
        A_EXAMPLE,
        Silence,
    ),
    (
        "an inverse query",
        0x0800,
        [1, 0, 0, 0],
        A_EXAMPLE,
        Operation,
    ),
    ("a status", 0x1000, [1, 0, 0, 0], A_EXAMPLE, Operation),
    ("a notification", 0x2000, [1, 0, 0, 0], A_EXAMPLE, Operation),
    ("an update", 0x2800, [1, 0, 0, 0], A_EXAMPLE, Operation),
    ("operation 15", 0x7800, [1, 0, 0, 0], A_EXAMPLE, Operation),
    ("no question", RD, [0, 0, 0, 0], b"", Malformed),
    (
        "two questions",
        RD,
        [2, 0, 0, 0],
        b"\x01a\0\0\x01\0\x01\x01a\0\0\x01\0\x01",
        Malformed,
    ),
    (
        "65,535 questions",
        RD,
        [65_535, 0, 0, 0],
        A_EXAMPLE,
        Malformed,
    ),
    (
        "an answer beside it",
        RD,
        [1, 1, 0, 0],
        ADDRESS_BESIDE,
        Malformed,
    ),
    (
        "65,535 answers",
        RD,
        [1, 65_535, 0, 0],
        A_EXAMPLE,
        Malformed,
    ),
    ("an authority", RD, [1, 0, 1, 0], ADDRESS_BESIDE, Malformed),
    (
        "two additional records",
        RD,
        [1, 0, 0, 2],
        EDNS_TWICE,
        Malformed,
    ),
    (
        "a missing additional record",
        RD,
        [1, 0, 0, 1],
        A_EXAMPLE,
        Malformed,
    ),
    (
        "an address beside it",
        RD,
        [1, 0, 0, 1],
        ADDRESS_BESIDE,
        Malformed,
    ),
    (
        "a question that is not there",
        RD,
        [1, 0, 0, 0],
        b"",
        Malformed,
    ),
    ("half a name", RD, [1, 0, 0, 0], b"\x07exam", Malformed),
    (
        "a name without an end",
        RD,
        [1, 0, 0, 0],
        b"\x01a",
        Malformed,
    ),
    ("no type", RD, [1, 0, 0, 0], b"\x01a\0\0", Malformed),
    ("no class", RD, [1, 0, 0, 0], b"\x01a\0\0\x01", Malformed),
    (
        "a pointer to itself",
        RD,
        [1, 0, 0, 0],
        b"\xc0\x0c\0\x01\0\x01",
        Malformed,
    ),
    (
        "a pointer forward",
        RD,
        [1, 0, 0, 0],
        b"\xc0\x20\0\x01\0\x01",
        Malformed,
    ),
    (
        "pointers in a ring",
        RD,
        [1, 0, 0, 0],
        b"\x01a\xc0\x0c\0\x01\0\x01",
        Malformed,
    ),
    (
        "a label of kind 10",
        RD,
        [1, 0, 0, 0],
        b"\x80a\0\0\x01\0\x01",
        Malformed,
    ),
    ("EDNS of version 1", RD, [1, 0, 0, 1], EDNS_1, Version),
    ("any type", RD, [1, 0, 0, 0], b"\x01a\0\0\xff\0\x01", Kind),
    ("a transfer", RD, [1, 0, 0, 0], b"\x01a\0\0\xfc\0\x01", Kind),
    ("chaos", RD, [1, 0, 0, 0], b"\x01a\0\0\x01\0\x03", Kind),
    ("any class", RD, [1, 0, 0, 0], b"\x01a\0\0\x01\0\xff", Kind),
];

fn refused(what: &str, packet: &[u8], expected: Unanswerable) {
    let (code, outcome) = outcome(packet);
    assert_eq!(outcome, Outcome::Unanswerable(expected), "{what}");
    assert_eq!(code.is_none(), expected == Silence, "{what}: {code:?}");
    assert_ne!(code, Some(ResponseCode::NoError), "{what}");
}

#[test]
fn hostile_packets_are_refused() {
    for (what, flags, counts, rest, expected) in HOSTILE {
        refused(what, &with(header(*flags, *counts), rest), *expected);
    }
    for length in [0, 1, 11] {
        refused("too short", &header(RD, [1, 0, 0, 0])[..length], Silence);
    }
}

#[test]
fn names_and_packets_beyond_their_sizes_are_refused() {
    let one = || header(RD, [1, 0, 0, 0]);
    let name = |label: usize, count: usize| {
        let label = [&[label as u8][..], &vec![b'a'; label]].concat();
        with(one(), &[label.repeat(count), vec![0, 0, 1, 0, 1]].concat())
    };
    refused("a label of 64", &name(64, 1), Malformed);
    refused("a name of 256", &name(63, 4), Malformed);
    refused("a name of 128 labels", &name(1, 128), Malformed);
    let long = [A_EXAMPLE, &[0; MAX_QUERY_BYTES]].concat();
    refused("4,097 bytes", &with(one(), &long), Malformed);
}

/// Bytes that no host's name has, and a dot that parts no labels.
#[test]
fn names_that_no_host_has_do_not_exist() {
    for name in [
        &b"\x03a\0b\0"[..],
        b"\x03a.b\0",
        b"\x03a b\0",
        b"\x01*\0",
        b"\x02\xc3\xa4\0",
        b"\x01\xff\0",
        b"\x011\0",
    ] {
        let packet = [&header(RD, [1, 0, 0, 0])[..], name, b"\0\x01\0\x01"].concat();
        let (code, outcome) = outcome(&packet);
        assert_eq!(
            (code, outcome),
            (Some(ResponseCode::NXDomain), Outcome::NoHost),
            "{}",
            name.escape_ascii()
        );
    }
}

/// Every prefix and every flipped bit of a good question has an answer or is met with
/// silence; none panics.
#[test]
fn broken_questions_are_survived() {
    let good = with(header(RD, [1, 0, 0, 0]), A_EXAMPLE);
    for cut in 0..good.len() {
        outcome(&good[..cut]);
    }
    for bit in 16..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        outcome(&bytes);
    }
}

#[test]
fn messages_come_out_of_a_stream_in_whatever_pieces() {
    let messages: Vec<Vec<u8>> = (12..40).map(|length| vec![length as u8; length]).collect();
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message).unwrap())
        .collect();
    for size in [1, 2, 3, 7, 64, stream.len()] {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for piece in stream.chunks(size) {
            frames.push(piece);
            while let Some(message) = frames.next_message().unwrap() {
                out.push(message);
            }
        }
        assert_eq!(out, messages, "pieces of {size}");
    }
}

#[test]
fn a_length_that_is_no_questions_ends_the_stream() {
    for length in [0u16, 1, 11, MAX_QUERY_BYTES as u16 + 1, u16::MAX] {
        let mut frames = Frames::default();
        frames.push(&length.to_be_bytes());
        assert_eq!(
            frames.next_message(),
            Err(FrameError::Length(length.into()))
        );
    }
    assert_eq!(framed(&vec![0; 65_536]), None);
}
