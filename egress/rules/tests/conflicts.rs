//! Rules that contradict, overlap or say nothing, at one level and at several.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::destination;
use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, FixedAddresses, Guard, Level, Reason, Ruleset, Service,
    Streams, Transport, Verdict,
};

fn level(level: Level, rules: &[&str]) -> Ruleset {
    let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
    Ruleset::check(level, &EgressDoc::from_lines("--egress", rules)).unwrap()
}

fn document(level: Level, text: &str) -> Ruleset {
    Ruleset::check(level, &EgressDoc::from_toml("e.toml", text).unwrap()).unwrap()
}

fn ask(rules: &Ruleset, to: &str) -> Decision {
    rules.decide(&destination(to), &Guard::default())
}

/// (rules of the user, destination, whether it passes)
const ONE_LEVEL: &[(&[&str], &str, bool)] = &[
    (&[], "a.example:443", false),
    (&["allow tcp a.example:443"], "a.example:443", true),
    (&["allow tcp a.example:443"], "A.Example.:443", true),
    (&["allow tcp A.EXAMPLE.:443"], "a.example:443", true),
    (&["allow tcp a.example:443"], "a.example:444", false),
    (&["allow tcp a.example"], "a.example:1", true),
    (&["allow tcp a.example:400-443"], "a.example:399", false),
    (&["allow tcp a.example:400-443"], "a.example:400", true),
    (&["allow tcp a.example:400-443"], "a.example:443", true),
    (&["allow tcp a.example:443"], "b.a.example:443", false),
    (&["allow tcp a.example:443"], "xa.example:443", false),
    (&["allow tcp *.example:443"], "a.example:443", true),
    (&["allow tcp *.example:443"], "a.b.c.example:443", true),
    (&["allow tcp *.example:443"], "example:443", false),
    (&["allow tcp *.example:443"], "xexample:443", false),
    (&["allow tcp *.example:443"], "a.example.org:443", false),
    (&["allow tcp *:443"], "anything.test:443", true),
    (&["allow tcp *:443"], "1.1.1.1:443", false),
    (
        &["allow tcp a.example:443", "deny tcp a.example"],
        "a.example:443",
        false,
    ),
    (
        &["deny tcp a.example", "allow tcp a.example:443"],
        "a.example:443",
        false,
    ),
    (
        &["deny tcp *.example", "allow tcp a.example:443"],
        "a.example:443",
        false,
    ),
    (
        &["allow tcp *.example", "deny tcp a.example:443"],
        "b.example:443",
        true,
    ),
    (
        &["allow tcp *.example", "deny tcp a.example:443"],
        "a.example:80",
        true,
    ),
    (
        &["allow tcp *.example", "deny tcp a.example:443"],
        "a.example:443",
        false,
    ),
    (
        &["allow tcp *", "deny tcp *.b.example"],
        "b.example:1",
        true,
    ),
    (
        &["allow tcp *", "deny tcp *.b.example"],
        "a.b.example:1",
        false,
    ),
    (&["deny tcp *"], "a.example:443", false),
    (&["allow tcp 1.1.1.0/24:53"], "1.1.1.1:53", true),
    (&["allow tcp 1.1.1.0/24:53"], "1.1.2.1:53", false),
    (&["allow tcp 1.1.1.0/24:53"], "[::ffff:1.1.1.1]:53", true),
    (
        &["allow tcp 1.1.1.0/24", "deny tcp 1.1.1.1"],
        "1.1.1.1:53",
        false,
    ),
    (
        &["allow tcp 1.1.1.1", "deny tcp 1.1.0.0/16"],
        "1.1.1.1:53",
        false,
    ),
    (
        &["allow tcp 1.1.1.1", "deny tcp 1.1.0.0/16:54"],
        "1.1.1.1:53",
        true,
    ),
    (
        &["allow tcp 2606:4700::/32:53"],
        "[2606:4700::1111]:53",
        true,
    ),
    (
        &["allow tcp [2606:4700::/32]:53"],
        "[2606:4701::1111]:53",
        false,
    ),
    (&["allow tcp 0.0.0.0/0"], "8.8.8.8:1", true),
    (&["allow tcp 0.0.0.0/0"], "[2606:4700::1]:1", false),
    (&["allow tcp 10.0.0.0/8:5432"], "10.1.1.1:5432", true),
    (&["allow tcp 10.0.0.0/8:5432"], "10.1.1.1:5433", false),
    (
        &["allow tcp 0.0.0.0/0", "allow tcp 10.0.0.0/8:5432"],
        "10.1.1.1:80",
        false,
    ),
];

#[test]
fn one_level_decides_as_its_rules_say() {
    for (rules, to, passes) in ONE_LEVEL {
        let decision = ask(&level(Level::User, rules), to);
        assert_eq!(decision.passes(), *passes, "{rules:?} on {to}: {decision}");
    }
}

/// (administrator, owner, user, destination, who refuses)
type Levels = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    Option<Level>,
);
const ALL_LEVELS: &[Levels] = &[
    (
        &["allow tcp *"],
        &["allow tcp *.example"],
        &["allow tcp a.example"],
        "a.example:1",
        None,
    ),
    (
        &["allow tcp *"],
        &["allow tcp *.example"],
        &["allow tcp *"],
        "a.test:1",
        Some(Level::Owner),
    ),
    (
        &["allow tcp *:443"],
        &["allow tcp *"],
        &["allow tcp *"],
        "a.example:80",
        Some(Level::Administrator),
    ),
    (
        &["allow tcp *"],
        &["allow tcp *"],
        &[],
        "a.example:80",
        Some(Level::User),
    ),
    (
        &[],
        &["allow tcp *"],
        &["allow tcp *"],
        "a.example:80",
        Some(Level::Administrator),
    ),
    (
        &["allow tcp *", "deny tcp a.example"],
        &["allow tcp *"],
        &["allow tcp a.example"],
        "a.example:1",
        Some(Level::Administrator),
    ),
    (
        &["allow tcp *"],
        &["allow tcp *"],
        &["allow tcp *", "deny tcp a.example"],
        "a.example:1",
        Some(Level::User),
    ),
    (
        &["allow tcp 10.0.0.0/8"],
        &["allow tcp 10.0.0.0/8"],
        &["allow tcp 10.1.0.0/16"],
        "10.1.0.1:1",
        None,
    ),
    (
        &["allow tcp 0.0.0.0/0"],
        &["allow tcp 10.0.0.0/8"],
        &["allow tcp 10.1.0.0/16"],
        "10.1.0.1:1",
        Some(Level::Administrator),
    ),
];

#[test]
fn every_level_must_allow_and_none_widens() {
    for (administrator, owner, user, to, refused_by) in ALL_LEVELS {
        let levels = [
            (Level::Administrator, administrator),
            (Level::Owner, owner),
            (Level::User, user),
        ];
        let [administrator, owner, user] = levels.map(|(of, rules)| level(of, rules));
        // Whatever the order in which they are laid.
        let rules = user.clone().bounded_by(&owner).bounded_by(&administrator);
        let other = administrator.bounded_by(&user).bounded_by(&owner);
        assert_eq!(rules.digest(), other.digest());
        let decision = ask(&rules, to);
        assert_eq!(decision, ask(&other, to));
        let by = match (&decision.reason, &decision.rule) {
            (Reason::NoRule(level) | Reason::Guarded(level, _), _) => Some(*level),
            (Reason::Denied, Some(rule)) => Some(rule.level),
            _ => None,
        };
        assert_eq!(by, *refused_by, "{to}: {decision}");
        assert_eq!(decision.passes(), refused_by.is_none(), "{decision}");
    }
}

#[test]
fn streams_are_joined_within_a_level_and_narrowed_between() {
    let tls = Streams {
        tls: true,
        ..Streams::NONE
    };
    let http = Streams {
        http: true,
        ..Streams::NONE
    };
    let of = |rules: &Ruleset| ask(rules, "a.example:443").streams;
    assert_eq!(of(&level(Level::User, &["allow tls a.example"])), tls);
    assert_eq!(
        of(&level(Level::User, &["allow tcp a.example"])),
        Streams::HELD
    );
    assert_eq!(
        of(&level(Level::User, &["allow opaque a.example"])),
        Streams::ANY
    );
    let both = level(
        Level::User,
        &["allow tls a.example", "allow http *.example"],
    );
    assert_eq!(
        of(&both),
        Streams {
            tls: true,
            http: true,
            ..Streams::NONE
        }
    );
    let bound = level(Level::Administrator, &["allow tls *"]);
    assert_eq!(
        of(&level(Level::User, &["allow opaque a.example"]).bounded_by(&bound)),
        tls
    );
    let none = level(Level::User, &["allow http a.example"]).bounded_by(&bound);
    assert_eq!(ask(&none, "a.example:443").reason, Reason::NoStream);
    assert_eq!(of(&level(Level::User, &["allow http a.example"])), http);
    assert_eq!(
        ask(&level(Level::User, &["allow tcp 1.1.1.1"]), "1.1.1.1:1").streams,
        Streams::ANY
    );
}

#[test]
fn a_level_that_enforces_is_not_switched_off_by_another() {
    let enforce = document(
        Level::Administrator,
        "version = 1\nrules = [\"allow tls a.example\"]\n",
    );
    for mode in ["off", "dry-run"] {
        let user = document(Level::User, &format!("version = 1\nmode = \"{mode}\"\n"));
        assert!(!user.warnings().is_empty());
        assert!(ask(&user, "b.example:443").passes());
        let both = user.bounded_by(&enforce);
        assert_eq!(ask(&both, "b.example:443").verdict, Verdict::Deny, "{mode}");
        let allowed = ask(&both, "a.example:443");
        assert!(
            allowed.passes() && !allowed.streams.unchecked,
            "{mode}: {allowed}"
        );
        assert_eq!(allowed.verdict == Verdict::WouldDeny, mode == "dry-run");
    }
}

/// What is told of the rules of a document on addresses.
fn weakened(rules: &[&str]) -> Vec<String> {
    let told = level(Level::Owner, rules).warnings();
    let told = told
        .into_iter()
        .filter(|told| told.message.contains("by address"));
    told.map(|told| format!("{}: {}", told.place, told.message))
        .collect()
}

#[test]
fn a_rule_on_an_address_takes_away_what_a_name_is_held_to_and_that_is_told() {
    let told = weakened(&[
        "allow tls *.files.example:443",
        "allow http mirror.example:80",
        "allow tcp 192.0.2.0/24:400-500",
        "allow tcp [2001:db8::1]",
        "allow tcp 192.0.2.1:22",
    ]);
    assert_eq!(
        told,
        [
            "--egress[2]: any stream passes there by address and port alone: also one that \
             \"allow tls *.files.example:443\" would hold to its name, if that name resolves \
             there; name the host instead, or other ports",
            "--egress[3]: any stream passes there by address and port alone: also one that \
             \"allow http mirror.example:80\" would hold to its name, if that name resolves \
             there; name the host instead, or other ports",
        ]
    );
    // It is so: of the name at that address more passes than TLS.
    let rules = level(
        Level::Owner,
        &["allow tls a.example:443", "allow tcp 93.184.216.34:443"],
    );
    let mut destination = Destination {
        name: Some("a.example".parse().unwrap()),
        address: Some("93.184.216.34".parse().unwrap()),
        port: Some(443),
        transport: Transport::Tcp,
    };
    assert!(rules.decide(&destination, &Guard::default()).streams.other);
    destination.address = Some("93.184.216.35".parse().unwrap());
    assert!(!rules.decide(&destination, &Guard::default()).streams.other);
}

#[test]
fn where_no_port_is_both_s_or_nothing_is_held_nothing_is_told() {
    for rules in [
        &["allow tls a.example:443", "allow tcp 192.0.2.1:5432"][..],
        &["allow tcp a.example", "allow tcp 192.0.2.1"],
        &["allow tls a.example:443", "deny tcp 192.0.2.1:443"],
        &["allow tcp 192.0.2.1:443"],
    ] {
        assert!(weakened(rules).is_empty(), "{rules:?}");
    }
    // Of two documents one narrows the other: what a name is held to stays.
    let owner = level(Level::Owner, &["allow tls a.example:443"]);
    let user = level(Level::User, &["allow tcp 192.0.2.1:443"]);
    assert!(user.bounded_by(&owner).warnings().is_empty());
}

#[test]
fn only_tcp_leaves() {
    let all = level(Level::User, &["allow opaque *", "allow tcp 0.0.0.0/0"]);
    for transport in [Transport::Udp, Transport::Icmp] {
        let name = Some("a.example".parse().unwrap());
        let destination = Destination {
            name,
            address: None,
            port: Some(443),
            transport,
        };
        let decision = all.decide(&destination, &Guard::default());
        assert_eq!(decision.verdict, Verdict::Deny, "{decision}");
        assert!(!decision.remedy().is_empty());
    }
}

#[test]
fn a_name_is_answered_if_some_port_of_it_is_allowed() {
    let rules = level(
        Level::User,
        &[
            "allow tls a.example:443",
            "allow tcp *.w.example",
            "deny tcp b.w.example",
            "deny tcp c.w.example:1-9",
        ],
    );
    let name = |name: &str| rules.decide_name(&name.parse().unwrap(), &Guard::default());
    assert!(name("a.example").passes() && name("a.example").listed);
    assert!(name("x.w.example").passes() && !name("x.w.example").listed);
    assert!(!name("b.w.example").passes());
    assert!(name("c.w.example").passes());
    assert!(!name("w.example").passes());
    assert!(!name("b.example").passes());
}

#[test]
fn the_digest_is_of_what_decides() {
    let one = level(
        Level::User,
        &["allow tcp a.example:443", "deny tcp b.example"],
    );
    let same = level(
        Level::User,
        &[
            "deny tcp B.example.",
            "allow   tcp a.example:443-443",
            "deny tcp b.example",
        ],
    );
    assert_eq!(one.digest(), same.digest());
    let others = [
        level(Level::User, &["allow tcp a.example:443"]),
        level(
            Level::User,
            &["allow tls a.example:443", "deny tcp b.example"],
        ),
        level(
            Level::Owner,
            &["allow tcp a.example:443", "deny tcp b.example"],
        ),
        document(
            Level::User,
            "version = 1\nmode = \"off\"\nrules = [\"allow tcp a.example:443\", \"deny tcp b.example\"]",
        ),
        document(
            Level::User,
            "version = 1\nrules = [\"allow tcp a.example:443\", \"deny tcp b.example\"]\n[limits]\nconnections = 1\n",
        ),
    ];
    for other in &others {
        assert_ne!(one.digest(), other.digest());
    }
}

#[test]
fn rules_that_a_bound_makes_idle_are_told() {
    let bound = level(
        Level::Administrator,
        &["allow tcp *.example:443", "allow tcp 10.0.0.0/8"],
    );
    let user = level(
        Level::User,
        &[
            "allow tcp a.example:443",
            "allow tcp a.example:80",
            "allow tcp a.test:443",
            "allow tcp 10.1.0.0/16:1",
            "allow tcp 11.0.0.0/8:1",
            "deny tcp z.test",
        ],
    );
    let rules = user.bounded_by(&bound);
    let idle: Vec<String> = rules
        .idle_rules()
        .iter()
        .map(|(_, placed)| placed.rule.to_string())
        .collect();
    assert_eq!(
        idle,
        [
            "allow tcp a.example:80",
            "allow tcp a.test:443",
            "allow tcp 11.0.0.0/8:1"
        ]
    );
}

#[test]
fn limits_and_sockets_narrow() {
    let grant = |path: &str| {
        format!(
            "version = 1\n[limits]\nnames = 10\n[[sockets]]\nname = \"spark\"\npath = \"{path}\"\n"
        )
    };
    let owner = document(Level::Owner, &grant("/run/spark.sock"));
    let user = document(
        Level::User,
        "version = 1\n[limits]\nnames = 20\nconnections = 5\n[[sockets]]\nname = \"spark\"\npath = \"/run/spark.sock\"\n[[sockets]]\nname = \"db\"\npath = \"/run/db.sock\"\n",
    );
    let both = user.bounded_by(&owner);
    assert_eq!((both.limits().names, both.limits().connections), (10, 5));
    assert_eq!(
        both.sockets().map(|(name, _)| name).collect::<Vec<_>>(),
        ["spark"]
    );
    let other = both.bounded_by(&document(Level::Administrator, &grant("/run/other.sock")));
    assert_eq!(other.sockets().count(), 0);
}

#[test]
fn services_are_those_that_all_grant() {
    let grant = |level| document(level, "version = 1\nservices = [\"identity\"]\n");
    let none = |level| document(level, "version = 1\nmode = \"off\"\n");
    let both = grant(Level::User).bounded_by(&grant(Level::Owner));
    assert_eq!(both.services().collect::<Vec<_>>(), [Service::Identity]);
    assert!(both.idle_services().is_empty());
    let bounded = both.clone().bounded_by(&none(Level::Administrator));
    assert_eq!(bounded.services().count(), 0);
    let idle = bounded.idle_services();
    let expected = [Level::Owner, Level::User].map(|level| (level, Service::Identity));
    assert_eq!(idle, expected);
    let narrowed = none(Level::User).bounded_by(&grant(Level::Owner));
    assert_eq!(narrowed.services().count(), 0);
    assert!(narrowed.idle_services().is_empty());
    let other = none(Level::User).bounded_by(&none(Level::Owner));
    assert_ne!(narrowed.digest(), other.digest());
}

/// The answer does not wait for all rules to be looked at.
#[test]
fn ten_thousand_names_are_one_document() {
    let mut rules: Vec<String> = (0..10_000)
        .map(|n| format!("allow tls host-{n}.example:443"))
        .collect();
    rules.extend((0..5_000).map(|n| format!("allow tcp 20.{}.{}.0/24:443", n / 250, n % 250)));
    let rules = Ruleset::check(Level::User, &EgressDoc::from_lines("--egress", rules)).unwrap();
    for n in (0..10_000).step_by(7) {
        assert!(ask(&rules, &format!("host-{n}.example:443")).passes());
        assert!(!ask(&rules, &format!("host-{n}.example:80")).passes());
        assert!(!ask(&rules, &format!("host-{}.example:443", n + 10_000)).passes());
    }
    assert!(ask(&rules, "20.3.4.9:443").passes());
    assert!(!ask(&rules, "20.30.4.9:443").passes());
}

#[test]
fn an_explanation_has_a_line_for_each_level_and_the_decision() {
    let bound = document(
        Level::Administrator,
        "version = 1\nrules = [\n\"allow tls *.example:443\",\n\"deny tcp bad.example\"]\n",
    );
    let rules = level(
        Level::User,
        &["allow tcp a.example:443", "allow tcp bad.example"],
    )
    .bounded_by(&bound);
    let explain = |to: &str| {
        let to = ask(&rules, to).destination;
        let explanation = rules.explain(&to, &Guard::default(), &FixedAddresses::new());
        explanation.lines.join("\n")
    };
    assert_eq!(
        explain("a.example:443"),
        "the administrator: allowed: allow tls *.example:443 (e.toml:3: rules[0])\n\
         the user: allowed: allow tcp a.example:443 (--egress[0])\n\
         allowed egress to a.example:443: every level allows it \
         (allow tcp a.example:443, --egress[0], of the user)\n\
         may pass: TLS for the name\n\
         each address that the name resolves to is looked at once more"
    );
    assert_eq!(
        explain("bad.example:443"),
        "the administrator: a rule denies it: deny tcp bad.example (e.toml:4: rules[1])\n\
         the user: allowed: allow tcp bad.example (--egress[1])\n\
         denied egress to bad.example:443: a rule denies it (deny tcp bad.example, e.toml:4: rules[1], \
         of the administrator); have the rule removed, if it is a mistake"
    );
}
