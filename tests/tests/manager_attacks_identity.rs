//! Attacks on who the caller is: tokens, delegation, metadata, the insides of a
//! sandbox. Each is refused and in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, ENGINE, Issuer, Manager, Refusals, Setup, User, create, of, shared_profile,
    shell,
};
use serde_json::{Value, json};

const FOR: &str = "lakekeep-on-behalf-of";
const TOKEN: &str = "lakekeep-delegation";

fn me(user: &User) -> Result<v1::WhoAmIResponse, lakekeep_tests::manager::Refused> {
    user.who_am_i(v1::WhoAmIRequest::default())
}

#[test]
fn tokens_that_are_not_the_issuer_s_are_nobody_s() {
    let issuer = Issuer::start();
    let Some(manager) = Setup::new().tables(&issuer.table()).start("tokens") else {
        return;
    };
    let bob = manager.bob();
    let bearer = |token: &str| bob.with("authorization", &format!("Bearer {token}"));
    let good = issuer.claims("someone");
    let known = me(&bearer(&issuer.token(&good))).unwrap();
    assert_eq!(
        (known.user.as_str(), known.authenticated_by.as_str()),
        ("idp:someone", "jwt")
    );
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let now = good["iat"].as_u64().unwrap();
    let token = issuer.token(&good);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let other_user = issuer.token(&changed("sub", json!("root")));
    let swapped = format!("{}.{signature}", other_user.rsplit_once('.').unwrap().0);
    let bad = [
        ("forged", issuer.forged(&good)),
        ("unsigned", issuer.unsigned(&good)),
        ("without signature", format!("{head}.")),
        ("another's claims", swapped),
        ("expired", issuer.token(&changed("exp", json!(now - 1)))),
        (
            "not yet valid",
            issuer.token(&changed("nbf", json!(now + 3600))),
        ),
        (
            "for another audience",
            issuer.token(&changed("aud", json!("elsewhere"))),
        ),
        (
            "of another issuer",
            issuer.token(&changed("iss", json!("https://idp.example"))),
        ),
        ("without a user", issuer.token(&changed("sub", json!("")))),
        ("no token at all", "x".to_owned()),
        ("empty", String::new()),
    ];
    let mut all = Refusals::new(&manager);
    for (what, token) in &bad {
        // The peer is bob all the same: a token that was shown and is bad is not passed over.
        all.attempt(what, BOB, "UNAUTHENTICATED", || me(&bearer(token)));
    }
    all.attempt("another scheme", BOB, "UNAUTHENTICATED", || {
        me(&bob.with("authorization", "Basic cm9vdDo="))
    });
    all.attempt("two tokens", BOB, "BAD_REQUEST", || {
        me(&bearer(&token).with("authorization", &format!("Bearer {}", issuer.forged(&good))))
    });
    all.finish(13);
    manager.end();
}

fn with_engine(test: &str) -> Option<Manager> {
    let delegate = format!("[[auth.delegate]]\nactor = \"{ENGINE}\"\nusers = [\"{ALICE}\"]\n");
    Setup::new()
        .tables(&delegate)
        .profile("team", &shared_profile("team", ""))
        .profile("other", &shared_profile("other", ""))
        .start(test)
}

#[test]
fn nobody_acts_for_a_user_without_the_right() {
    let Some(manager) = with_engine("on_behalf") else {
        return;
    };
    let (bob, engine, root) = (manager.bob(), manager.user(ENGINE), manager.root());
    let known = me(&engine.with(FOR, ALICE)).unwrap();
    assert_eq!((known.user.as_str(), known.actor.as_str()), (ALICE, ENGINE));
    let mut all = Refusals::new(&manager);
    let attempts = [
        ("a user for a user", &bob, ALICE),
        ("a user for the administrator", &bob, "root"),
        ("the engine for another user", &engine, BOB),
        ("the engine for the administrator", &engine, "root"),
        ("the engine for nobody", &engine, "nobody-of-this-name"),
        ("the administrator for a user", &root, CAROL),
    ];
    for (what, who, target) in attempts {
        all.attempt(what, who.name(), "DENIED", || me(&who.with(FOR, target)));
    }
    all.attempt("for two users", ENGINE, "BAD_REQUEST", || {
        me(&engine.with(FOR, ALICE).with(FOR, BOB))
    });
    // Of what the engine may do for her, it is said who did it.
    let sandbox = engine.with(FOR, ALICE).sandbox(create());
    assert_eq!(sandbox.owner, ALICE);
    let noted = all.log();
    let noted = noted
        .iter()
        .find(|event| {
            event["action"] == "create_sandbox" && event["sandbox"] == sandbox.id.as_str()
        })
        .unwrap();
    assert_eq!(
        (&noted["who"], &noted["actor"]),
        (&json!(ALICE), &json!(ENGINE))
    );
    all.finish(7);
    manager.end();
}

#[test]
fn a_delegation_goes_no_further_than_it_was_given() {
    let Some(manager) = with_engine("delegated") else {
        return;
    };
    let (alice, bob, engine) = (manager.alice(), manager.bob(), manager.user(ENGINE));
    let give = |user: &User, profile: &str| {
        user.delegate(v1::DelegateRequest {
            actor: ENGINE.to_owned(),
            profile: profile.to_owned(),
            lifetime: None,
        })
    };
    let given = give(&alice, "team").unwrap();
    let acting = engine.with(TOKEN, &given.token);
    let made = acting.sandbox(v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    });
    assert_eq!(made.owner, ALICE);
    let beyond = alice
        .sandbox(v1::CreateRequest {
            profile: "other".to_owned(),
            ..create()
        })
        .id;
    let mut all = Refusals::new(&manager);
    all.attempt("shown by another", BOB, "DENIED", || {
        me(&bob.with(TOKEN, &given.token))
    });
    let (head, _) = given.token.rsplit_once('.').unwrap();
    let cut = format!("{head}.{}", "A".repeat(86));
    all.attempt("forged", ENGINE, "DENIED", || me(&engine.with(TOKEN, &cut)));
    all.attempt("another profile", ENGINE, "DENIED", || {
        acting.create(v1::CreateRequest {
            profile: "other".to_owned(),
            ..create()
        })
    });
    all.attempt("a sandbox of another profile", ENGINE, "NOT_FOUND", || {
        acting.exec(shell(&beyond, "true"))
    });
    all.attempt("passed on", ENGINE, "BAD_REQUEST", || give(&acting, ""));
    all.attempt("passed on by right", ENGINE, "BAD_REQUEST", || {
        give(&engine.with(FOR, ALICE), "")
    });
    all.attempt("revoking by it", ENGINE, "DENIED", || {
        acting.revoke_delegation(v1::RevokeDelegationRequest::default())
    });
    alice
        .revoke_delegation(v1::RevokeDelegationRequest {
            id: given.id.clone(),
        })
        .unwrap();
    all.attempt("revoked", ENGINE, "DENIED", || me(&acting));
    let again = give(&alice, "").unwrap();
    alice
        .revoke_delegation(v1::RevokeDelegationRequest::default())
        .unwrap();
    all.attempt("all revoked", ENGINE, "DENIED", || {
        me(&engine.with(TOKEN, &again.token))
    });
    all.finish(9);
    manager.end();
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
