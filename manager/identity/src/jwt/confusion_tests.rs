//! Tokens that an attacker would make.

use ring::hmac;
use serde_json::{Value, json};

use super::tests::verify;
use super::*;
use crate::testkit::{EVERY_ALGORITHM, Signer, b64, claims, jwks};

fn malformed(token: &str) -> bool {
    matches!(parse_token(token), Err(TokenError::Malformed { .. }))
}

/// A token that verifies, and its key.
fn good() -> (String, Value) {
    let signer = Signer::p256();
    let token = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    (token, signer.jwk("k"))
}

#[test]
fn no_signature_is_refused_however_it_is_called() {
    let key = Signer::rsa().jwk("k");
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = b64(json!({"alg": name, "kid": "k"}).to_string());
        let signed = format!("{header}.{}", b64(claims().to_string()));
        let with = format!("{signed}.AAAA");
        let error = verify(&with, std::slice::from_ref(&key), EVERY_ALGORITHM).unwrap_err();
        assert!(matches!(error, TokenError::Algorithm { .. }), "{name}");
        assert!(malformed(&format!("{signed}.")) && malformed(&signed));
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = Signer::rsa();
    let jwk = signer.jwk("k");
    let document = jwk.to_string();
    let modulus = jwk["n"].as_str().unwrap().to_owned();
    for secret in [document.as_bytes(), modulus.as_bytes(), b""] {
        let header = b64(json!({"alg": "HS256", "kid": "k"}).to_string());
        let signed = format!("{header}.{}", b64(claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = format!("{signed}.{}", b64(hmac::sign(&key, signed.as_bytes())));
        let error = verify(&token, std::slice::from_ref(&jwk), EVERY_ALGORITHM).unwrap_err();
        assert!(
            error.to_string().contains("\"HS256\" is refused"),
            "{error}"
        );
    }
}

#[test]
fn a_key_serves_its_own_kind_of_algorithm_only() {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed());
    for (algorithm, signer) in [
        ("RS256", &p256),
        ("ES256", &rsa),
        ("ES256", &p384),
        ("ES384", &p256),
        ("EdDSA", &p256),
        ("PS256", &ed),
        ("ES256", &ed),
    ] {
        let token = signer.token(&json!({"alg": algorithm, "kid": "k"}), &claims());
        let error = verify(&token, &[signer.jwk("k")], EVERY_ALGORITHM).unwrap_err();
        assert!(
            matches!(error, TokenError::UnknownKey { .. }),
            "{algorithm}"
        );
    }
}

#[test]
fn a_key_that_is_bound_to_an_algorithm_serves_no_other() {
    let signer = Signer::rsa();
    let mut jwk = signer.jwk("k");
    jwk["alg"] = json!("PS256");
    let token = |alg: &str| signer.token(&json!({"alg": alg, "kid": "k"}), &claims());
    let error = verify(&token("RS256"), std::slice::from_ref(&jwk), EVERY_ALGORITHM).unwrap_err();
    assert!(matches!(error, TokenError::UnknownKey { .. }));
    assert!(verify(&token("PS256"), &[jwk], EVERY_ALGORITHM).is_ok());
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_with_a_good_signature() {
    let signer = Signer::rsa();
    let token = signer.token(&json!({"alg": "RS512", "kid": "k"}), &claims());
    let error = verify(&token, &[signer.jwk("k")], "algorithms = [\"RS256\"]").unwrap_err();
    assert!(matches!(error, TokenError::Algorithm { .. }));
}

#[test]
fn a_token_does_not_bring_its_own_key() {
    let (issuer, attacker) = (Signer::p256(), Signer::p256());
    let header = json!({
        "alg": "ES256", "kid": "k", "jwk": attacker.jwk("k"),
        "jku": "http://attacker.example/k", "x5u": "http://attacker.example/c", "x5c": ["MAAA"],
    });
    let token = attacker.token(&header, &claims());
    let error = verify(&token, &[issuer.jwk("k")], EVERY_ALGORITHM).unwrap_err();
    assert!(matches!(error, TokenError::Signature { .. }));
}

#[test]
fn a_key_that_the_issuer_does_not_have_is_unknown() {
    let signer = Signer::p256();
    for kid in ["other", "", "../../dev/null", "k\u{0}"] {
        let token = signer.token(&json!({"alg": "ES256", "kid": kid}), &claims());
        let error = verify(&token, &[signer.jwk("k")], EVERY_ALGORITHM).unwrap_err();
        assert!(matches!(error, TokenError::UnknownKey { .. }), "{kid}");
    }
}

#[test]
fn any_change_of_the_text_is_refused() {
    let (token, key) = good();
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let keys = std::slice::from_ref(&key);
        assert!(
            verify(&changed, keys, EVERY_ALGORITHM).is_err(),
            "byte {place}"
        );
    }
}

#[test]
fn a_truncated_token_is_refused_at_every_length() {
    let (token, key) = good();
    for length in 0..token.len() {
        let keys = std::slice::from_ref(&key);
        assert!(
            verify(&token[..length], keys, EVERY_ALGORITHM).is_err(),
            "{length}"
        );
    }
}

#[test]
fn other_forms_than_three_strict_parts_are_refused() {
    let (token, _) = good();
    for text in [
        format!("{token}.AAAA"),
        format!("{token}.AAAA.AAAA"),
        format!("{token}="),
        format!("{token} "),
        format!(" {token}"),
        format!("Bearer {token}"),
        token.replacen('.', "..", 1),
        token.replacen('.', "\n.", 1),
        format!("{{\"payload\":\"{token}\"}}"),
        "..".to_owned(),
        String::new(),
        "é.é.é".to_owned(),
    ] {
        assert!(malformed(&text), "{text}");
    }
}

#[test]
fn an_oversized_token_is_refused_unread() {
    let signer = Signer::p256();
    let mut claims = claims();
    claims["padding"] = json!("x".repeat(MAX_TOKEN_BYTES));
    let token = signer.token(&json!({"alg": "ES256"}), &claims);
    let length = token.len();
    assert_eq!(
        parse_token(&token).unwrap_err(),
        TokenError::TooLong { length }
    );
}

#[test]
fn a_key_of_json_that_stands_twice_is_refused() {
    let signer = Signer::p256();
    let (header, body) = (r#"{"alg":"ES256"}"#, claims().to_string());
    let twice = body.replacen('{', r#"{"sub":"root","#, 1);
    let escaped = body.replacen('{', r#"{"s\u0075b":"root","#, 1);
    let unknown = body.replacen('{', r#"{"x":1,"x":2,"#, 1);
    for claims in [&twice, &escaped, &unknown] {
        assert!(
            malformed(&signer.token_of_text("ES256", header, claims)),
            "{claims}"
        );
    }
    let header = r#"{"alg":"ES256","alg":"none"}"#;
    assert!(malformed(&signer.token_of_text("ES256", header, &body)));
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    let signer = Signer::p256();
    for header in [
        json!({"alg": "ES256", "crit": ["exp"]}),
        json!({"alg": "ES256", "crit": []}),
        json!({"alg": "ES256", "b64": false, "crit": ["b64"]}),
        json!({"alg": "ES256", "typ": "logout+jwt"}),
        json!({"alg": "ES256", "typ": "dpop+jwt"}),
        json!({"alg": "ES256", "typ": 1}),
        json!({"alg": ["ES256"]}),
        json!({"alg": "ES256", "kid": 1}),
        json!({"typ": "JWT"}),
        json!([]),
    ] {
        assert!(malformed(&signer.token(&header, &claims())), "{header}");
    }
}

#[test]
fn no_message_holds_the_token() {
    let (token, key) = good();
    let parts: Vec<&str> = token.split('.').collect();
    let texts = [
        verify(
            &token.replace(parts[2], "AAAA"),
            std::slice::from_ref(&key),
            EVERY_ALGORITHM,
        ),
        verify(
            &token[..token.len() - 9],
            std::slice::from_ref(&key),
            EVERY_ALGORITHM,
        ),
        verify(&token, &[Signer::ed().jwk("k")], EVERY_ALGORITHM),
        verify(&token, &[key], "algorithms = [\"RS256\"]"),
        verify(
            &format!("{token}.x"),
            &[Signer::ed().jwk("k")],
            EVERY_ALGORITHM,
        ),
    ];
    for error in texts {
        let error = error.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(parts.iter().all(|part| !shown.contains(part)), "{shown}");
    }
}

#[test]
fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let signer = Signer::p256();
    let mut jwk = signer.jwk("k");
    jwk["y"] = json!(b64([1; 32]));
    assert_eq!(
        KeySet::parse(&jwks(std::slice::from_ref(&jwk)))
            .unwrap()
            .len(),
        1
    );
    let token = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    let error = verify(&token, &[jwk], EVERY_ALGORITHM).unwrap_err();
    assert!(matches!(error, TokenError::Signature { .. }));
}
