//! What holds for all rules: a level only narrows, texts read back, order means nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_egress_rules::{
    Destination, EgressDoc, Guard, Host, Level, Rule, Ruleset, Transport, parse_destination,
};
use proptest::prelude::*;

/// Rules about few names, addresses and ports, so that they meet.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let target = prop::sample::select(vec![
        "a.x",
        "b.x",
        "c.b.x",
        "*.x",
        "*.b.x",
        "*",
        "1.1.1.1",
        "1.1.0.0/16",
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.1.1",
        "[2606:4700::/32]",
    ]);
    let ports = prop::sample::select(vec!["", ":1", ":2", ":1-2", ":2-9"]);
    let rule = (
        prop::sample::select(vec!["allow tcp", "allow opaque", "deny tcp"]),
        target,
        ports,
    )
        .prop_map(|(start, target, ports)| format!("{start} {target}{ports}"));
    prop::collection::vec(rule, 0..8)
}

fn level(level: Level, rules: &[String]) -> Ruleset {
    Ruleset::check(level, &EgressDoc::from_lines("--egress", rules.to_vec())).unwrap()
}

fn destinations() -> Vec<Destination> {
    let addresses = [
        None,
        Some("1.1.1.1"),
        Some("10.1.1.1"),
        Some("64:ff9b::a01:101"),
        Some("169.254.169.254"),
    ];
    let mut all = Vec::new();
    for to in [
        "a.x:1",
        "b.x:2",
        "c.b.x:1",
        "d.y:3",
        "1.1.1.1:1",
        "10.1.1.1:2",
        "[2606:4700::1]:2",
    ] {
        let (host, port) = parse_destination(to).unwrap();
        for address in addresses {
            let address = address.map(|text| text.parse().unwrap());
            let (name, address) = match &host {
                Host::Name(name) => (Some(name.clone()), address),
                Host::Address(own) => (None, Some(*own)),
            };
            all.push(Destination {
                name,
                address,
                port: Some(port),
                transport: Transport::Tcp,
            });
        }
    }
    all
}

proptest! {
    #[test]
    fn a_level_only_narrows(user in rules(), owner in rules()) {
        let (user, owner) = (level(Level::User, &user), level(Level::Owner, &owner));
        let both = user.clone().bounded_by(&owner);
        for to in destinations() {
            let [both, user, owner] = [&both, &user, &owner].map(|rules| rules.decide(&to, &Guard::default()));
            // Nothing passes that one of them refuses, by whichever stream.
            prop_assert!(!both.passes() || (user.passes() && owner.passes()), "{}", both);
            prop_assert!(!both.streams.unchecked || (user.streams.unchecked && owner.streams.unchecked), "{}", both);
            prop_assert_eq!(both.passes(), !both.streams.is_empty());
        }
    }

    #[test]
    fn an_allowing_rule_takes_nothing_away_and_a_denying_one_gives_nothing(rules in rules(), extra in rules()) {
        for line in extra {
            let before = level(Level::User, &rules);
            let after = level(Level::User, &[rules.clone(), vec![line.clone()]].concat());
            for to in destinations() {
                let [before, after] = [&before, &after].map(|rules| rules.decide(&to, &Guard::default()).passes());
                prop_assert!(if line.starts_with("allow") { after >= before } else { after <= before }, "{}", line);
            }
        }
    }

    #[test]
    fn order_means_nothing(rules in rules()) {
        let mut reversed = rules.clone();
        reversed.reverse();
        let (one, other) = (level(Level::User, &rules), level(Level::User, &reversed));
        prop_assert_eq!(one.digest(), other.digest());
        for to in destinations() {
            let [one, other] = [&one, &other].map(|rules| rules.decide(&to, &Guard::default()));
            prop_assert_eq!((one.verdict, one.reason, one.streams), (other.verdict, other.reason, other.streams));
        }
    }

    #[test]
    fn whatever_is_read_is_shown_and_read_again(text in "(allow|deny) (tcp|tls|opaque) [a-z0-9.*:/\\[\\]-]{1,20}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
        }
    }
}
