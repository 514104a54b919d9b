//! Attacks on who the caller is: tokens, delegation, metadata, the insides of a
//! sandbox. Each is refused and in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, ENGINE, Issuer, Manager, Refusals, Refused, Setup, User, create, of,
    shared_profile, shell,
};
use serde_json::{Value, json};

const FOR: &str = "lakekeep-on-behalf-of";
const TOKEN: &str = "lakekeep-delegation";

fn me(user: &User) -> Result<v1::WhoAmIResponse, Refused> {
    user.who_am_i(v1::WhoAmIRequest::default())
}

/// Bob shows a token beside his own connection: it is not passed over, and what it
/// claims is nowhere.
fn token(test: &str, reason: &str, make: impl FnOnce(&Issuer, Value) -> String) {
    let issuer = Issuer::start();
    let Some(manager) = Setup::new().tables(&issuer.table()).start(test) else {
        return;
    };
    let bob = manager.bob();
    let shown = |token: &str| me(&bob.with("authorization", &format!("Bearer {token}")));
    let good = issuer.claims("someone");
    // The same way with a good one.
    let known = shown(&issuer.token(&good)).unwrap();
    assert_eq!(
        (known.user.as_str(), known.authenticated_by.as_str()),
        ("idp:someone", "jwt")
    );
    let bad = make(&issuer, good);
    let mut all = Refusals::new(&manager);
    all.attempt(test, BOB, reason, || shown(&bad));
    let claimed = |event: &Value| {
        event["who"]
            .as_str()
            .is_some_and(|who| who.starts_with("idp:"))
    };
    assert!(!all.log().iter().any(claimed));
    all.finish(1);
    manager.end();
}

fn changed(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

macro_rules! tokens {
    ($($name:ident: $make:expr;)+) => {
        $(
            #[test]
            fn $name() {
                token(stringify!($name), "UNAUTHENTICATED", $make);
            }
        )+
    };
}

tokens! {
    token_signed_by_another_key: |issuer, good| issuer.forged(&good);
    token_of_algorithm_none: |issuer, good| issuer.unsigned(&good);
    token_without_its_signature: |issuer, good| {
        let token = issuer.token(&good);
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    token_with_another_s_claims: |issuer, good| {
        let token = issuer.token(&good);
        let other = issuer.token(&changed(good, "sub", json!("root")));
        let (_, signature) = token.rsplit_once('.').unwrap();
        format!("{}.{signature}", other.rsplit_once('.').unwrap().0)
    };
    token_that_has_expired: |issuer, good| {
        let now = good["iat"].as_u64().unwrap();
        issuer.token(&changed(good, "exp", json!(now - 1)))
    };
    token_that_is_not_valid_yet: |issuer, good| {
        let now = good["iat"].as_u64().unwrap();
        issuer.token(&changed(good, "nbf", json!(now + 3600)))
    };
    token_for_another_audience: |issuer, good| {
        issuer.token(&changed(good, "aud", json!("elsewhere")))
    };
    token_of_another_issuer: |issuer, good| {
        issuer.token(&changed(good, "iss", json!("https://idp.example")))
    };
    token_of_nobody: |issuer, good| issuer.token(&changed(good, "sub", json!("")));
    token_that_is_none: |_, _| "x".to_owned();
    token_that_is_empty: |_, _| String::new();
}

#[test]
fn two_tokens_or_another_scheme() {
    let issuer = Issuer::start();
    let Some(manager) = Setup::new().tables(&issuer.table()).start("schemes") else {
        return;
    };
    let bob = manager.bob();
    let good = issuer.token(&issuer.claims("someone"));
    let mut all = Refusals::new(&manager);
    all.attempt("another scheme", BOB, "UNAUTHENTICATED", || {
        me(&bob.with("authorization", "Basic cm9vdDo="))
    });
    let both = bob
        .with("authorization", &format!("Bearer {good}"))
        .with("authorization", "Bearer x");
    all.attempt("two tokens", BOB, "BAD_REQUEST", || me(&both));
    all.finish(2);
    manager.end();
}

#[test]
fn names_in_metadata_are_nobody_s() {
    let Some(manager) = Setup::new().start("metadata") else {
        return;
    };
    let bob = manager.bob();
    for name in [
        "user",
        "x-user",
        "x-remote-user",
        "lakekeep-user",
        "x-forwarded-user",
    ] {
        let known = me(&bob.with(name, "root")).unwrap();
        assert_eq!((known.user.as_str(), known.administrator), (BOB, false));
    }
    manager.end();
}

#[test]
fn a_peer_without_an_account() {
    let Some(manager) = Setup::new().start("no_account") else {
        return;
    };
    let nobody = manager.stranger(4_000_000_123);
    let mut all = Refusals::new(&manager);
    all.attempt("a peer of no account", "?", "UNAUTHENTICATED", || {
        me(&nobody)
    });
    let log = all.log();
    let noted = log.iter().find(|event| event["who"] == "?").unwrap();
    assert_eq!(noted["extra"]["from"], "uid 4000000123");
    all.finish(1);
    manager.end();
}

/// A flood of refusals is written as a burst and a count, and holds nobody up.
#[test]
fn a_flood_of_refusals_is_counted() {
    const FLOOD: usize = 5000;
    let Some(manager) = Setup::new().start("flood") else {
        return;
    };
    let nobody = manager.stranger(4_000_000_123);
    let audit = manager.kept().join("audit");
    let before = size(&audit);
    for _ in 0..FLOOD {
        assert_eq!(me(&nobody).unwrap_err().reason, "UNAUTHENTICATED");
    }
    let grown = size(&audit) - before;
    assert!(grown < 200 << 10, "{grown} bytes for {FLOOD} refusals");
    assert_eq!(me(&manager.bob()).unwrap().user, BOB);
    let root = manager.root();
    let told = lakekeep_tests::eventually("every refusal, one by one or counted", || {
        let log = root.audit(v1::QueryAuditRequest::default()).unwrap();
        let mine = log.iter().filter(|event| event["who"] == "?");
        let counts = mine.map(|event| match event["extra"]["count"].as_str() {
            Some(count) => count.parse().unwrap(),
            None => 1,
        });
        let counts: Vec<usize> = counts.collect();
        (counts.iter().sum::<usize>() == FLOOD).then_some(counts.len())
    });
    assert!(told < 200, "{told} events");
    manager.end();
}

fn size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
    sizes.sum()
}

fn with_engine(test: &str) -> Option<Manager> {
    let delegate = format!("[[auth.delegate]]\nactor = \"{ENGINE}\"\nusers = [\"{ALICE}\"]\n");
    Setup::new()
        .tables(&delegate)
        .profile("team", &shared_profile("team", ""))
        .profile("other", &shared_profile("other", ""))
        .start(test)
}

/// Somebody says for whom it acts.
fn acting(test: &str, who: &str, target: &str) {
    let Some(manager) = with_engine(test) else {
        return;
    };
    let mut all = Refusals::new(&manager);
    let user = manager.user(who);
    all.attempt(test, who, "DENIED", || me(&user.with(FOR, target)));
    all.finish(1);
    manager.end();
}

macro_rules! acting {
    ($($name:ident: $who:expr, $target:expr;)+) => {
        $(
            #[test]
            fn $name() {
                acting(stringify!($name), $who, $target);
            }
        )+
    };
}

acting! {
    a_user_acts_for_a_user: BOB, ALICE;
    a_user_acts_for_the_administrator: BOB, "root";
    an_engine_acts_for_another_user: ENGINE, BOB;
    an_engine_acts_for_the_administrator: ENGINE, "root";
    an_engine_acts_for_nobody: ENGINE, "nobody-of-this-name";
    an_administrator_acts_for_a_user: "root", CAROL;
}

#[test]
fn an_engine_acts_for_two_users_at_once() {
    let Some(manager) = with_engine("for_two") else {
        return;
    };
    let engine = manager.user(ENGINE);
    let mut all = Refusals::new(&manager);
    all.attempt("for two users", ENGINE, "BAD_REQUEST", || {
        me(&engine.with(FOR, ALICE).with(FOR, BOB))
    });
    all.finish(1);
    manager.end();
}

#[test]
fn of_what_an_engine_may_do_it_is_said_who_did_it() {
    let Some(manager) = with_engine("on_behalf") else {
        return;
    };
    let engine = manager.user(ENGINE).with(FOR, ALICE);
    let known = me(&engine).unwrap();
    assert_eq!((known.user.as_str(), known.actor.as_str()), (ALICE, ENGINE));
    let sandbox = engine.sandbox(create());
    assert_eq!(sandbox.owner, ALICE);
    let log = manager.root().audit(v1::QueryAuditRequest::default());
    let log = log.unwrap();
    let made = |event: &&Value| {
        event["action"] == "create_sandbox" && event["sandbox"] == sandbox.id.as_str()
    };
    let noted = log.iter().find(made).unwrap();
    assert_eq!(
        (&noted["who"], &noted["actor"], &noted["on_behalf_of"]),
        (&json!(ALICE), &json!(ENGINE), &json!(ALICE))
    );
    manager.end();
}

/// A delegation of Alice's for one profile, in the engine's hands, and who is after more.
struct Delegated {
    manager: Manager,
    /// The token, for profile `team`.
    token: String,
    /// Its identifier.
    id: String,
}

impl Delegated {
    fn new(test: &str) -> Option<Self> {
        let manager = with_engine(test)?;
        let given = give(&manager.alice(), "team").unwrap();
        let acting = manager.user(ENGINE).with(TOKEN, &given.token);
        let made = acting.sandbox(v1::CreateRequest {
            profile: "team".to_owned(),
            ..create()
        });
        assert_eq!(made.owner, ALICE);
        Some(Self {
            manager,
            token: given.token,
            id: given.id,
        })
    }

    fn acting(&self) -> User {
        self.manager.user(ENGINE).with(TOKEN, &self.token)
    }

    fn refused<T: Debug>(
        self,
        who: &str,
        reason: &str,
        attempt: impl FnOnce() -> Result<T, Refused>,
    ) {
        let mut all = Refusals::new(&self.manager);
        all.attempt("it", who, reason, attempt);
        all.finish(1);
        self.manager.end();
    }
}

fn give(user: &User, profile: &str) -> Result<v1::DelegateResponse, Refused> {
    user.delegate(v1::DelegateRequest {
        actor: ENGINE.to_owned(),
        profile: profile.to_owned(),
        lifetime: None,
    })
}

#[test]
fn a_delegation_shown_by_another() {
    let Some(given) = Delegated::new("shown_by_another") else {
        return;
    };
    let bob = given.manager.bob().with(TOKEN, &given.token);
    given.refused(BOB, "DENIED", || me(&bob));
}

#[test]
fn a_delegation_that_is_forged() {
    let Some(given) = Delegated::new("forged_delegation") else {
        return;
    };
    let (head, _) = given.token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let engine = given.manager.user(ENGINE).with(TOKEN, &forged);
    given.refused(ENGINE, "DENIED", || me(&engine));
}

#[test]
fn a_delegation_used_in_another_profile() {
    let Some(given) = Delegated::new("another_profile") else {
        return;
    };
    let acting = given.acting();
    given.refused(ENGINE, "DENIED", || {
        acting.create(v1::CreateRequest {
            profile: "other".to_owned(),
            ..create()
        })
    });
}

#[test]
fn a_delegation_used_on_a_sandbox_of_another_profile() {
    let Some(given) = Delegated::new("another_profile_s") else {
        return;
    };
    let beyond = given.manager.alice().sandbox(v1::CreateRequest {
        profile: "other".to_owned(),
        ..create()
    });
    let acting = given.acting();
    given.refused(ENGINE, "NOT_FOUND", || {
        acting.exec(shell(&beyond.id, "true"))
    });
}

#[test]
fn a_delegation_that_looks_at_another_profile() {
    let Some(given) = Delegated::new("looks_at_another") else {
        return;
    };
    let acting = given.acting();
    given.refused(ENGINE, "NOT_FOUND", || {
        acting.get_profile(v1::ProfileRef {
            name: "other".to_owned(),
        })
    });
}

#[test]
fn a_delegation_that_is_passed_on() {
    let Some(given) = Delegated::new("passed_on") else {
        return;
    };
    let acting = given.acting();
    given.refused(ENGINE, "BAD_REQUEST", || give(&acting, ""));
}

#[test]
fn a_right_to_act_that_is_passed_on() {
    let Some(given) = Delegated::new("right_passed_on") else {
        return;
    };
    let engine = given.manager.user(ENGINE).with(FOR, ALICE);
    given.refused(ENGINE, "BAD_REQUEST", || give(&engine, ""));
}

#[test]
fn a_delegation_that_revokes() {
    let Some(given) = Delegated::new("revokes") else {
        return;
    };
    let acting = given.acting();
    given.refused(ENGINE, "DENIED", || {
        acting.revoke_delegation(v1::RevokeDelegationRequest::default())
    });
}

#[test]
fn a_delegation_that_sets_the_user_s_secrets() {
    let Some(given) = Delegated::new("sets_secrets") else {
        return;
    };
    let acting = given.acting();
    given.refused(ENGINE, "DENIED", || {
        acting.set_variable(v1::SetVariableRequest {
            variable: Some(v1::VariableRef {
                scope: v1::Scope::User.into(),
                name: "token".to_owned(),
                secret: true,
                ..v1::VariableRef::default()
            }),
            value: b"x".to_vec(),
        })
    });
}

#[test]
fn a_delegation_that_was_revoked() {
    let Some(given) = Delegated::new("revoked") else {
        return;
    };
    let one = v1::RevokeDelegationRequest {
        id: given.id.clone(),
    };
    given.manager.alice().revoke_delegation(one).unwrap();
    let acting = given.acting();
    given.refused(ENGINE, "DENIED", || me(&acting));
}

#[test]
fn all_delegations_that_were_revoked() {
    let Some(given) = Delegated::new("all_revoked") else {
        return;
    };
    let all = v1::RevokeDelegationRequest::default();
    given.manager.alice().revoke_delegation(all).unwrap();
    let acting = given.acting();
    given.refused(ENGINE, "DENIED", || me(&acting));
}

#[test]
fn a_delegation_is_not_revoked_by_another() {
    let Some(given) = Delegated::new("another_s_revoked") else {
        return;
    };
    let bob = given.manager.bob();
    let one = v1::RevokeDelegationRequest {
        id: given.id.clone(),
    };
    // He is told nothing of whose it is, and it holds.
    bob.revoke_delegation(one).unwrap();
    assert_eq!(me(&given.acting()).unwrap().user, ALICE);
    given.manager.end();
}

#[test]
fn from_inside_there_is_no_way_to_the_manager() {
    let Some(manager) = Setup::new().start("inside") else {
        return;
    };
    let alice = manager.alice();
    let id = alice.sandbox(create()).id;
    for socket in ["run/lakekeep.sock", "run/launchers/0.sock"] {
        let path = manager.place().path().join("m").join(socket);
        // Outside it is there; from inside neither its name nor its folder is.
        assert!(path.exists(), "{}", path.display());
        let script = format!(
            "ls {path} 2>&1; python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{path}\"); print(\"in\")'",
            path = path.display()
        );
        let done = alice.run(&id, &script);
        assert_ne!(done.code, 0, "{}", done.text());
        assert!(!done.text().ends_with("in"), "{}", done.text());
    }
    // The launchers' sockets are the manager's alone, from outside too.
    let folder = manager.runtime().join("launchers");
    let denied = std::process::Command::new("setpriv")
        .args(["--reuid", ALICE, "--regid", ALICE, "--clear-groups", "ls"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(!denied.status.success());
    alice.kill(of(&id)).unwrap();
    manager.end();
}
