//! DNS packets of a sandbox's; the first byte says how they come, the rest is one packet
//! or a stream of them. An answer is no longer than may be, and no question is answered
//! with more than the name's own address.
#![no_main]

use std::time::Duration;

use lakekeep_egress_names::{Allowed, Answer, Frames, Outcome, Via, Zone};
use lakekeep_egress_rules::{HostName, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        names: 4,
        new_names_per_minute: 3,
        ..Limits::default()
    };
    let mut zone =
        Zone::new("fd00:0:0:1::".parse().expect("a prefix"), &limits).expect("a local prefix");
    if choice % 2 == 0 {
        return check(
            &zone.answer(rest, Via::Udp, Duration::ZERO, rules),
            rest,
            1232,
        );
    }
    let mut frames = Frames::default();
    for piece in rest.chunks(usize::from(choice) + 1) {
        frames.push(piece);
        loop {
            match frames.next_message() {
                Ok(Some(message)) => {
                    let answer = zone.answer(&message, Via::Tcp, Duration::from_secs(1), rules);
                    check(&answer, &message, 65_535);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(zone.names().len() <= 4);
});

fn rules(name: &HostName) -> Allowed {
    match name.as_str().len() % 3 {
        0 => Allowed::Listed,
        1 => Allowed::Unlisted,
        _ => Allowed::Denied,
    }
}

fn check(answer: &Answer, asked: &[u8], most: usize) {
    let Some(packet) = &answer.packet else {
        assert!(matches!(answer.outcome, Outcome::Unanswerable(_)));
        return;
    };
    assert!((12..=most).contains(&packet.len()));
    assert_eq!(packet[..2], asked[..2], "the question's identity");
    assert_eq!(packet[2] & 0x80, 0x80, "an answer");
    let answers = u16::from_be_bytes([packet[6], packet[7]]);
    let records = matches!(answer.outcome, Outcome::Address(_) | Outcome::Pointer(_));
    assert_eq!(answers, u16::from(records), "{:?}", answer.outcome);
    if let Outcome::Address(name) = &answer.outcome {
        assert_ne!(rules(name), Allowed::Denied);
    }
}
