//! Packets that are no questions, and streams that are no messages.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
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

#[test]
fn hostile_packets_are_refused() {
    use Unanswerable::{Kind, Malformed, Operation, Silence, Version};
    let opt = |version: u8| [&[0, 0, 41, 4, 208, 0, version][..], &[0, 0, 0, 0]].concat();
    let name_of = |label: usize, count: usize| {
        let label = [&[label as u8][..], &vec![b'a'; label]].concat();
        [label.repeat(count), vec![0, 0, 1, 0, 1]].concat()
    };
    let cases: Vec<(&str, Vec<u8>, Unanswerable)> = vec![
        ("nothing", vec![], Silence),
        ("one byte", vec![0], Silence),
        (
            "eleven bytes",
            header(RD, [1, 0, 0, 0])[..11].to_vec(),
            Silence,
        ),
        (
            "an answer",
            with(header(0x8180, [1, 0, 0, 0]), A_EXAMPLE),
            Silence,
        ),
        (
            "an answer that refuses",
            with(header(0x8185, [1, 0, 0, 0]), A_EXAMPLE),
            Silence,
        ),
        (
            "an inverse query",
            with(header(0x0800, [1, 0, 0, 0]), A_EXAMPLE),
            Operation,
        ),
        (
            "a status",
            with(header(0x1000, [1, 0, 0, 0]), A_EXAMPLE),
            Operation,
        ),
        (
            "a notification",
            with(header(0x2000, [1, 0, 0, 0]), A_EXAMPLE),
            Operation,
        ),
        (
            "an update",
            with(header(0x2800, [1, 0, 0, 0]), A_EXAMPLE),
            Operation,
        ),
        (
            "operation 15",
            with(header(0x7800, [1, 0, 0, 0]), A_EXAMPLE),
            Operation,
        ),
        ("no question", header(RD, [0, 0, 0, 0]), Malformed),
        (
            "two questions",
            with(header(RD, [2, 0, 0, 0]), &A_EXAMPLE.repeat(2)),
            Malformed,
        ),
        (
            "65,535 questions",
            with(header(RD, [65_535, 0, 0, 0]), A_EXAMPLE),
            Malformed,
        ),
        (
            "an answer beside it",
            with(header(RD, [1, 1, 0, 0]), &A_EXAMPLE.repeat(2)),
            Malformed,
        ),
        (
            "65,535 answers",
            with(header(RD, [1, 65_535, 0, 0]), A_EXAMPLE),
            Malformed,
        ),
        (
            "an authority",
            with(header(RD, [1, 0, 1, 0]), A_EXAMPLE),
            Malformed,
        ),
        (
            "two additional records",
            with(
                header(RD, [1, 0, 0, 2]),
                &[A_EXAMPLE, &opt(0), &opt(0)].concat(),
            ),
            Malformed,
        ),
        (
            "a missing additional record",
            with(header(RD, [1, 0, 0, 1]), A_EXAMPLE),
            Malformed,
        ),
        (
            "an address beside it",
            with(
                header(RD, [1, 0, 0, 1]),
                &[A_EXAMPLE, b"\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x01\x01\x01"].concat(),
            ),
            Malformed,
        ),
        (
            "a question that is not there",
            header(RD, [1, 0, 0, 0]),
            Malformed,
        ),
        (
            "half a name",
            with(header(RD, [1, 0, 0, 0]), b"\x07exam"),
            Malformed,
        ),
        (
            "a name without an end",
            with(header(RD, [1, 0, 0, 0]), b"\x01a"),
            Malformed,
        ),
        (
            "no type",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0"),
            Malformed,
        ),
        (
            "no class",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0\x01"),
            Malformed,
        ),
        (
            "a pointer to itself",
            with(header(RD, [1, 0, 0, 0]), b"\xc0\x0c\0\x01\0\x01"),
            Malformed,
        ),
        (
            "a pointer forward",
            with(header(RD, [1, 0, 0, 0]), b"\xc0\x20\0\x01\0\x01"),
            Malformed,
        ),
        (
            "pointers in a ring",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\xc0\x0c\0\x01\0\x01"),
            Malformed,
        ),
        (
            "a label of 64",
            with(header(RD, [1, 0, 0, 0]), &name_of(64, 1)),
            Malformed,
        ),
        (
            "a label of kind 10",
            with(header(RD, [1, 0, 0, 0]), b"\x80a\0\0\x01\0\x01"),
            Malformed,
        ),
        (
            "a name of 256",
            with(header(RD, [1, 0, 0, 0]), &name_of(63, 4)),
            Malformed,
        ),
        (
            "a name of 128 labels",
            with(header(RD, [1, 0, 0, 0]), &name_of(1, 128)),
            Malformed,
        ),
        (
            "4,097 bytes",
            with(
                header(RD, [1, 0, 0, 0]),
                &[A_EXAMPLE, &[0; MAX_QUERY_BYTES]].concat(),
            ),
            Malformed,
        ),
        (
            "EDNS of version 1",
            with(header(RD, [1, 0, 0, 1]), &[A_EXAMPLE, &opt(1)].concat()),
            Version,
        ),
        (
            "any type",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0\xff\0\x01"),
            Kind,
        ),
        (
            "a transfer",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0\xfc\0\x01"),
            Kind,
        ),
        (
            "chaos",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0\x01\0\x03"),
            Kind,
        ),
        (
            "any class",
            with(header(RD, [1, 0, 0, 0]), b"\x01a\0\0\x01\0\xff"),
            Kind,
        ),
    ];
    for (what, packet, expected) in cases {
        let (code, outcome) = outcome(&packet);
        assert_eq!(outcome, Outcome::Unanswerable(expected), "{what}");
        assert_eq!(code.is_none(), expected == Silence, "{what}: {code:?}");
        assert_ne!(code, Some(ResponseCode::NoError), "{what}");
    }
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
