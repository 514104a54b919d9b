//! Rights, tokens and the key's file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{AuthConfig, AuthDoc};
use crate::host::made_up::MadeUpHost;
use crate::name::{GroupName, UserName};
use crate::principal::{Authenticator, Principal};
use crate::testkit::b64;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime::new(1_800_000_000);

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn peer(user: &str) -> Principal {
    let groups = [GroupName::new("eng").unwrap()].into();
    Principal::new(Authenticator::Peer, name(user), groups)
}

fn config(text: &str) -> AuthConfig {
    let doc: AuthDoc = toml::from_str(text).unwrap();
    doc.check().unwrap()
}

fn host() -> MadeUpHost {
    MadeUpHost::new()
        .account("root", 0, 0, &[])
        .account("alice", 1001, 1001, &[(2000, "eng")])
        .account("boss", 1002, 1002, &[(2001, "admins")])
}

fn allow(text: &str, actor: &Principal, user: &str) -> Result<Principal, DelegationRefused> {
    config(text).authorize_delegation(actor, &name(user), &host())
}

const SPARK: &str =
    "[peer.administrators]\ngroups = [\"admins\"]\n[[delegate]]\nactor = \"spark\"\n";

#[test]
fn an_engine_acts_for_users_by_name_pattern_and_group() {
    for (rule, user) in [
        ("users = [\"alice\"]", "alice"),
        ("users = [\"corp:*\"]", "corp:bob"),
        ("groups = [\"eng\"]", "alice"),
    ] {
        let principal = allow(&format!("{SPARK}{rule}"), &peer("spark"), user).unwrap();
        assert_eq!(principal.on_behalf_of(), Some(&name(user)));
        assert_eq!(principal.actor(), Some(&name("spark")));
        assert_eq!(*principal.authenticator(), Authenticator::Delegation);
    }
    let alice = allow(&format!("{SPARK}users = [\"*\"]"), &peer("spark"), "alice").unwrap();
    assert_eq!(
        alice
            .groups()
            .iter()
            .map(GroupName::as_str)
            .collect::<Vec<_>>(),
        ["eng"]
    );
}

#[test]
fn other_engines_and_other_users_are_refused() {
    let text = format!("{SPARK}users = [\"alice\"]\ngroups = [\"ops\"]");
    let error = allow(&text, &peer("flink"), "alice").unwrap_err();
    assert!(matches!(error, DelegationRefused::NoRight { .. }));
    let error = allow(&text, &peer("spark"), "bob").unwrap_err();
    assert!(
        error.to_string().contains("auth.delegate[0] names neither"),
        "{error}"
    );
}

#[test]
fn administrators_are_left_out_unless_the_rule_says_so() {
    let text = format!("{SPARK}users = [\"*\"]");
    for user in ["root", "boss"] {
        let error = allow(&text, &peer("spark"), user).unwrap_err();
        assert!(
            error.to_string().contains("leaves administrators out"),
            "{error}"
        );
    }
    let text = format!("{text}\nadministrators = true");
    let boss = allow(&text, &peer("spark"), "boss").unwrap();
    assert!(
        !config(&text).is_administrator(&boss),
        "a delegation brings no such power"
    );
    assert!(config("").is_administrator(&peer("root")));
}

#[test]
fn a_delegation_is_not_passed_on() {
    let text = format!("{SPARK}users = [\"*\"]");
    let delegated = allow(&text, &peer("spark"), "alice").unwrap();
    let error = allow(&text, &delegated, "bob").unwrap_err();
    assert!(matches!(error, DelegationRefused::Chained { .. }));
    // Nor does acting for an engine bring the engine's rights.
    let as_spark = Principal::delegated(name("alice"), name("spark"), [].into());
    assert!(allow(&text, &as_spark, "bob").is_err());
}

/// A key in a folder of its own.
fn key() -> (TempDir, DelegationKey) {
    let folder = tempfile::tempdir().unwrap();
    let key = DelegationKey::load_or_create(&folder.path().join("key"), "manager-1").unwrap();
    (folder, key)
}

fn issue(key: &DelegationKey, lifetime: Option<Duration>) -> Result<String, IssueError> {
    let grant = Grant {
        user: &peer("alice"),
        actor: &name("spark"),
        profile: Some("sales"),
        lifetime,
    };
    key.issue(&grant, NOW)
}

fn verify(
    key: &DelegationKey,
    token: &str,
    now: UnixTime,
) -> Result<Delegated, DelegationTokenError> {
    key.verify(token, &peer("spark"), &RevocationSet::default(), now)
}

#[test]
fn a_token_lets_its_engine_act_for_its_user() {
    let (_folder, key) = key();
    let token = issue(&key, None).unwrap();
    assert!(token.starts_with("lkd1."));
    let delegated = verify(&key, &token, NOW).unwrap();
    let principal = delegated.principal();
    assert_eq!(
        (principal.user(), principal.actor()),
        (&name("alice"), Some(&name("spark")))
    );
    assert_eq!(principal.groups(), peer("alice").groups());
    let claims = delegated.claims();
    assert_eq!(
        (claims.profile(), claims.expires()),
        (Some("sales"), UnixTime::new(NOW.seconds() + 3600))
    );
    assert_eq!(parse_delegation_token(&token).unwrap(), *claims);
    assert_eq!(TokenId::parse(&claims.id().to_string()), Some(claims.id()));
    assert_ne!(issue(&key, None).unwrap(), token, "each has its own name");
}

#[test]
fn a_token_ends_and_does_not_begin_early() {
    let (_folder, key) = key();
    let token = issue(&key, Some(Duration::from_secs(60))).unwrap();
    assert!(verify(&key, &token, UnixTime::new(NOW.seconds() + 59)).is_ok());
    let at = UnixTime::new(NOW.seconds() + 60);
    assert_eq!(
        verify(&key, &token, at),
        Err(DelegationTokenError::Expired { at })
    );
    let before = UnixTime::new(NOW.seconds() - 6);
    let issued = NOW;
    assert_eq!(
        verify(&key, &token, before),
        Err(DelegationTokenError::NotYetValid { issued })
    );
    for seconds in [0, 24 * 3600 + 1] {
        let error = issue(&key, Some(Duration::from_secs(seconds))).unwrap_err();
        assert_eq!(error, IssueError::Lifetime { seconds });
    }
}

#[test]
fn only_the_engine_that_it_names_can_use_a_token() {
    let (_folder, key) = key();
    let token = issue(&key, None).unwrap();
    let none = RevocationSet::default();
    for presenter in [peer("alice"), peer("flink")] {
        let error = key.verify(&token, &presenter, &none, NOW).unwrap_err();
        assert!(matches!(error, DelegationTokenError::Actor { .. }));
    }
    let as_spark = Principal::delegated(name("x"), name("spark"), [].into());
    assert!(key.verify(&token, &as_spark, &none, NOW).is_err());
    let grant = Grant {
        user: &as_spark,
        actor: &name("x"),
        profile: None,
        lifetime: None,
    };
    assert!(matches!(
        key.issue(&grant, NOW),
        Err(IssueError::Chained { .. })
    ));
}

#[test]
fn revoked_tokens_are_refused() {
    let (_folder, key) = key();
    let token = issue(&key, None).unwrap();
    let id = parse_delegation_token(&token).unwrap().id();
    let mut one = RevocationSet::default();
    one.revoke(name("alice"), id);
    let mut another_s = RevocationSet::default();
    another_s.revoke(name("bob"), id);
    let mut user = RevocationSet::default();
    user.revoke_user(name("alice"), NOW);
    let mut earlier = RevocationSet::default();
    earlier.revoke_user(name("alice"), UnixTime::new(NOW.seconds() - 1));
    for (set, expected) in [
        (one, Err(DelegationTokenError::Revoked { id })),
        (user, Err(DelegationTokenError::Revoked { id })),
        (earlier, Ok(())),
        (another_s, Ok(())),
    ] {
        assert_eq!(
            key.verify(&token, &peer("spark"), &set, NOW).map(drop),
            expected
        );
    }
}

/// A list that cannot be read.
struct Broken;

impl Revocations for Broken {
    fn is_revoked(&self, _: &UserName, _: &TokenId) -> Result<bool, RevocationUnavailable> {
        let cause = "disk".to_owned();
        Err(RevocationUnavailable { cause })
    }

    fn revoked_until(&self, _: &UserName) -> Result<Option<UnixTime>, RevocationUnavailable> {
        Ok(None)
    }
}

#[test]
fn a_list_that_cannot_be_read_refuses() {
    let (_folder, key) = key();
    let token = issue(&key, None).unwrap();
    let error = key
        .verify(&token, &peer("spark"), &Broken, NOW)
        .unwrap_err();
    assert!(matches!(error, DelegationTokenError::Unavailable(_)));
}

#[test]
fn another_managers_token_is_refused() {
    let (folder, key) = key();
    let token = issue(&key, None).unwrap();
    let same_key = DelegationKey::load_or_create(&folder.path().join("key"), "manager-2").unwrap();
    assert!(matches!(
        verify(&same_key, &token, NOW),
        Err(DelegationTokenError::Audience { .. })
    ));
    let other = DelegationKey::load_or_create(&folder.path().join("other"), "manager-1").unwrap();
    assert_eq!(
        verify(&other, &token, NOW),
        Err(DelegationTokenError::Signature)
    );
}

#[test]
fn any_change_of_a_token_is_refused() {
    let (_folder, key) = key();
    let token = issue(&key, None).unwrap();
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&key, &changed, NOW).is_err(), "byte {place}");
        assert!(
            verify(&key, &token[..place], NOW).is_err(),
            "length {place}"
        );
    }
    for text in [
        format!("{token}."),
        format!("{token}.A"),
        format!("{token}="),
        format!(" {token}"),
    ] {
        assert!(verify(&key, &text, NOW).is_err(), "{text}");
    }
    assert_eq!(
        verify(&key, &token.replace("lkd1", "lkd2"), NOW),
        Err(DelegationTokenError::Version)
    );
}

/// The payload of a good token, changed.
fn parse(change: impl FnOnce(&mut Value)) -> Result<DelegationClaims, DelegationTokenError> {
    let mut payload = json!({
        "jti": "00112233445566778899aabbccddeeff", "aud": "m", "sub": "alice",
        "groups": [], "act": "spark", "iat": 1, "exp": 2,
    });
    change(&mut payload);
    parse_delegation_token(&format!("lkd1.{}.AAAA", b64(payload.to_string())))
}

#[test]
fn payloads_are_read_strictly() {
    assert!(parse(|_| ()).is_ok());
    for (field, value) in [
        ("jti", json!("0")),
        ("jti", json!("00112233445566778899AABBCCDDEEFF")),
        ("jti", json!("+0112233445566778899aabbccddeeff")),
        ("sub", json!("../root")),
        ("act", json!("")),
        ("groups", json!(["/"])),
        ("iat", json!(-1)),
        ("exp", json!("2")),
        ("aud", json!("x".repeat(300))),
        ("more", json!(1)),
    ] {
        let error = parse(|payload| payload[field] = value.clone()).unwrap_err();
        assert!(
            matches!(error, DelegationTokenError::Malformed { .. }),
            "{field} {value}"
        );
    }
    let twice = r#"{"jti":"00112233445566778899aabbccddeeff","aud":"m","sub":"a","sub":"b","groups":[],"act":"s","iat":1,"exp":2}"#;
    assert!(parse_delegation_token(&format!("lkd1.{}.AAAA", b64(twice))).is_err());
    let long = format!("lkd1.{}", "A".repeat(20_000));
    assert!(matches!(
        parse_delegation_token(&long),
        Err(DelegationTokenError::TooLong { .. })
    ));
}

#[test]
fn too_many_groups_are_refused_when_issued() {
    let (_folder, key) = key();
    let groups = (0..2000)
        .map(|n| GroupName::new(&format!("group-{n}")).unwrap())
        .collect();
    let grant = Grant {
        user: &Principal::new(Authenticator::Peer, name("alice"), groups),
        actor: &name("spark"),
        profile: None,
        lifetime: None,
    };
    assert!(matches!(
        key.issue(&grant, NOW),
        Err(IssueError::TooLong { groups: 2000, .. })
    ));
}

#[test]
fn the_key_is_made_once_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let first = DelegationKey::load_or_create(&path, "m").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let token = issue(&first, None).unwrap();
    let second = DelegationKey::load_or_create(&path, "m").unwrap();
    assert!(verify(&second, &token, NOW).is_ok());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left"
    );
    assert!(!format!("{first:?}").contains("pair"));
}

#[test]
fn many_starts_at_once_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let keys: Vec<DelegationKey> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| DelegationKey::load_or_create(&path, "m").unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let token = issue(&keys[0], None).unwrap();
    assert!(keys.iter().all(|key| verify(key, &token, NOW).is_ok()));
}

#[test]
fn a_key_file_that_others_could_touch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load =
        |name: &str| DelegationKey::load_or_create(&folder.path().join(name), "m").unwrap_err();
    let path = |name: &str| folder.path().join(name);
    DelegationKey::load_or_create(&path("key"), "m").unwrap();
    fs::set_permissions(path("key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(load("key"), KeyFileError::Untrusted { .. }));
    fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(path("key"), path("link")).unwrap();
    assert!(matches!(load("link"), KeyFileError::Io { .. }));
    fs::create_dir(path("folder")).unwrap();
    assert!(matches!(load("folder"), KeyFileError::Untrusted { .. }));
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    fs::write(path("cut"), &document.as_ref()[..40]).unwrap();
    fs::set_permissions(path("cut"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(load("cut"), KeyFileError::NotAKey { .. }));
    assert!(matches!(load("missing/key"), KeyFileError::Io { .. }));
}
