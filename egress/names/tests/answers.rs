//! Questions as clients ask them, and what they are answered.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use core::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use lakekeep_egress_names::{Allowed, Answer, Limit, Outcome, RESOLVER_V4, Via, Zone};
use lakekeep_egress_rules::{HostName, Limits};

const NOW: Duration = Duration::from_secs(5000);

fn zone(limits: &Limits) -> Zone {
    Zone::new("fd12:3456:789a:1::".parse().unwrap(), limits).unwrap()
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// `a.example` is listed, all below `w.example` is not.
fn rules(name: &HostName) -> Allowed {
    match name.as_str() {
        "a.example" => Allowed::Listed,
        name if name.ends_with(".w.example") => Allowed::Unlisted,
        _ => Allowed::Denied,
    }
}

fn ask(zone: &mut Zone, message: &Message, now: Duration) -> (Answer, Message) {
    let answer = zone.answer(&message.to_vec().unwrap(), Via::Udp, now, rules);
    let packet = answer.packet.clone().unwrap();
    assert!(packet.len() <= 512);
    let reply = Message::from_vec(&packet).unwrap();
    assert_eq!(reply.metadata.id, 0x1234);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    (answer, reply)
}

fn address(reply: &Message) -> Option<IpAddr> {
    match reply.answers.as_slice() {
        [] => None,
        [record] => match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            other => panic!("{other:?}"),
        },
        more => panic!("{more:?}"),
    }
}

#[test]
fn an_allowed_name_has_one_address_of_each_family_and_keeps_it() {
    let mut zone = zone(&Limits::default());
    let mut seen = Vec::new();
    for name in ["a.example.", "A.EXAMPLE.", "a.ExAmPlE."] {
        for kind in [RecordType::A, RecordType::AAAA] {
            let (answer, reply) = ask(&mut zone, &question(name, kind), NOW);
            assert_eq!(
                answer.outcome,
                Outcome::Address("a.example".parse().unwrap())
            );
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            // The question comes back as it was asked: clients compare its case.
            assert_eq!(reply.queries[0].name.to_ascii(), name);
            seen.push(address(&reply).unwrap());
        }
    }
    assert_eq!(seen[..2], seen[2..4]);
    assert_eq!(seen[..2], seen[4..]);
    for address in seen {
        assert_eq!(zone.names().name(address).unwrap().as_str(), "a.example");
    }
    assert_eq!(zone.names().name(IpAddr::V4(RESOLVER_V4)), None);
    assert_eq!(
        zone.names().name(IpAddr::V6(zone.names().resolver_v6())),
        None
    );
    assert_eq!(zone.names().len(), 1);
}

/// (name, type, what it is answered)
const TYPES: &[(&str, RecordType, ResponseCode)] = &[
    ("b.example.", RecordType::A, ResponseCode::NXDomain),
    ("b.example.", RecordType::TXT, ResponseCode::NXDomain),
    ("b.example.", RecordType::HTTPS, ResponseCode::NXDomain),
    ("x.a.example.", RecordType::A, ResponseCode::NXDomain),
    (".", RecordType::NS, ResponseCode::NXDomain),
    ("a\\.example.", RecordType::A, ResponseCode::NXDomain),
    ("169.254.169.254.", RecordType::A, ResponseCode::NXDomain),
    ("0x7f.1.", RecordType::A, ResponseCode::NXDomain),
    ("a.example.", RecordType::HTTPS, ResponseCode::NoError),
    ("a.example.", RecordType::SVCB, ResponseCode::NoError),
    ("a.example.", RecordType::TXT, ResponseCode::NoError),
    ("a.example.", RecordType::MX, ResponseCode::NoError),
    ("a.example.", RecordType::SRV, ResponseCode::NoError),
    ("a.example.", RecordType::CNAME, ResponseCode::NoError),
    ("a.example.", RecordType::NS, ResponseCode::NoError),
    ("a.example.", RecordType::SOA, ResponseCode::NoError),
    ("a.example.", RecordType::NULL, ResponseCode::NoError),
    (
        "a.example.",
        RecordType::Unknown(4242),
        ResponseCode::NoError,
    ),
    ("a.example.", RecordType::ANY, ResponseCode::Refused),
    ("a.example.", RecordType::AXFR, ResponseCode::Refused),
    ("a.example.", RecordType::IXFR, ResponseCode::Refused),
    (
        "1.0.18.198.in-addr.arpa.",
        RecordType::PTR,
        ResponseCode::NXDomain,
    ),
    (
        "1.1.1.1.in-addr.arpa.",
        RecordType::PTR,
        ResponseCode::NXDomain,
    ),
    ("198.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
    (
        "999.1.1.1.in-addr.arpa.",
        RecordType::PTR,
        ResponseCode::NXDomain,
    ),
    ("x.ip6.arpa.", RecordType::PTR, ResponseCode::NXDomain),
];

#[test]
fn every_other_question_has_an_answer_without_records() {
    let mut zone = zone(&Limits::default());
    for (name, kind, code) in TYPES {
        let (answer, reply) = ask(&mut zone, &question(name, *kind), NOW);
        assert_eq!(
            reply.metadata.response_code, *code,
            "{name} {kind}: {answer:?}"
        );
        assert!(reply.answers.is_empty(), "{name} {kind}");
    }
    assert!(zone.names().is_empty(), "nothing of it took an address");
}

#[test]
fn an_address_of_ours_has_its_name() {
    let mut zone = zone(&Limits::default());
    for kind in [RecordType::A, RecordType::AAAA] {
        let (_, reply) = ask(&mut zone, &question("a.example.", kind), NOW);
        let reverse = Name::from(address(&reply).unwrap());
        let (answer, reply) = ask(
            &mut zone,
            &question(&reverse.to_ascii(), RecordType::PTR),
            NOW,
        );
        assert_eq!(
            answer.outcome,
            Outcome::Pointer("a.example".parse().unwrap())
        );
        let RData::PTR(name) = &reply.answers[0].data else {
            panic!("{reply:?}");
        };
        assert_eq!(name.0.to_ascii(), "a.example.");
        let (_, reply) = ask(
            &mut zone,
            &question(&reverse.to_ascii(), RecordType::TXT),
            NOW,
        );
        assert_eq!(
            (reply.metadata.response_code, reply.answers.len()),
            (ResponseCode::NoError, 0)
        );
    }
}

#[test]
fn names_are_limited_and_those_that_are_known_stay() {
    let limits = Limits {
        names: 3,
        new_names_per_minute: 1000,
        ..Limits::default()
    };
    let mut zone = zone(&limits);
    let name = |n: usize| format!("n{n}.w.example.");
    for n in 0..3 {
        let (_, reply) = ask(&mut zone, &question(&name(n), RecordType::A), NOW);
        assert!(address(&reply).is_some());
    }
    let (answer, reply) = ask(&mut zone, &question(&name(3), RecordType::A), NOW);
    assert!(
        matches!(answer.outcome, Outcome::Limited(_, Limit::Names(_))),
        "{answer:?}"
    );
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let (_, reply) = ask(&mut zone, &question(&name(0), RecordType::AAAA), NOW);
    assert!(address(&reply).is_some());
}

#[test]
fn what_names_below_wildcards_can_say_is_limited() {
    let limits = Limits {
        new_names_per_minute: 8,
        ..Limits::default()
    };
    let mut zone = zone(&limits);
    let long = format!("{}.{}.w.example.", "a".repeat(63), "b".repeat(50));
    let mut outcome = |name: &str, now: Duration| {
        ask(&mut zone, &question(name, RecordType::A), now)
            .0
            .outcome
    };
    assert!(
        matches!(outcome(&long, NOW), Outcome::Address(_)),
        "four tokens"
    );
    let longer = format!("{}.{}.w.example.", "a".repeat(63), "b".repeat(60));
    assert!(matches!(
        outcome(&longer, NOW),
        Outcome::Limited(_, Limit::Length)
    ));
    for n in 0..4 {
        assert!(matches!(
            outcome(&format!("n{n}.w.example."), NOW),
            Outcome::Address(_)
        ));
    }
    assert!(matches!(
        outcome("n4.w.example.", NOW),
        Outcome::Limited(_, Limit::Rate)
    ));
    assert!(
        matches!(outcome("n0.w.example.", NOW), Outcome::Address(_)),
        "known"
    );
    assert!(
        matches!(outcome("a.example.", NOW), Outcome::Address(_)),
        "listed"
    );
    let later = NOW + Duration::from_millis(7500);
    assert!(matches!(
        outcome("n5.w.example.", later),
        Outcome::Address(_)
    ));
    assert!(matches!(
        outcome("n6.w.example.", later),
        Outcome::Limited(_, Limit::Rate)
    ));
}

#[test]
fn edns_is_answered_and_its_size_is_the_clients() {
    let mut zone = zone(&Limits::default());
    for (version, code) in [(0, ResponseCode::NoError), (1, ResponseCode::BADVERS)] {
        let mut message = question("a.example.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_version(version).set_max_payload(4096);
        message.set_edns(edns);
        let (_, reply) = ask(&mut zone, &message, NOW);
        // BADSIG has the same number.
        assert_eq!(
            u16::from(reply.metadata.response_code),
            u16::from(code),
            "version {version}"
        );
        assert_eq!(reply.edns.unwrap().max_payload(), 1232);
    }
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    let (_, reply) = ask(&mut zone, &chaos, NOW);
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn the_prefix_is_local() {
    for prefix in ["2001:db8::", "fe80::", "fc00::", "fd00::1", "::"] {
        let told = Zone::new(prefix.parse().unwrap(), &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(told.contains("; "), "{prefix}: {told}");
    }
}

#[test]
fn two_sandboxes_have_addresses_of_their_own() {
    let mut one = zone(&Limits::default());
    let (_, reply) = ask(&mut one, &question("a.example.", RecordType::AAAA), NOW);
    let other = Zone::new("fd12:3456:789a:2::".parse().unwrap(), &Limits::default()).unwrap();
    assert_eq!(other.names().name(address(&reply).unwrap()), None);
}
