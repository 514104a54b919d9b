//! Tokens that a caller shows. The first byte of an input chooses: the text of a JWT,
//! the claims of one that the issuer signs, its header, or a delegation token.
#![no_main]

use lakekeep_fuzz::identity::{HEADER, KEYS, MANAGER, NOW, issuer, printable, signed};
use lakekeep_identity::{
    RevocationSet, VerifiedClaims, parse_delegation_token, parse_token, verify_token,
};
use libfuzzer_sys::fuzz_target;

/// The rules' `leeway_seconds`.
const LEEWAY: u64 = 5;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            if let Ok(text) = std::str::from_utf8(rest) {
                shown(text);
            }
        }
        1 => {
            let token = signed(HEADER, rest);
            if let Some(claims) = shown(&token) {
                believed(&claims, rest);
            }
        }
        2 => drop(shown(&signed(rest, br#"{"iss":"https://issuer"}"#))),
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                delegation(text);
            }
        }
    }
});

fn shown(text: &str) -> Option<VerifiedClaims> {
    let token = match parse_token(text) {
        Ok(token) => token,
        Err(error) => {
            printable(&error.to_string());
            return None;
        }
    };
    match verify_token(&token, &KEYS, issuer().rules(), NOW) {
        Ok(claims) => Some(claims),
        Err(error) => {
            printable(&error.to_string());
            None
        }
    }
}

/// What was let through is what the rules say, read here a second time.
fn believed(verified: &VerifiedClaims, claims: &[u8]) {
    let claims: serde_json::Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(claims["iss"], "https://issuer.example");
    let audience = |value: &serde_json::Value| value == "lakekeep";
    let audiences = claims["aud"].as_array();
    assert!(audience(&claims["aud"]) || audiences.is_some_and(|list| list.iter().any(audience)));
    assert!(verified.expires().seconds() + LEEWAY > NOW.seconds());
    let user = verified.principal().user().as_str();
    let subject = claims["sub"].as_str().expect("a name");
    assert_eq!(user, format!("corp:{subject}"));
    printable(user);
    assert!(
        verified
            .principal()
            .groups()
            .iter()
            .all(|group| group.as_str().starts_with("corp:"))
    );
    assert_eq!(verified.principal().actor(), None);
}

fn delegation(text: &str) {
    if let Err(error) = parse_delegation_token(text) {
        printable(&error.to_string());
    }
    let (key, presenter) = &*MANAGER;
    // Nobody has this key: whatever the text says, it is not believed.
    let verified = key.verify(text, presenter, &RevocationSet::default(), NOW);
    printable(&verified.expect_err("a forged token").to_string());
}
