//! What other rules would have changed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use core::net::IpAddr;

use lakekeep_egress_rules::{
    Change, Destination, EgressDoc, Guard, Level, PastFlow, Ruleset, Then, Transport, replay,
};
use proptest::prelude::*;

fn rules(level: Level, lines: &[&str]) -> Ruleset {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Ruleset::check(level, &EgressDoc::from_lines("--egress", lines)).unwrap()
}

fn user(lines: &[&str]) -> Ruleset {
    rules(Level::User, lines)
}

/// At port 443; `-` for what there is not.
fn flow(then: Then, name: &str, address: &str, rule: &str) -> PastFlow {
    let name = (name != "-").then_some(name);
    let address = (address != "-").then(|| address.parse().unwrap());
    PastFlow::of_log((name, address, Some(443)), then, Some(rule))
}

fn changed(flow: &PastFlow, lines: &[&str]) -> &'static str {
    match replay(flow, &user(lines), &Guard::default()) {
        Change::None => "none",
        Change::Breaks(_) => "breaks",
        Change::Narrows(_) => "narrows",
        Change::Opens(_) => "opens",
    }
}

#[test]
fn what_was_let_out_and_would_not_be_breaks() {
    let passed = flow(Then::Passed, "a.x", "1.1.1.1", "allow tcp a.x:443");
    assert_eq!(changed(&passed, &["allow tcp a.x"]), "none");
    assert_eq!(changed(&passed, &["allow tcp *.x:443"]), "none");
    assert_eq!(changed(&passed, &["allow tcp a.x:80"]), "breaks");
    assert_eq!(
        changed(&passed, &["allow tcp a.x", "deny tcp 1.1.0.0/16"]),
        "breaks"
    );
    // Its name would not be resolved, so its address is never asked about.
    assert_eq!(changed(&passed, &["allow tcp 1.1.1.1"]), "breaks");
    let failed = flow(Then::Failed, "a.x", "198.18.0.9", "allow tcp a.x:443");
    assert_eq!(changed(&failed, &["allow tcp a.x"]), "none");
    assert_eq!(changed(&failed, &[]), "breaks");
}

#[test]
fn what_was_recorded_in_a_dry_run_breaks_once_it_is_enforced() {
    let recorded = flow(Then::Passed, "a.x", "1.1.1.1", "");
    assert_eq!(changed(&recorded, &["allow tcp b.x"]), "breaks");
    let dry = EgressDoc::from_toml("new.toml", "version = 1\nmode = \"dry-run\"\n").unwrap();
    let dry = Ruleset::check(Level::User, &dry).unwrap();
    assert_eq!(replay(&recorded, &dry, &Guard::default()), Change::None);
}

#[test]
fn what_was_denied_and_would_be_let_out_opens() {
    let denied = flow(Then::Denied, "a.x", "198.18.0.9", "");
    assert_eq!(changed(&denied, &["allow tcp a.x"]), "opens");
    assert_eq!(changed(&denied, &["allow tcp a.x:80"]), "none");
    let by_rule = flow(Then::Denied, "a.x", "198.18.0.9", "deny tcp a.x");
    assert_eq!(changed(&by_rule, &["allow tcp a.x"]), "opens");
    // A rule allowed it: what it sent was refused, and would be again.
    let by_stream = flow(Then::Denied, "a.x", "198.18.0.9", "allow tls a.x");
    assert_eq!(changed(&by_stream, &["allow tls a.x"]), "none");
    let by_address = flow(Then::Denied, "-", "10.0.0.7", "");
    assert_eq!(changed(&by_address, &["allow tcp *"]), "none");
    assert_eq!(changed(&by_address, &["allow tcp 10.0.0.0/8"]), "opens");
}

#[test]
fn what_may_be_of_fewer_streams_narrows() {
    let passed = flow(Then::Passed, "a.x", "1.1.1.1", "allow tcp a.x:443");
    assert_eq!(changed(&passed, &["allow tls a.x:443"]), "narrows");
    assert_eq!(changed(&passed, &["allow opaque a.x"]), "none");
    let tls = flow(Then::Passed, "a.x", "1.1.1.1", "allow tls a.x:443");
    assert_eq!(changed(&tls, &["allow tcp a.x"]), "none");
}

#[test]
fn texts_of_no_rule_and_no_name_are_left_out() {
    let odd = PastFlow::of_log(
        (Some("a b"), None, Some(1)),
        Then::Denied,
        Some("allow all"),
    );
    assert_eq!((odd.destination.name, odd.rule), (None, None));
}

const NAMES: [&str; 4] = ["a.x", "b.x", "c.b.x", "d.y"];

fn documents() -> impl Strategy<Value = Vec<&'static str>> {
    let lines = vec![
        "allow tcp a.x",
        "allow tls *.x:1-2",
        "allow opaque b.x:2",
        "allow tcp *",
        "deny tcp *.b.x",
        "deny tcp 1.1.0.0/16",
        "allow tcp 10.0.0.0/8",
        "allow tcp 1.1.1.1:1",
        "deny tcp a.x:2",
    ];
    prop::sample::subsequence(lines, 0..=9)
}

/// What a relay would have told of it.
fn told(rules: &Ruleset, name: Option<&str>, address: IpAddr, port: u16) -> PastFlow {
    let guard = Guard::default();
    let to = |address| Destination {
        name: name.map(|name| name.parse().unwrap()),
        address,
        port: Some(port),
        transport: Transport::Tcp,
    };
    let mut decision = rules.decide(&to(name.is_none().then_some(address)), &guard);
    if decision.passes() {
        decision = rules.decide(&to(Some(address)), &guard);
    }
    let (then, at) = match (decision.passes(), name) {
        (true, _) => (Then::Passed, address),
        (false, None) => (Then::Denied, address),
        (false, Some(_)) => (Then::Denied, "198.18.0.1".parse().unwrap()),
    };
    let rule = decision.rule.map(|rule| rule.rule.to_string());
    PastFlow::of_log((name, Some(at), Some(port)), then, rule.as_deref())
}

proptest! {
    #[test]
    fn the_same_rules_break_nothing_and_others_what_they_deny(
        before in documents(), after in documents(), name in prop::option::of(0..4_usize),
        address in prop::sample::select(vec!["1.1.1.1", "8.8.8.8", "10.0.0.7", "169.254.169.254"]),
        port in 1..4_u16,
    ) {
        let (before, after) = (user(&before), user(&after));
        let address: IpAddr = address.parse().unwrap();
        let name = name.map(|name| NAMES[name]);
        let flow = told(&before, name, address, port);
        let guard = Guard::default();
        let same = replay(&flow, &before, &guard);
        prop_assert!(!matches!(same, Change::Breaks(_) | Change::Narrows(_)), "{same:?}");
        // As the other rules would have told of it.
        let again = told(&after, name, address, port);
        let change = replay(&flow, &after, &guard);
        let broken = flow.then == Then::Passed && again.then == Then::Denied;
        prop_assert_eq!(matches!(change, Change::Breaks(_)), broken, "{:?}", change);
    }

    #[test]
    fn what_only_narrows_opens_nothing(lines in documents(), bound in documents(), name in 0..4_usize, port in 1..4_u16) {
        let rules_before = user(&lines);
        let narrower = rules_before.clone().bounded_by(&rules(Level::Owner, &bound));
        let flow = told(&rules_before, Some(NAMES[name]), "8.8.8.8".parse().unwrap(), port);
        let change = replay(&flow, &narrower, &Guard::default());
        prop_assert!(!matches!(change, Change::Opens(_)), "{change:?}");
    }
}
