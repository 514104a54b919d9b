//! Tokens that are good, and every way in which one is not.

use serde_json::{Value, json};

use super::*;
use crate::principal::{Authenticator, Principal};
use crate::testkit::{EVERY_ALGORITHM, ISSUER, NOW, Signer, claims, jwks, rules};
use crate::time::UnixTime;

const DEFAULT: &str = "algorithms = [\"ES256\"]";

/// Verifies a token against one key.
pub(super) fn verify(token: &str, keys: &[Value], lines: &str) -> Result<Principal, TokenError> {
    let keys = KeySet::parse(&jwks(keys)).unwrap();
    verify_at(token, &keys, lines, NOW)
}

fn verify_at(token: &str, keys: &KeySet, lines: &str, now: u64) -> Result<Principal, TokenError> {
    let token = parse_token(token)?;
    let verified = verify_token(&token, keys, &rules(lines), UnixTime::new(now))?;
    Ok(verified.into_principal())
}

/// What comes of claims that were changed.
fn with(change: impl FnOnce(&mut Value), lines: &str) -> Result<Principal, TokenError> {
    let signer = Signer::p256();
    let mut claims = claims();
    change(&mut claims);
    let token = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims);
    verify(&token, &[signer.jwk("k")], lines)
}

fn without(claim: &str) -> Result<Principal, TokenError> {
    with(
        |claims| {
            claims.as_object_mut().unwrap().remove(claim);
        },
        DEFAULT,
    )
}

#[test]
fn every_algorithm_verifies_with_its_key() {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed());
    for (algorithm, signer) in [
        ("RS256", &rsa),
        ("RS384", &rsa),
        ("RS512", &rsa),
        ("PS256", &rsa),
        ("ES256", &p256),
        ("ES384", &p384),
        ("EdDSA", &ed),
    ] {
        for typ in [json!("JWT"), json!("at+jwt"), json!("application/at+JWT")] {
            let header = json!({"alg": algorithm, "kid": "k", "typ": typ});
            let token = signer.token(&header, &claims());
            let principal = verify(&token, &[signer.jwk("k")], EVERY_ALGORITHM).unwrap();
            assert_eq!(principal.user().as_str(), "corp:alice", "{algorithm}");
            let groups: Vec<&str> = principal.groups().iter().map(|g| g.as_str()).collect();
            assert_eq!(groups, ["corp:eng", "corp:ops"]);
            let issuer = ISSUER.to_owned();
            assert_eq!(*principal.authenticator(), Authenticator::Jwt { issuer });
        }
    }
}

#[test]
fn a_token_that_names_no_key_is_tried_with_all_that_fit() {
    let (one, two) = (Signer::p256(), Signer::p256());
    let token = two.token(&json!({"alg": "ES256"}), &claims());
    let keys = [one.jwk("a"), Signer::ed().jwk("b"), two.jwk("c")];
    assert!(verify(&token, &keys, DEFAULT).is_ok());
    let error = verify(&token, &[one.jwk("a")], DEFAULT).unwrap_err();
    assert!(matches!(error, TokenError::Signature { .. }));
}

#[test]
fn an_expired_token_is_refused_after_the_leeway() {
    let signer = Signer::p256();
    let token = signer.token(&json!({"alg": "ES256"}), &claims());
    let keys = KeySet::parse(&jwks(&[signer.jwk("k")])).unwrap();
    assert!(verify_at(&token, &keys, DEFAULT, NOW + 64).is_ok());
    let at = UnixTime::new(NOW + 60);
    assert_eq!(
        verify_at(&token, &keys, DEFAULT, NOW + 65).unwrap_err(),
        TokenError::Expired { at }
    );
}

#[test]
fn a_token_before_its_time_is_refused() {
    for claim in ["nbf", "iat"] {
        let from = UnixTime::new(NOW + 6);
        assert_eq!(
            with(|claims| claims[claim] = json!(NOW + 6), DEFAULT).unwrap_err(),
            TokenError::NotYetValid { from }
        );
        assert!(with(|claims| claims[claim] = json!(NOW + 5), DEFAULT).is_ok());
    }
}

#[test]
fn times_are_numbers_and_an_end_is_required() {
    assert_eq!(
        without("exp").unwrap_err(),
        TokenError::Claim {
            claim: "exp".to_owned()
        }
    );
    assert!(without("nbf").is_ok() && without("iat").is_ok());
    for time in [
        json!("1800000060"),
        json!(-1),
        json!(null),
        json!(1e300),
        json!([1]),
    ] {
        for claim in ["exp", "nbf", "iat"] {
            let error = with(|claims| claims[claim] = time.clone(), DEFAULT).unwrap_err();
            assert!(
                matches!(error, TokenError::Malformed { .. }),
                "{claim} {time}"
            );
        }
    }
    assert!(with(|claims| claims["exp"] = json!(NOW as f64 + 60.5), DEFAULT).is_ok());
}

#[test]
fn a_token_that_was_issued_long_ago_is_refused() {
    let lines = format!("{DEFAULT}\nmax_token_age_seconds = 100");
    let issued = UnixTime::new(NOW - 106);
    assert_eq!(
        with(|claims| claims["iat"] = json!(NOW - 106), &lines).unwrap_err(),
        TokenError::TooOld { issued }
    );
    assert!(with(|claims| claims["iat"] = json!(NOW - 105), &lines).is_ok());
    let none = |claims: &mut Value| {
        claims.as_object_mut().unwrap().remove("iat");
    };
    assert_eq!(
        with(none, &lines).unwrap_err(),
        TokenError::Claim {
            claim: "iat".to_owned()
        }
    );
}

#[test]
fn a_token_for_others_is_refused() {
    for aud in [
        json!("x"),
        json!(["x", "y"]),
        json!([]),
        json!(null),
        json!(["lakekeep", 1]),
    ] {
        let error = with(|claims| claims["aud"] = aud.clone(), DEFAULT).unwrap_err();
        assert!(matches!(error, TokenError::Audience { .. }), "{aud}");
    }
    assert!(matches!(without("aud"), Err(TokenError::Audience { .. })));
    assert!(with(|claims| claims["aud"] = json!(["x", "other"]), DEFAULT).is_ok());
}

#[test]
fn another_issuers_token_is_refused() {
    for iss in [
        json!("https://issuer.example/"),
        json!("x"),
        json!(1),
        json!([ISSUER]),
    ] {
        let error = with(|claims| claims["iss"] = iss.clone(), DEFAULT).unwrap_err();
        assert!(matches!(error, TokenError::Issuer { .. }), "{iss}");
    }
    assert!(matches!(without("iss"), Err(TokenError::Issuer { .. })));
}

#[test]
fn users_and_groups_must_be_names() {
    for sub in ["../root", "a/b", "", "a\nb", " a"] {
        let error = with(|claims| claims["sub"] = json!(sub), DEFAULT).unwrap_err();
        assert!(matches!(error, TokenError::Name { .. }), "{sub:?}");
    }
    assert!(matches!(without("sub"), Err(TokenError::Claim { .. })));
    let error = with(|claims| claims["groups"] = json!(["ok", "/eng"]), DEFAULT).unwrap_err();
    assert!(error.to_string().contains("U+002F"), "{error}");
    for groups in [json!(1), json!([1]), json!({"a": 1})] {
        let error = with(|claims| claims["groups"] = groups.clone(), DEFAULT).unwrap_err();
        assert!(matches!(error, TokenError::Claim { .. }), "{groups}");
    }
    let one = with(|claims| claims["groups"] = json!("eng"), DEFAULT).unwrap();
    assert_eq!(one.groups().len(), 1);
    assert!(without("groups").unwrap().groups().is_empty());
}

#[test]
fn more_groups_than_anybody_has_are_refused() {
    let many: Vec<String> = (0..1001).map(|n| format!("{n:x}")).collect();
    let error = with(|claims| claims["groups"] = json!(many), DEFAULT).unwrap_err();
    assert_eq!(
        error,
        TokenError::Groups {
            count: 1001,
            most: 1000
        }
    );
}

#[test]
fn an_address_that_is_not_verified_names_nobody() {
    let lines = format!("{DEFAULT}\nuser_claim = \"email\"");
    let email = |verified: Value| {
        with(
            |claims| {
                claims["email"] = json!("alice@example.org");
                claims["email_verified"] = verified;
            },
            &lines,
        )
    };
    assert_eq!(
        email(json!(true)).unwrap().user().as_str(),
        "corp:alice@example.org"
    );
    for no in [json!(false), json!("true"), json!(null)] {
        assert_eq!(email(no).unwrap_err(), TokenError::EmailNotVerified);
    }
}

#[test]
fn key_sets_leave_out_what_does_not_verify() {
    let signer = Signer::p256();
    let mut other = signer.jwk("enc");
    other["use"] = json!("enc");
    let mut wrap = signer.jwk("wrap");
    wrap["key_ops"] = json!(["wrapKey"]);
    let mut unknown = signer.jwk("unknown");
    unknown["alg"] = json!("ES512");
    let mut short = signer.jwk("short");
    short["x"] = json!("AAAA");
    let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});
    let weak =
        json!({"kty": "RSA", "kid": "w", "n": crate::testkit::b64([0xff; 128]), "e": "AQAB"});
    let rest = [
        other,
        wrap,
        unknown,
        short,
        secret,
        weak,
        json!(1),
        json!({}),
    ];
    let error = KeySet::parse(&jwks(&rest)).unwrap_err();
    assert_eq!(error, KeySetError::NoneUsable { count: 8 });
    let all = [rest.as_slice(), &[signer.jwk("k")]].concat();
    assert_eq!(KeySet::parse(&jwks(&all)).unwrap().len(), 1);
}

#[test]
fn broken_key_sets_are_refused() {
    for text in [
        "",
        "[]",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kty\":1,\"kty\":2}]}",
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes()).unwrap_err(),
            KeySetError::NotJson,
            "{text}"
        );
    }
    assert_eq!(KeySet::parse(b"{}").unwrap_err(), KeySetError::NoKeys);
    assert_eq!(
        KeySet::parse(b"{\"keys\":{}}").unwrap_err(),
        KeySetError::NoKeys
    );
    let many = vec![json!({}); 65];
    assert_eq!(
        KeySet::parse(&jwks(&many)).unwrap_err(),
        KeySetError::TooMany { count: 65 }
    );
}
