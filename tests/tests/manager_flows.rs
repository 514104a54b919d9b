//! The log of flows: who sees what of it, and what other rules would have changed; and what the
//! rules that hold say of a destination.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use lakekeep_api::v1;
use lakekeep_store::Timestamp;
use lakekeep_store::flows::{FlowKind, FlowLog, FlowMode, FlowRow, FlowVerdict, Retention};
use lakekeep_tests::manager::{ALICE, BOB, CAROL, Manager, Setup, create, shared_profile};
use lakekeep_tests::{eventually, lakekeep};
use serde_json::Value;

/// What a command said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    /// One object a line.
    #[track_caller]
    fn objects(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The names that flows went to.
    #[track_caller]
    fn names(&self) -> Vec<String> {
        assert_eq!(self.code, Some(0), "{self:?}");
        let names = self.objects().into_iter().map(|flow| flow["name"].clone());
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }
}

/// Runs `lakekeep egress` as this account.
fn egress(manager: &Manager, user: &str, words: &[&str]) -> Said {
    let output = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups", "--"])
        .arg(lakekeep())
        .arg("egress")
        .args(words)
        .env("LAKEKEEP_SOCKET", manager.socket())
        .output()
        .unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn row(user: &str, profile: &str, name: &str, verdict: FlowVerdict) -> FlowRow {
    FlowRow {
        at: Timestamp::from(SystemTime::now()),
        principal: user.to_owned(),
        identity: user.to_owned(),
        profile: profile.to_owned(),
        sandbox: "0a1b".to_owned(),
        task: Some(1),
        query: Some(format!("query-of-{user}")),
        kind: FlowKind::Connection,
        name: Some(name.to_owned()),
        address: Some("1.1.1.1".parse().unwrap()),
        port: Some(443),
        rule: None,
        mode: FlowMode::Enforce,
        verdict,
        words: "as told".to_owned(),
        sent: 1,
        received: 2,
        duration_us: 3,
    }
}

/// A manager with a profile of Alice's in which Bob works, and flows of both. An earlier manager was killed.
fn with_flows(test: &str) -> Option<Manager> {
    let setup = Setup::new().profile("apollo", &shared_profile("apollo", ""));
    let mut manager = setup.start(test)?;
    manager.kill_manager();
    // The manager then ends by itself.
    manager.kill_supervisor();
    let log = FlowLog::open(&manager.kept().join("flows.db"), Retention::default()).unwrap();
    for row in [
        row(ALICE, "home-alice", "a.example", FlowVerdict::Allowed),
        row(BOB, "apollo", "b.example", FlowVerdict::Denied),
        row(BOB, "home-bob", "c.example", FlowVerdict::Allowed),
    ] {
        log.note(row);
    }
    log.close().unwrap();
    manager.start_again();
    Some(manager)
}

#[test]
fn everybody_sees_their_own_owners_their_profile_s_and_administrators_all() {
    let Some(manager) = with_flows("flows") else {
        return;
    };
    let log =
        |user: &str, words: &[&str]| egress(&manager, user, &[&["log", "--json"], words].concat());
    assert_eq!(log(ALICE, &[]).names(), ["a.example"]);
    assert_eq!(log(ALICE, &["--profile", "apollo"]).names(), ["b.example"]);
    assert_eq!(log(BOB, &[]).names(), ["b.example", "c.example"]);
    assert_eq!(log(BOB, &["--profile", "apollo"]).names(), ["b.example"]);
    assert_eq!(log(BOB, &["--denied"]).names(), ["b.example"]);
    assert!(log(CAROL, &[]).names().is_empty());
    let all = log("root", &["--since", "1h"]);
    assert_eq!(all.names(), ["a.example", "b.example", "c.example"]);
    let first = &all.objects()[0];
    assert_eq!(
        (&first["user"], &first["port"]),
        (&ALICE.into(), &443.into())
    );
    assert!(all.stderr.contains("flows may be missing"), "{all:?}");
    assert_eq!(
        log("root", &["--user", BOB, "--limit", "1"]).names(),
        ["b.example"]
    );
    assert_eq!(
        log("root", &["--name", "*.example", "--until", "1h"])
            .names()
            .len(),
        0
    );

    let of_another = log(BOB, &["--user", ALICE]);
    assert_eq!(of_another.code, Some(125));
    assert!(
        of_another.stderr.contains("may not read_audit"),
        "{of_another:?}"
    );
    let in_profile = log(BOB, &["--user", ALICE, "--profile", "apollo"]);
    assert_eq!(in_profile.code, Some(125), "{in_profile:?}");
    let hidden = log(CAROL, &["--profile", "apollo"]);
    assert!(
        hidden.stderr.contains("no profile \\\"apollo\\\" of yours"),
        "{hidden:?}"
    );

    // Each of it is in the audit log, what was refused too.
    let noted = |action: &str, outcome: &str| {
        let events = manager.root().audit(v1::QueryAuditRequest {
            action: action.to_owned(),
            outcome: outcome.to_owned(),
            ..v1::QueryAuditRequest::default()
        });
        events.unwrap()
    };
    let read = noted("read_flows", "allowed");
    assert_eq!(read.len(), 9, "{read:?}");
    assert_eq!(read[1]["profile"], "apollo");
    assert_eq!(
        (&read[6]["who"], &read[6]["extra"]["of"]),
        (&"root".into(), &"all".into())
    );
    assert_eq!(noted("read_audit", "denied").len(), 2);
    manager.end();
}

#[test]
fn flows_are_told_as_a_line_and_as_a_table() {
    let Some(manager) = with_flows("flow_forms") else {
        return;
    };
    let told = egress(&manager, BOB, &["log", "--profile", "apollo"]);
    let line = format!("denied           {BOB}  apollo  0a1b#1  b.example:443");
    assert!(told.stdout.contains(&line), "{told:?}");
    let path = manager.place().path().join("flows.arrow");
    let table = egress(
        &manager,
        "root",
        &["log", "--arrow", path.to_str().unwrap()],
    );
    assert_eq!(
        (table.code, table.stdout.as_str()),
        (Some(0), ""),
        "{table:?}"
    );
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"ARROW1") && bytes.ends_with(b"ARROW1"));
    manager.end();
}

#[test]
fn a_new_policy_is_held_against_what_was_let_out() {
    let Some(manager) = with_flows("replay") else {
        return;
    };
    let replay = |rules: &str, words: &[&str]| {
        let path = manager.place().path().join("new.toml");
        fs::write(&path, format!("version = 1\nrules = [{rules}]\n")).unwrap();
        let path = path.to_str().unwrap();
        egress(
            &manager,
            "root",
            &[&["replay", "--policy", path], words].concat(),
        )
    };
    let same = replay(r#""allow tcp a.example", "allow tcp c.example""#, &[]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (Some(0), "0 of 3 flows break\n")
    );
    let other = replay(
        r#""allow tcp a.example", "allow tcp b.example""#,
        &["--json"],
    );
    assert_eq!(other.code, Some(1), "{other:?}");
    let found = other.objects();
    let told = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        (text("change"), text("user"), text("destination"))
    };
    let told: Vec<_> = found.iter().map(told).collect();
    let expected = [
        ("breaks", BOB, "c.example:443"),
        ("opens", BOB, "b.example:443"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(found[0]["queries"][0], format!("query-of-{BOB}"));
    let only_alice = replay(
        r#""allow tcp a.example""#,
        &["--user", ALICE, "--since", "7d"],
    );
    assert_eq!(only_alice.code, Some(0), "{only_alice:?}");
    let wrong = replay(r#""allow everything""#, &[]);
    assert_eq!(wrong.code, Some(125));
    assert!(wrong.stderr.contains("policy:2: rules[0]"), "{wrong:?}");
    manager.end();
}

/// What Alice's profile lets out, within the administrator's rules.
const LETS_OUT: &str =
    "[egress]\nrules = [\"allow tls *.example:443\", \"allow tcp db.example:5432\"]\n";

/// A manager whose administrator allows less than the profile.
fn with_rules(test: &str) -> Option<Manager> {
    let bound = "[egress]\nrules = [\"allow tcp *.example\", \"deny tcp bad.example\"]\n";
    Setup::new()
        .profile("apollo", &shared_profile("apollo", LETS_OUT))
        .tables(bound)
        .start(test)
}

/// What each level says, and the exit code.
#[track_caller]
fn levels(said: &Said) -> (Option<i32>, Vec<String>) {
    let lines = said.stdout.lines().map(str::to_owned).collect();
    assert!(said.stderr.is_empty(), "{said:?}");
    (said.code, lines)
}

#[test]
fn a_decision_is_explained_over_the_levels_that_would_hold() {
    let Some(manager) = with_rules("explain") else {
        return;
    };
    let test = |user: &str, words: &[&str]| egress(&manager, user, &[&["test"], words].concat());
    let (code, lines) = levels(&test(ALICE, &["--profile", "apollo", "a.example:443"]));
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines[0].starts_with("the administrator: allowed: allow tcp *.example"));
    assert!(lines[1].starts_with("the owner: allowed: allow tls *.example:443"));
    assert_eq!(lines[3], "may pass: TLS for the name");

    let denied = test(ALICE, &["--profile", "apollo", "--json", "bad.example:443"]);
    assert_eq!(denied.code, Some(1), "{denied:?}");
    let object = &denied.objects()[0];
    assert_eq!(
        (&object["passes"], &object["rule"]),
        (&Value::Bool(false), &"deny tcp bad.example".into())
    );
    let not_the_owners = test(ALICE, &["--profile", "apollo", "a.example:80"]);
    let (code, lines) = levels(&not_the_owners);
    assert_eq!(code, Some(1));
    assert!(
        lines[1].contains("no rule of the owner allows it"),
        "{lines:?}"
    );

    // One's own rules narrow, and are told in their place.
    let own = ["--profile", "apollo", "--egress", "allow tls b.example:443"];
    let (code, lines) = levels(&test(BOB, &[&own[..], &["a.example:443"]].concat()));
    assert_eq!(code, Some(1));
    assert!(
        lines[2].starts_with("the user: no rule of the user allows it"),
        "{lines:?}"
    );
    let wrong = [
        "--profile",
        "apollo",
        "--egress",
        "allow everything",
        "a.example:443",
    ];
    let wrong = test(BOB, &wrong);
    assert_eq!(wrong.code, Some(125), "{wrong:?}");

    // A profile without rules lets nothing out; without a name it is one's own.
    let (code, lines) = levels(&test(BOB, &["a.example:443"]));
    assert_eq!((code, lines.len()), (Some(1), 2), "{lines:?}");
    manager.end();
}

#[test]
fn another_s_decision_is_explained_to_whoever_sees_their_flows() {
    let Some(manager) = with_rules("explain_other") else {
        return;
    };
    let test = |user: &str, words: &[&str]| egress(&manager, user, &[&["test"], words].concat());
    let of_bob = ["--user", BOB, "--profile", "apollo", "a.example:443"];
    for who in [ALICE, "root"] {
        let said = test(who, &of_bob);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let of_alice = ["--user", ALICE, "--profile", "apollo", "a.example:443"];
    let refused = test(BOB, &of_alice);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("may not read_audit"), "{refused:?}");
    let hidden = test(CAROL, &["--profile", "apollo", "a.example:443"]);
    assert!(hidden.stderr.contains("of yours"), "{hidden:?}");
    // Who may make no sandbox in a profile has no rules there.
    let none = ["--user", CAROL, "--profile", "apollo", "a.example:443"];
    let none = test("root", &none);
    assert!(none.stderr.contains("may make no sandbox"), "{none:?}");
    // Asking about somebody makes no profile for them; their own first request does.
    let unknown = test("root", &["--user", CAROL, "a.example:443"]);
    assert!(unknown.stderr.contains("has no profile yet"), "{unknown:?}");
    assert_eq!(test(CAROL, &["a.example:443"]).code, Some(1));
    assert_eq!(
        test("root", &["--user", CAROL, "a.example:443"]).code,
        Some(1)
    );

    let events = manager.root().audit(v1::QueryAuditRequest {
        action: "explain_egress".to_owned(),
        outcome: "allowed".to_owned(),
        ..v1::QueryAuditRequest::default()
    });
    let events = events.unwrap();
    assert_eq!(events.len(), 4, "{events:?}");
    let noted = |event: &Value| {
        let of = |field: &Value| field.as_str().unwrap().to_owned();
        (
            of(&event["who"]),
            of(&event["extra"]["of"]),
            of(&event["profile"]),
        )
    };
    let first = (ALICE.to_owned(), BOB.to_owned(), "apollo".to_owned());
    assert_eq!(noted(&events[0]), first);
    assert_eq!(events[0]["extra"]["destination"], "a.example:443");
    manager.end();
}

#[test]
fn the_rules_of_a_live_sandbox_are_those_that_hold_now() {
    let Some(manager) = with_rules("explain_live") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(v1::CreateRequest {
        profile: "apollo".to_owned(),
        policy: "version = 1\n[egress]\nrules = [\"allow tls a.example:443\"]\n".to_owned(),
        ..create()
    });
    let test = |user: &str, words: &[&str]| egress(&manager, user, &[&["test"], words].concat());
    let live = |destination: &str| test(ALICE, &["--sandbox", &sandbox.id, destination]).code;
    assert_eq!(live("a.example:443"), Some(0));
    assert_eq!(live("b.example:443"), Some(1));
    let of_another = test(BOB, &["--sandbox", &sandbox.id, "a.example:443"]);
    assert!(of_another.stderr.contains("no sandbox"), "{of_another:?}");
    let path = manager.profiles().join("apollo.toml");
    let nothing = shared_profile("apollo", "[egress]\nrules = []\n");
    fs::write(path, nothing).unwrap();
    eventually("the profile's new rules", || {
        (live("a.example:443") == Some(1)).then_some(())
    });
    let both = test(
        ALICE,
        &["--sandbox", &sandbox.id, "--user", BOB, "a.example:443"],
    );
    assert_eq!(both.code, Some(125), "{both:?}");
    manager.end();
}
