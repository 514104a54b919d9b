//! Every form of an address that has carried somebody past a firewall, and what becomes
//! of it: in a rule's text, and as what a name resolved to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use core::net::IpAddr;

use lakekeep_egress_rules::{
    Destination, EgressDoc, Guard, HostName, Level, Reason, Rule, Ruleset, Special, Transport,
    Verdict,
};

/// What becomes of an address that an allowed name resolved to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It is connected to.
    Public,
    /// Refused, until a rule names it.
    Named(Special),
    /// Refused, whatever rule names it.
    Never(Special),
}
use Then::{Named, Never, Public};

const RESOLVED: &[(&str, Then)] = &[
    ("1.1.1.1", Public),
    ("93.184.215.14", Public),
    ("172.15.255.255", Public),
    ("172.32.0.0", Public),
    ("100.63.255.255", Public),
    ("100.128.0.0", Public),
    ("169.253.255.255", Public),
    ("198.20.0.0", Public),
    ("223.255.255.255", Public),
    ("2606:4700::1111", Public),
    ("2a00:1450:4001::200e", Public),
    ("::ffff:1.1.1.1", Public),
    ("64:ff9b::1.1.1.1", Public),
    ("169.254.169.254", Never(Special::Metadata)),
    ("169.254.170.2", Never(Special::Metadata)),
    ("169.254.169.253", Never(Special::Metadata)),
    ("100.100.100.200", Never(Special::Metadata)),
    ("168.63.129.16", Never(Special::Metadata)),
    ("192.0.0.192", Never(Special::Metadata)),
    ("fd00:ec2::254", Never(Special::Metadata)),
    ("fd00:ec2::23", Never(Special::Metadata)),
    ("fd20:ce::254", Never(Special::Metadata)),
    ("::ffff:169.254.169.254", Never(Special::Metadata)),
    ("64:ff9b::169.254.169.254", Never(Special::Metadata)),
    ("::169.254.169.254", Never(Special::Transition)),
    ("2002:a9fe:a9fe::1", Never(Special::Transition)),
    ("0.0.0.0", Never(Special::Unspecified)),
    ("0.1.2.3", Never(Special::Unspecified)),
    ("::", Never(Special::Unspecified)),
    ("::ffff:0.0.0.0", Never(Special::Unspecified)),
    ("127.0.0.1", Named(Special::Loopback)),
    ("127.255.255.254", Named(Special::Loopback)),
    ("::1", Named(Special::Loopback)),
    ("::ffff:127.0.0.1", Named(Special::Loopback)),
    ("64:ff9b::127.0.0.1", Named(Special::Loopback)),
    ("::127.0.0.1", Never(Special::Transition)),
    ("::ffff:0:127.0.0.1", Never(Special::Transition)),
    ("2002:7f00:1::", Never(Special::Transition)),
    ("10.0.0.1", Named(Special::Private)),
    ("172.16.0.1", Named(Special::Private)),
    ("172.31.255.255", Named(Special::Private)),
    ("192.168.1.1", Named(Special::Private)),
    ("::ffff:192.168.1.1", Named(Special::Private)),
    ("64:ff9b::10.0.0.1", Named(Special::Private)),
    ("64:ff9b:1::10.0.0.1", Never(Special::Transition)),
    ("64:ff9b:1:a00:0:100::", Never(Special::Transition)),
    ("2002:a00:1::1", Never(Special::Transition)),
    ("2002:101:101::1", Never(Special::Transition)),
    ("2001:0:101:101::", Never(Special::Transition)),
    ("2001:0:101:101:0:0:f5ff:fffe", Never(Special::Transition)),
    ("2606:4700::5efe:10.0.0.1", Never(Special::Transition)),
    ("2606:4700::200:5efe:1.1.1.1", Never(Special::Transition)),
    ("100.64.0.1", Named(Special::Shared)),
    ("100.127.255.255", Named(Special::Shared)),
    ("169.254.1.1", Named(Special::LinkLocal)),
    ("fe80::1", Named(Special::LinkLocal)),
    ("febf::1", Named(Special::LinkLocal)),
    ("fec0::1", Named(Special::SiteLocal)),
    ("fc00::1", Named(Special::UniqueLocal)),
    ("fdff:ffff::1", Named(Special::UniqueLocal)),
    ("224.0.0.1", Never(Special::Multicast)),
    ("239.255.255.250", Never(Special::Multicast)),
    ("ff02::1", Never(Special::Multicast)),
    ("255.255.255.255", Never(Special::Broadcast)),
    ("240.0.0.1", Never(Special::Reserved)),
    ("192.0.0.8", Never(Special::Reserved)),
    ("192.88.99.1", Never(Special::Reserved)),
    ("100::1", Never(Special::Reserved)),
    ("4000::1", Never(Special::Reserved)),
    ("5f00::1", Never(Special::Reserved)),
    ("2001:10::1", Never(Special::Reserved)),
    ("192.0.2.1", Named(Special::Documentation)),
    ("198.51.100.1", Named(Special::Documentation)),
    ("203.0.113.1", Named(Special::Documentation)),
    ("2001:db8::1", Named(Special::Documentation)),
    ("3fff::1", Named(Special::Documentation)),
    ("198.18.0.1", Named(Special::Benchmarking)),
    ("198.19.255.255", Named(Special::Benchmarking)),
    ("2001:2::1", Named(Special::Benchmarking)),
    // The host's own, of which a rule must name each by itself.
    ("8.8.4.4", Named(Special::OwnHost)),
    ("::ffff:8.8.4.4", Named(Special::OwnHost)),
    ("64:ff9b::8.8.4.4", Named(Special::OwnHost)),
    ("10.9.9.9", Named(Special::OwnHost)),
    ("2606:4700::9", Named(Special::OwnHost)),
];

fn guard() -> Guard {
    Guard::new(["8.8.4.4", "10.9.9.9", "2606:4700::9"].map(address))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ruleset(rules: &[&str]) -> Ruleset {
    let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
    Ruleset::check(Level::User, &EgressDoc::from_lines("--egress", rules)).unwrap()
}

fn to(address: IpAddr) -> Destination {
    Destination {
        name: Some(HostName::parse("lying.example").unwrap()),
        address: Some(address),
        port: Some(443),
        transport: Transport::Tcp,
    }
}

/// What the address carries, if that is what a rule must name.
fn in_rule(resolved: IpAddr, reason: &Reason) -> String {
    let named = match reason {
        Reason::Guarded(_, guarded) => guarded.address,
        _ => resolved,
    };
    match named {
        IpAddr::V4(v4) => format!("allow tcp {v4}:443"),
        IpAddr::V6(v6) => format!("allow tcp [{v6}]:443"),
    }
}

#[test]
fn a_name_that_resolves_to_a_special_address_is_refused() {
    let by_name = ruleset(&[
        "allow tcp lying.example:443",
        "allow tcp 0.0.0.0/0:443",
        "allow tcp [::/0]:443",
    ]);
    for (text, then) in RESOLVED {
        let decision = by_name.decide(&to(address(text)), &guard());
        let told = match &decision.reason {
            Reason::Guarded(_, guarded) => Some(guarded.special),
            _ => None,
        };
        let expected = match then {
            Public => None,
            Named(special) | Never(special) => Some(*special),
        };
        assert_eq!(told, expected, "{text}: {decision}");
        assert_eq!(
            decision.verdict == Verdict::Allow,
            *then == Public,
            "{text}: {decision}"
        );
    }
    assert!(RESOLVED.len() >= 60);
}

#[test]
fn a_rule_that_names_the_address_reaches_it_unless_nothing_may() {
    for (text, then) in RESOLVED {
        let resolved = address(text);
        let refused = ruleset(&["allow tcp lying.example:443"]).decide(&to(resolved), &guard());
        let named = ruleset(&[
            "allow tcp lying.example:443",
            &in_rule(resolved, &refused.reason),
        ]);
        let decision = named.decide(&to(resolved), &guard());
        let reached = matches!(then, Public | Named(_));
        assert_eq!(decision.passes(), reached, "{text}: {decision}");
        if let Reason::Guarded(..) = refused.reason {
            assert!(!refused.remedy().is_empty(), "{text}");
        }
    }
}

/// A block names what is in it only if all of it is special; the host's own address is
/// named by no block.
#[test]
fn a_wide_block_names_no_special_address() {
    let wide = ruleset(&["allow tcp 0.0.0.0/1:443", "allow tcp 10.0.0.0/8:443"]);
    let passes = |text: &str| wide.decide(&to(address(text)), &guard()).passes();
    assert!(passes("10.1.2.3"));
    assert!(!passes("10.9.9.9"), "the host's own");
    assert!(!passes("127.0.0.1"));
    assert!(!passes("100.64.0.1"));
}

/// `off` and `dry-run` lift rules, and no guard.
#[test]
fn the_guard_holds_in_every_mode() {
    for mode in ["enforce", "dry-run", "off"] {
        let text = format!("version = 1\nmode = \"{mode}\"\n");
        let doc = EgressDoc::from_toml("e.toml", &text).unwrap();
        let rules = Ruleset::check(Level::User, &doc).unwrap();
        for special in [
            "169.254.169.254",
            "10.0.0.1",
            "::1",
            "8.8.4.4",
            "64:ff9b::7f00:1",
        ] {
            let decision = rules.decide(&to(address(special)), &guard());
            assert_eq!(decision.verdict, Verdict::Deny, "{mode}: {decision}");
        }
        let public = rules.decide(&to(address("1.1.1.1")), &guard());
        assert_eq!(public.passes(), mode != "enforce", "{mode}: {public}");
    }
}

/// A rule's text has one form for each address; any other is told, and none is guessed.
#[test]
fn other_forms_of_addresses_are_no_targets() {
    let forms = [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "017700000001",
        "0x7f.1",
        "127.0.0.01",
        "127.0.0.1.",
        "1.2.3",
        "1.2.3.4.5",
        "256.0.0.1",
        "127.0.0.0x1",
        "127.0.0.1/33",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "10.0.0.0/255.0.0.0",
        "[127.0.0.1]",
        "[::1",
        "[::1]x",
        "::1",
        "[fe80::1%eth0]",
        "[::1/129]",
        "[::g]",
        "[]",
        "2001:db8::1:443",
        "127。0。0。1",
        "１２７.0.0.1",
        "127.0.0.1:443:1",
        "[::ffff:127.0.0.1]:0",
    ];
    for form in forms {
        let rule = format!("allow tcp {form}");
        let error = rule.parse::<Rule>().unwrap_err();
        assert!(error.column >= 11, "{form}: {error}");
        assert!(
            !error.remedy.is_empty() && !error.cause.is_empty(),
            "{form}: {error}"
        );
    }
}

/// As an address is written, so is it denied: by a rule on the IPv4 that it carries.
#[test]
fn a_denied_address_is_denied_in_every_wrapping() {
    let rules = ruleset(&["allow tcp *:443", "deny tcp 1.1.1.0/24"]);
    for form in [
        "1.1.1.1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::",
        "::1.1.1.1",
    ] {
        let decision = rules.decide(&to(address(form)), &Guard::default());
        assert_eq!(decision.reason, Reason::Denied, "{form}: {decision}");
    }
    assert!(
        rules
            .decide(&to(address("1.1.2.1")), &Guard::default())
            .passes()
    );
}
