//! Grants: what has a name inside without a rule, and how that is explained.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::IpAddr;

use common::destination;
use lakekeep_egress_rules::{
    Destination, EgressDoc, Explanation, FixedAddresses, Grant, Guard, HostName, Level, Ruleset,
    Service, Transport,
};

const SOCKET: &str = "spark.sockets.lakekeep.internal";
const IDENTITY: &str = "identity.services.lakekeep.internal";
const FIXED: &str = "169.254.169.254";

fn document(level: Level, text: &str) -> Ruleset {
    let text = format!("version = 1\n{text}");
    let name = match level {
        Level::Administrator => "admin.toml",
        Level::Owner => "owner.toml",
        Level::User => "user.toml",
    };
    Ruleset::check(level, &EgressDoc::from_toml(name, &text).unwrap()).unwrap()
}

fn socket(path: &str) -> String {
    format!("[[sockets]]\nname = \"spark\"\npath = \"{path}\"\n")
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn explain(rules: &Ruleset, to: &str) -> Explanation {
    let fixed = FixedAddresses::from([(FIXED.parse().unwrap(), Service::Identity)]);
    rules.explain(&destination(to), &Guard::default(), &fixed)
}

#[test]
fn a_grant_is_what_all_levels_grant_alike() {
    let user = document(Level::User, &socket("/run/spark.sock"));
    let path = || Grant::Socket("/run/spark.sock".into());
    assert_eq!(user.grant(&name(SOCKET)), Some(path()));
    assert_eq!(user.grant(&name("other.sockets.lakekeep.internal")), None);
    assert_eq!(user.grant(&name("a.spark.sockets.lakekeep.internal")), None);
    assert_eq!(user.grant(&name(IDENTITY)), None);
    let same = document(Level::Owner, &socket("/run/spark.sock"));
    assert_eq!(
        user.clone().bounded_by(&same).grant(&name(SOCKET)),
        Some(path())
    );
    for other in [socket("/run/other.sock"), String::new()] {
        let bound = document(Level::Owner, &other);
        assert_eq!(user.clone().bounded_by(&bound).grant(&name(SOCKET)), None);
    }
}

#[test]
fn an_address_of_a_services_own_is_that_service_where_it_is_granted() {
    let granted = document(Level::User, "services = [\"identity\"]\n");
    let fixed = Some(Service::Identity);
    let service = (
        Some(name(IDENTITY)),
        Some(Grant::Service(Service::Identity)),
    );
    assert_eq!(granted.asked(None, fixed), service);
    // The name that was asked for counts first.
    let host = Some(name("a.example"));
    assert_eq!(granted.asked(host.clone(), fixed), (host, None));
    let other = document(Level::User, "rules = [\"allow tcp *\"]\n");
    assert_eq!(other.asked(None, fixed), (None, None));
}

#[test]
fn a_granted_socket_is_explained_level_by_level() {
    let rules = document(Level::User, &socket("/run/spark.sock"))
        .bounded_by(&document(Level::Administrator, &socket("/run/spark.sock")));
    let found = explain(&rules, &format!("{SOCKET}:1"));
    assert!(found.passes);
    assert_eq!(found.rule.unwrap(), "[[sockets]] /run/spark.sock");
    assert_eq!(
        found.lines,
        [
            "the administrator: granted: [[sockets]] /run/spark.sock (admin.toml: sockets)",
            "the user: granted: [[sockets]] /run/spark.sock (user.toml: sockets)",
            "granted: Unix socket /run/spark.sock as spark.sockets.lakekeep.internal:1",
        ]
    );
    let wrong = explain(&rules, &format!("{SOCKET}:5432"));
    assert!(!wrong.passes);
    assert_eq!(wrong.remedy, format!("connect to {SOCKET}:1"));
    assert_eq!(
        wrong.words,
        format!(
            "denied egress to {SOCKET}:5432: Unix socket /run/spark.sock is at port 1; \
             connect to {SOCKET}:1"
        )
    );
}

/// Whatever the rules say of it, a rule would not make it a grant.
#[test]
fn who_does_not_grant_it_is_told() {
    let user = document(
        Level::User,
        &format!("services = [\"identity\"]\n{}", socket("/run/spark.sock")),
    );
    let rules = user.bounded_by(&document(
        Level::Owner,
        "rules = [\"allow tcp a.example\"]\n",
    ));
    for (to, what) in [
        (format!("{SOCKET}:1"), "the socket spark"),
        (format!("{IDENTITY}:80"), "the service identity"),
        (format!("{FIXED}:80"), "the service identity"),
    ] {
        let found = explain(&rules, &to);
        assert!(!found.passes, "{found:?}");
        assert_eq!(found.lines[0], format!("the owner: does not grant {what}"));
        assert!(
            found.lines[1].starts_with("the user: granted: "),
            "{found:?}"
        );
        let why = format!("denied egress to {to}: {what} is not granted by the owner; add it to ");
        assert!(found.words.starts_with(&why), "{found:?}");
        assert!(found.remedy.ends_with("at each level that has one"));
    }
    let elsewhere = document(Level::User, &socket("/run/a.sock"))
        .bounded_by(&document(Level::Owner, &socket("/run/b.sock")));
    let found = explain(&elsewhere, &format!("{SOCKET}:1"));
    assert!(found.words.contains("under another path"), "{found:?}");
}

#[test]
fn a_service_is_explained_by_name_and_at_its_own_address() {
    let rules = document(Level::User, "services = [\"identity\"]\n");
    for to in [format!("{IDENTITY}:80"), format!("{FIXED}:80")] {
        let found = explain(&rules, &to);
        assert!(found.passes, "{found:?}");
        assert_eq!(found.destination, format!("{IDENTITY}:80"));
        assert_eq!(found.rule.as_deref(), Some("[services] identity"));
        let words = format!("granted: the service identity as {IDENTITY}:80");
        assert_eq!(found.lines.last(), Some(&words));
    }
    let at = explain(&rules, &format!("{FIXED}:80"));
    let same = format!("{FIXED}:80 is an address of {IDENTITY}'s own");
    assert_eq!(at.lines[0], same);
    let wrong = explain(&rules, &format!("{FIXED}:8080"));
    assert!(!wrong.passes);
    assert_eq!(wrong.remedy, format!("connect to {IDENTITY}:80"));
    // Where no service has it, it is the metadata service that nothing reaches.
    let address: IpAddr = FIXED.parse().unwrap();
    let destination = Destination {
        name: None,
        address: Some(address),
        port: Some(80),
        transport: Transport::Tcp,
    };
    let found = rules.explain(&destination, &Guard::default(), &FixedAddresses::new());
    assert!(!found.passes);
    assert!(found.remedy.contains("no rule can allow it"), "{found:?}");
}
