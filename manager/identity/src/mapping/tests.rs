//! Each kind of rule, and each refusal.

use super::*;
use crate::config::{ConfigErrors, ConfigWarning};
use crate::host::made_up::MadeUpHost;
use crate::name::{GroupName, ProjectName, UserName};
use crate::principal::{Authenticator, Principal};

pub(super) fn principal(user: &str, groups: &[&str]) -> Principal {
    let groups = groups.iter().map(|group| GroupName::new(group).unwrap());
    let user = UserName::new(user).unwrap();
    Principal::new(Authenticator::Peer, user, groups.collect())
}

pub(super) fn host() -> MadeUpHost {
    MadeUpHost::new()
        .account("root", 0, 0, &[])
        .account("daemon", 1, 1, &[])
        .account(
            "alice",
            1001,
            1001,
            &[(27, "sudo"), (999, "docker"), (2000, "eng")],
        )
        .account("etl_alice", 1101, 1101, &[])
        .account("rooty", 1200, 0, &[])
        .account("nobody", 65_534, 65_534, &[])
        .account("taken", 200_001, 200_001, &[])
}

fn checked(text: &str) -> Result<IdentityMap, ConfigErrors> {
    let doc: IdentityDoc = toml::from_str(text).unwrap();
    doc.check()
}

fn map_of(text: &str) -> IdentityMap {
    checked(text).unwrap()
}

fn map_with(
    text: &str,
    who: &Principal,
    project: Option<&str>,
    ids: &MemoryManagedIds,
) -> Result<Identity, MappingError> {
    let project = project.map(|name| ProjectName::new(name).unwrap());
    let accounts = &host();
    map_of(text).map(who, project.as_ref(), World { accounts, ids })
}

fn map(text: &str, user: &str, project: Option<&str>) -> Result<Identity, MappingError> {
    map_with(
        text,
        &principal(user, &["eng"]),
        project,
        &MemoryManagedIds::default(),
    )
}

fn failure(text: &str, user: &str) -> RuleFailure {
    match map(text, user, None).unwrap_err() {
        MappingError::Rule { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

#[test]
fn one_to_one_is_the_host_account() {
    for rule in [
        "user = \"*\"\naccount = \"$1\"",
        "user = \"*\"\naccount = \"${user}\"",
    ] {
        let identity = map(&format!("[[rule]]\n{rule}"), "alice", None).unwrap();
        assert_eq!(
            identity.to_string(),
            "alice (uid 1001, gid 1001), one-to-one by rule 1"
        );
        assert_eq!(identity.supplementary(), &[2000].into());
        assert_eq!(
            identity.left_out(),
            &[27, 999].into(),
            "rights over the host stay outside"
        );
    }
}

#[test]
fn a_pattern_builds_the_account_from_captures() {
    let text = "[[rule]]\nname = \"etl\"\nuser_regex = \"corp:(?<n>[a-z]+)@example[.]org\"\n\
                account = \"etl_${n}\"\nvariables.HADOOP_PROXY_USER = \"${n}\"\n\
                variables.DATABASE_ROLE = \"r_${account}_$1\"";
    let identity = map(text, "corp:alice@example.org", None).unwrap();
    assert_eq!(
        (identity.uid(), identity.kind()),
        (1101, IdentityKind::Pattern)
    );
    assert_eq!(identity.rule(), "rule 1 (etl)");
    let variables: Vec<(&str, &str)> = identity
        .variables()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("DATABASE_ROLE", "r_etl_alice_alice"),
        ("HADOOP_PROXY_USER", "alice"),
        ("LAKEKEEP_IDENTITY", "etl_alice"),
        ("LAKEKEEP_USER", "corp:alice@example.org"),
    ];
    assert_eq!(variables, expected);
}

#[test]
fn a_project_shares_one_identity() {
    let text = "[[rule]]\ngroups = [\"eng\"]\nproject = \"sales-*\"\n\
                shared = { uid = 5000, gid = 5001, name = \"sales\" }\nvariables.P = \"${project}\"";
    for user in ["alice", "corp:bob"] {
        let identity = map(text, user, Some("sales-q1")).unwrap();
        assert_eq!((identity.uid(), identity.gid()), (5000, 5001));
        assert_eq!(identity.name().as_str(), "sales");
        assert_eq!(identity.variables()["P"], "sales-q1");
        assert!(identity.supplementary().is_empty());
    }
    assert!(map(text, "alice", None).is_err());
    assert!(map(text, "alice", Some("hr")).is_err());
}

const RANGE: &str = "[[rule]]\nuser = \"*\"\nmanaged = { first = 300000, last = 300001 }";

#[test]
fn a_range_gives_each_user_an_id_for_ever() {
    let ids = MemoryManagedIds::default();
    let of = |user: &str| map_with(RANGE, &principal(user, &[]), None, &ids);
    let (alice, bob) = (of("corp:alice").unwrap(), of("corp:bob").unwrap());
    assert_eq!((alice.uid(), bob.uid()), (300_000, 300_001));
    assert_eq!((alice.gid(), alice.name().as_str()), (300_000, "lk300000"));
    assert_eq!(of("corp:alice").unwrap(), alice);
    let error = of("corp:eve").unwrap_err().to_string();
    assert!(error.contains("given away"), "{error}");
}

#[test]
fn an_id_of_a_range_that_an_account_has_is_refused() {
    let text = "[[rule]]\nuser = \"*\"\nmanaged = { first = 200001, last = 200009 }";
    assert!(matches!(
        failure(text, "x"),
        RuleFailure::Taken { id: 200_001, .. }
    ));
}

/// A store that gives away ids that it should not.
struct Wrong(u32);

impl ManagedIds for Wrong {
    fn assign(&self, _: &ManagedRange, _: &UserName) -> Result<u32, ManagedIdError> {
        Ok(self.0)
    }

    fn assigned(&self, _: &ManagedRange, _: &UserName) -> Result<Option<u32>, ManagedIdError> {
        Ok(Some(self.0))
    }
}

#[test]
fn an_id_outside_of_its_range_is_refused() {
    for id in [0, 999, 300_002, u32::MAX] {
        let (accounts, ids) = (&host(), &Wrong(id));
        let error = map_of(RANGE).map(&principal("x", &[]), None, World { accounts, ids });
        assert!(
            error.unwrap_err().to_string().contains("not of the range"),
            "{id}"
        );
    }
}

#[test]
fn the_first_rule_that_matches_decides_also_when_it_fails() {
    let text = "[[rule]]\nuser = \"bob\"\naccount = \"alice\"\n\
                [[rule]]\nuser = \"a*\"\naccount = \"missing\"\n\
                [[rule]]\nuser = \"*\"\naccount = \"alice\"";
    let error = map(text, "alice", None).unwrap_err();
    assert!(
        matches!(&error, MappingError::Rule { rule, failure: RuleFailure::NoAccount { .. }, .. } if rule == "rule 2")
    );
    assert_eq!(map(text, "bob", None).unwrap().rule(), "rule 1");
    assert_eq!(map(text, "corp:x", None).unwrap().rule(), "rule 3");
}

#[test]
fn no_rule_names_every_rule_and_why() {
    let text = "[[rule]]\nname = \"one\"\nuser = \"bob\"\naccount = \"alice\"\n\
                [[rule]]\nuser = \"*\"\ngroups = [\"ops\", \"hr\"]\naccount = \"alice\"\n\
                [[rule]]\nuser = \"*\"\nproject = \"p\"\naccount = \"alice\"";
    let error = map(text, "alice", None).unwrap_err().to_string();
    for part in [
        "rule 1 (one): the user is not \"bob\"",
        "rule 2: in none of the groups ops, hr",
        "rule 3: no project was given, and it must be \"p\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = map("", "alice", None).unwrap_err().to_string();
    assert!(error.contains("there is no rule"), "{error}");
}

#[test]
fn root_and_the_systems_accounts_own_no_sandbox() {
    let text = "minimum_uid = 1\nminimum_gid = 1\n[[rule]]\nuser = \"*\"\naccount = \"$1\"";
    for (user, kind) in [("root", "uid"), ("rooty", "gid"), ("nobody", "uid")] {
        assert!(
            matches!(failure(text, user), RuleFailure::SystemId { kind: found, .. } if found == kind),
            "{user}"
        );
    }
    assert_eq!(map(text, "daemon", None).unwrap().uid(), 1);
    let text = "[[rule]]\nuser = \"*\"\naccount = \"$1\"";
    assert!(matches!(
        failure(text, "daemon"),
        RuleFailure::SystemId { minimum: 1000, .. }
    ));
}

#[test]
fn what_captures_bring_is_checked_again() {
    let text = "[[rule]]\nuser_regex = \"x(.*)\"\naccount = \"$1\"";
    for user in [
        "xcorp:alice",
        "x1000",
        "x..",
        "x-alice",
        "xa@b",
        "x",
        "xal ice",
    ] {
        assert!(
            matches!(failure(text, user), RuleFailure::Name { .. }),
            "{user}"
        );
    }
    assert!(matches!(
        failure(text, "xnobody2"),
        RuleFailure::NoAccount { .. }
    ));
    let text = "[[rule]]\nuser_regex = \"x(a)?.*\"\naccount = \"$1\"";
    assert!(matches!(failure(text, "xb"), RuleFailure::Capture { .. }));
    let long = format!(
        "[[rule]]\nuser = \"*\"\naccount = \"alice\"\nvariables.V = \"{}\"",
        "$1".repeat(300)
    );
    assert!(matches!(
        failure(&long, "abcd"),
        RuleFailure::Variable { .. }
    ));
}

#[test]
fn an_explanation_shows_every_rule_and_assigns_nothing() {
    let text = "[[rule]]\nname = \"one\"\nuser = \"bob\"\naccount = \"alice\"\n\
                [[rule]]\nuser = \"*\"\nmanaged = { first = 300000, last = 300009 }\n\
                [[rule]]\nuser = \"*\"\naccount = \"alice\"";
    let (rules, who) = (map_of(text), principal("corp:x", &[]));
    let (accounts, ids) = (&host(), &MemoryManagedIds::default());
    let project = ProjectName::new("p").unwrap();
    let explained = rules.explain(&who, Some(&project), World { accounts, ids });
    assert_eq!(
        explained.to_string(),
        "corp:x (peer credentials) in project p\n  rule 1 (one): the user is not \"bob\"\n  \
         rule 2: matched\n  rule 3: not reached\n→ the next free id of 300000 to 300009 by rule 2, at first use"
    );
    assert_eq!(explained.identity(), Ok(None));
    let mapped = rules.map(&who, None, World { accounts, ids }).unwrap();
    let explained = rules.explain(&who, None, World { accounts, ids });
    assert_eq!(explained.identity(), Ok(Some(&mapped)));
    let nobody = map_of("").explain(&who, None, World { accounts, ids });
    assert!(nobody.to_string().ends_with("no rule matches: refused"));
    assert!(nobody.identity().is_err());
}

fn refused(text: &str) -> Vec<String> {
    let errors = checked(text).unwrap_err();
    errors
        .violations()
        .iter()
        .map(|one| one.field.clone())
        .collect()
}

#[test]
fn rules_that_cannot_be_meant_are_refused() {
    for (lines, field) in [
        ("account = \"a\"", "identity.rule[0].user"),
        (
            "user = \"a\"\nuser_regex = \"a\"\naccount = \"a\"",
            "identity.rule[0].user_regex",
        ),
        (
            "user_regex = \"(\"\naccount = \"a\"",
            "identity.rule[0].user_regex",
        ),
        (
            "user_regex = \"a)|(b\"\naccount = \"a\"",
            "identity.rule[0].user_regex",
        ),
        ("user = \"\"\naccount = \"a\"", "identity.rule[0].user"),
        ("user = \"a\"", "identity.rule[0]"),
        (
            "user = \"a\"\naccount = \"a\"\nmanaged = { first = 5000, last = 5001 }",
            "identity.rule[0]",
        ),
        ("user = \"a\"\naccount = \"$1\"", "identity.rule[0].account"),
        (
            "user = \"a\"\naccount = \"${project}\"",
            "identity.rule[0].account",
        ),
        ("user = \"a\"\naccount = \"\"", "identity.rule[0].account"),
    ] {
        assert_eq!(refused(&format!("[[rule]]\n{lines}")), [field], "{lines}");
    }
}

#[test]
fn identities_that_nobody_may_have_are_refused() {
    for (lines, field) in [
        (
            "groups = [\"/\"]\naccount = \"a\"",
            "identity.rule[0].groups[0]",
        ),
        (
            "user = \"a\"\nshared = { uid = 5000, gid = 5000, name = \"s\" }",
            "identity.rule[0].shared",
        ),
        (
            "project = \"p\"\nshared = { uid = 0, gid = 5000, name = \"s\" }",
            "identity.rule[0].shared.uid",
        ),
        (
            "project = \"p\"\nshared = { uid = 5000, gid = 27, name = \"s\" }",
            "identity.rule[0].shared.gid",
        ),
        (
            "project = \"p\"\nshared = { uid = 5000, gid = 5000, name = \"a/b\" }",
            "identity.rule[0].shared.name",
        ),
        (
            "user = \"a\"\nmanaged = { first = 999, last = 5000 }",
            "identity.rule[0].managed.first",
        ),
        (
            "user = \"a\"\nmanaged = { first = 5001, last = 5000 }",
            "identity.rule[0].managed.last",
        ),
        (
            "user = \"a\"\nmanaged = { first = 60000, last = 70000 }",
            "identity.rule[0].managed",
        ),
        (
            "user = \"a\"\naccount = \"a\"\nvariables.lower = \"x\"",
            "identity.rule[0].variables.\"lower\"",
        ),
        (
            "user = \"a\"\naccount = \"a\"\nvariables.LAKEKEEP_USER = \"x\"",
            "identity.rule[0].variables.\"LAKEKEEP_USER\"",
        ),
        (
            "user = \"a\"\naccount = \"a\"\nvariables.LD_PRELOAD = \"x\"",
            "identity.rule[0].variables.\"LD_PRELOAD\"",
        ),
        (
            "user = \"a\"\naccount = \"a\"\nvariables.V = \"${project}\"",
            "identity.rule[0].variables.\"V\"",
        ),
        (
            "name = \"a\\nb\"\nuser = \"a\"\naccount = \"a\"",
            "identity.rule[0].name",
        ),
    ] {
        assert_eq!(refused(&format!("[[rule]]\n{lines}")), [field], "{lines}");
    }
    assert!(toml::from_str::<IdentityDoc>("[[rule]]\nusr = \"a\"").is_err());
    assert!(toml::from_str::<IdentityDoc>("x = 1").is_err());
}

#[test]
fn ids_of_rules_are_kept_apart() {
    let range = |first: u32, last: u32| {
        format!("[[rule]]\nuser = \"*\"\nmanaged = {{ first = {first}, last = {last} }}\n")
    };
    let shared = "[[rule]]\nproject = \"p\"\nshared = { uid = 5005, gid = 9000, name = \"s\" }\n";
    assert!(checked(&[range(5000, 5009), range(5000, 5009)].concat()).is_ok());
    assert!(checked(&[range(5000, 5009), range(5010, 5019)].concat()).is_ok());
    assert_eq!(
        refused(&[range(5000, 5009), range(5009, 5019)].concat()).len(),
        2
    );
    assert_eq!(
        refused(&format!("{}{shared}", range(5000, 5009))),
        ["identity.rule[0].managed"]
    );
    let named = "[[rule]]\nname = \"n\"\nuser = \"a\"\naccount = \"a\"\n";
    assert_eq!(
        refused(&format!("{named}{named}")),
        ["identity.rule[1].name"]
    );
}

#[test]
fn the_least_numbers_are_never_roots() {
    assert_eq!(
        refused("minimum_uid = 0\nminimum_gid = 0"),
        ["identity.minimum_uid", "identity.minimum_gid"]
    );
    let minimum = 500;
    assert_eq!(
        map_of("minimum_uid = 500").warnings(),
        [ConfigWarning::LowMinimumUid { minimum }]
    );
    assert_eq!(map_of("").warnings(), []);
}
