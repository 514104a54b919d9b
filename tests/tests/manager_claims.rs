//! Which sandbox a claim hands out: one of the caller's own with the same trust key and
//! policy, and no other. One test for each part of the key. Environment and egress are
//! parts too, and the same for everybody as yet; that they count is shown by the tests
//! of `lakekeep-policy`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, Manager, Setup, User, create, of, shared_profile, shell,
};

fn team() -> v1::CreateRequest {
    v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    }
}

fn start(test: &str) -> Option<Manager> {
    let identity = "[[identity.rule]]\nname = \"project\"\nproject = \"apollo\"\naccount = \"lkt-carol\"\n\
                    [[identity.rule]]\nname = \"own\"\nuser = \"*\"\naccount = \"$1\"\n";
    Setup::new()
        .identity(identity)
        .profile("team", &shared_profile("team", ""))
        .profile("twin", &shared_profile("twin", ""))
        .profile("apollo", &shared_profile("apollo", "project = \"apollo\""))
        .start(test)
}

/// What a request that differs in one thing is handed.
enum Is {
    /// Another sandbox, of another trust key.
    OfAnotherKey,
    /// Another sandbox, of the same trust key.
    OfTheSameKey,
}

fn claims(test: &str, what: Is, differs: impl FnOnce(&Manager) -> (User, v1::CreateRequest)) {
    let Some(manager) = start(test) else {
        return;
    };
    let alice = manager.alice();
    let first = alice.claim(team()).unwrap();
    assert_eq!(alice.claim(team()).unwrap().id, first.id);
    let (user, request) = differs(&manager);
    let other = user.claim(request.clone()).unwrap();
    assert_ne!(other.id, first.id);
    match what {
        Is::OfAnotherKey => assert_ne!(other.trust_key, first.trust_key),
        Is::OfTheSameKey => assert_eq!(other.trust_key, first.trust_key),
    }
    // Each is handed out again to whom it fits.
    assert_eq!(user.claim(request).unwrap().id, other.id);
    manager.end();
}

#[test]
fn the_identity_counts() {
    claims("identity", Is::OfAnotherKey, |manager| {
        let request = v1::CreateRequest {
            code_owner: ALICE.to_owned(),
            ..team()
        };
        (manager.bob(), request)
    });
}

#[test]
fn the_profile_counts() {
    claims("profile", Is::OfAnotherKey, |manager| {
        let request = v1::CreateRequest {
            profile: "twin".to_owned(),
            ..team()
        };
        (manager.alice(), request)
    });
}

#[test]
fn the_code_s_owner_counts() {
    claims("code_owner", Is::OfAnotherKey, |manager| {
        let request = v1::CreateRequest {
            code_owner: BOB.to_owned(),
            ..team()
        };
        (manager.alice(), request)
    });
}

#[test]
fn the_set_of_secrets_counts() {
    claims("secrets", Is::OfAnotherKey, |manager| {
        set(&manager.alice(), v1::Scope::User, "");
        (manager.alice(), team())
    });
}

#[test]
fn a_profile_s_secrets_count_for_all_its_users() {
    claims("profile_secrets", Is::OfAnotherKey, |manager| {
        set(&manager.alice(), v1::Scope::Profile, "team");
        (manager.alice(), team())
    });
}

#[test]
fn the_policy_counts() {
    claims("policy", Is::OfTheSameKey, |manager| {
        let request = v1::CreateRequest {
            policy: "version = 1\n[limits]\nmemory = \"64MiB\"\n".to_owned(),
            ..team()
        };
        (manager.alice(), request)
    });
}

#[test]
fn what_it_is_for_counts() {
    claims("kind", Is::OfTheSameKey, |manager| {
        let request = v1::CreateRequest {
            kind: v1::Kind::Kernel.into(),
            ..team()
        };
        (manager.alice(), request)
    });
}

fn set(user: &User, scope: v1::Scope, owner: &str) {
    user.set_variable(v1::SetVariableRequest {
        variable: Some(v1::VariableRef {
            scope: scope.into(),
            owner: owner.to_owned(),
            name: "token".to_owned(),
            secret: true,
        }),
        value: b"s3cret".to_vec(),
    })
    .unwrap();
}

#[test]
fn an_equal_key_of_another_user_is_not_handed_out() {
    let Some(manager) = start("equal_keys") else {
        return;
    };
    let request = || v1::CreateRequest {
        profile: "apollo".to_owned(),
        code_owner: ALICE.to_owned(),
        ..create()
    };
    let hers = manager.alice().claim(request()).unwrap();
    let his = manager.bob().claim(request()).unwrap();
    // One identity for the project, one profile, one owner of the code.
    assert_eq!(his.trust_key, hers.trust_key);
    assert_ne!(his.id, hers.id);
    assert_eq!((hers.owner.as_str(), his.owner.as_str()), (ALICE, BOB));
    manager.end();
}

#[test]
fn what_changed_after_it_was_made_is_not_given_to_it() {
    let Some(manager) = start("changed_secrets") else {
        return;
    };
    let alice = manager.alice();
    let before = alice.claim(team()).unwrap();
    set(&alice, v1::Scope::User, "");
    let mut start = shell(&before.id, "true");
    start.secrets = vec!["token".to_owned()];
    assert_eq!(alice.exec(start).unwrap_err().reason, "CONFLICT");
    manager.end();
}

#[test]
fn what_is_frozen_or_ended_is_not_handed_out() {
    let Some(manager) = start("not_running") else {
        return;
    };
    let alice = manager.alice();
    let first = alice.claim(team()).unwrap();
    alice.freeze(of(&first.id)).unwrap();
    let next = alice.claim(team()).unwrap();
    assert_ne!(next.id, first.id);
    alice.kill(of(&next.id)).unwrap();
    assert_ne!(alice.claim(team()).unwrap().id, next.id);
    manager.end();
}
