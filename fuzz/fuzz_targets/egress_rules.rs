//! Egress documents of two levels, parted by a NUL, and after another what is asked about:
//! the levels only narrow, and the guard holds.
#![no_main]

use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, Guard, Host, HostName, Level, Reason, Rule, Ruleset,
    Transport, parse_destination,
};
use lakekeep_fuzz::identity::printable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(4, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (owner, user, to, address) = (next(), next(), next(), next());
    let rulesets = (ruleset(Level::Owner, owner), ruleset(Level::User, user));
    let (Some(owner), Some(user)) = rulesets else {
        return;
    };
    let Some(to) = destination(to, address) else {
        return;
    };
    let both = user.clone().bounded_by(&owner);
    assert_eq!(both.digest(), owner.clone().bounded_by(&user).digest());
    // A total is its document's alone.
    assert_eq!(both.total(Level::Owner), owner.total(Level::Owner));
    assert!(both.total(Level::User).is_unlimited());
    let guard = Guard::new(["198.51.100.7".parse().expect("an address")]);
    let [both, user, owner] = [&both, &user, &owner].map(|rules| rules.decide(&to, &guard));
    assert!(!both.passes() || (user.passes() && owner.passes()));
    [&both, &user, &owner].into_iter().for_each(told);
});

fn ruleset(level: Level, text: &str) -> Option<Ruleset> {
    let read = match text.starts_with('{') {
        true => EgressDoc::from_json("file", text),
        false => EgressDoc::from_toml("file", text),
    };
    match read.and_then(|doc| Ruleset::check(level, &doc)) {
        Ok(ruleset) => {
            for (_, placed) in ruleset.rules() {
                assert_eq!(
                    placed.rule.to_string().parse::<Rule>().as_ref(),
                    Ok(&placed.rule)
                );
            }
            ruleset
                .warnings()
                .iter()
                .for_each(|warning| printable(&warning.message));
            Some(ruleset)
        }
        Err(errors) => {
            for line in errors.to_string().lines() {
                assert!(line.starts_with("file") && line.contains("; "), "{line:?}");
                printable(line);
            }
            None
        }
    }
}

fn destination(to: &str, address: &str) -> Option<Destination> {
    let (host, port) = match parse_destination(to) {
        Ok(read) => read,
        Err(error) => {
            printable(&error.to_string());
            return None;
        }
    };
    let address = address.parse().ok();
    let (name, address) = match host {
        Host::Name(name) => (Some(name), address),
        Host::Address(address) => (None, Some(address)),
    };
    Some(Destination {
        name,
        address,
        port: Some(port),
        transport: Transport::Tcp,
    })
}

fn told(decision: &Decision) {
    printable(&decision.to_string());
    let named = |name: &HostName| HostName::parse(name.as_str()).as_ref() == Ok(name);
    assert!(decision.destination.name.as_ref().is_none_or(named));
    assert_eq!(decision.passes(), !decision.streams.is_empty());
    let never = matches!(&decision.reason, Reason::Guarded(..));
    assert!(!(never && decision.passes()), "{decision}");
    assert!(
        decision.passes() || !decision.remedy().is_empty(),
        "{decision}"
    );
}
