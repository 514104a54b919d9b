//! Verifying a token: a function of the token, the keys, the rules and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::error::TokenError;
use super::key_set::{Key, KeySet};
use super::token::{UnverifiedToken, malformed};
use crate::config::TokenRules;
use crate::name::{GroupName, UserName};
use crate::principal::{Authenticator, Principal};
use crate::time::UnixTime;

/// Most groups of a token.
const MAX_GROUPS: usize = 1000;
/// Largest time that a token may hold: the last second that fits 53 bits, which
/// is what JSON's numbers carry.
const MAX_TIME: f64 = 9_007_199_254_740_991.0;

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClaims {
    principal: Principal,
    expires: UnixTime,
}

impl VerifiedClaims {
    /// Who it vouches for.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Until when; leeway not included. A connection that was opened with it
    /// should end then.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Who it vouches for, by value.
    pub fn into_principal(self) -> Principal {
        self.principal
    }
}

/// Verifies a token. In this order, so that nothing is believed before the
/// signature and every refusal says the first thing that is wrong:
///
/// 1. the algorithm is one of the rules';
/// 2. a key fits the algorithm and the key's name in the token;
/// 3. the signature is that key's;
/// 4. issuer and audience are the rules';
/// 5. it is neither expired, early nor too old;
/// 6. user and groups are names.
///
/// # Errors
///
/// [`TokenError`], which holds nothing of the token.
pub fn verify_token(
    token: &UnverifiedToken,
    keys: &KeySet,
    rules: &TokenRules,
    now: UnixTime,
) -> Result<VerifiedClaims, TokenError> {
    let algorithm = check_algorithm(token, rules)?;
    check_signature(token, keys, algorithm, rules)?;
    check_issuer(token, rules)?;
    check_audience(&token.claims, rules)?;
    let expires = check_times(&token.claims, rules, now)?;
    let user = user(&token.claims, rules)?;
    let groups = groups(&token.claims, rules)?;
    let issuer = rules.issuer.clone();
    Ok(VerifiedClaims {
        principal: Principal::new(Authenticator::Jwt { issuer }, user, groups),
        expires,
    })
}

pub(crate) fn check_algorithm(
    token: &UnverifiedToken,
    rules: &TokenRules,
) -> Result<Algorithm, TokenError> {
    Algorithm::from_name(&token.algorithm)
        .filter(|algorithm| rules.algorithms.contains(algorithm))
        .ok_or_else(|| TokenError::Algorithm {
            name: token.algorithm_shown(),
            allowed: rules.algorithms.clone(),
        })
}

fn check_signature(
    token: &UnverifiedToken,
    keys: &KeySet,
    algorithm: Algorithm,
    rules: &TokenRules,
) -> Result<(), TokenError> {
    let fitting: Vec<&Key> = keys.fitting(token.key_id(), algorithm).collect();
    let issuer = || rules.issuer.clone();
    if fitting.is_empty() {
        return Err(TokenError::UnknownKey { issuer: issuer() });
    }
    let message = token.signed.as_bytes();
    if fitting
        .iter()
        .any(|key| key.verifies(algorithm, message, &token.signature))
    {
        return Ok(());
    }
    Err(TokenError::Signature { issuer: issuer() })
}

pub(crate) fn check_issuer(token: &UnverifiedToken, rules: &TokenRules) -> Result<(), TokenError> {
    if token.claimed_issuer() == Some(rules.issuer.as_str()) {
        return Ok(());
    }
    Err(TokenError::Issuer {
        accepted: vec![rules.issuer.clone()],
    })
}

/// One text or a list of texts; `None` if it is anything else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn check_audience(claims: &Map<String, Value>, rules: &TokenRules) -> Result<(), TokenError> {
    let named = claims.get("aud").and_then(texts).unwrap_or_default();
    if named
        .iter()
        .any(|one| rules.audiences.iter().any(|ours| ours == one))
    {
        return Ok(());
    }
    Err(TokenError::Audience {
        issuer: rules.issuer.clone(),
        accepted: rules.audiences.clone(),
    })
}

fn check_times(
    claims: &Map<String, Value>,
    rules: &TokenRules,
    now: UnixTime,
) -> Result<UnixTime, TokenError> {
    let leeway = rules.leeway;
    let expires = time(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    if now >= expires.plus(leeway) {
        return Err(TokenError::Expired { at: expires });
    }
    if let Some(from) = time(claims, "nbf")?
        && from > now.plus(leeway)
    {
        return Err(TokenError::NotYetValid { from });
    }
    let issued = time(claims, "iat")?;
    if let Some(from) = issued
        && from > now.plus(leeway)
    {
        return Err(TokenError::NotYetValid { from });
    }
    if let Some(most) = rules.max_age {
        check_age(issued.ok_or_else(|| missing("iat"))?, most + leeway, now)?;
    }
    Ok(expires)
}

fn check_age(issued: UnixTime, most: Duration, now: UnixTime) -> Result<(), TokenError> {
    if now.since(issued) > most {
        return Err(TokenError::TooOld { issued });
    }
    Ok(())
}

fn missing(claim: &str) -> TokenError {
    TokenError::Claim {
        claim: claim.to_owned(),
    }
}

/// A NumericDate: seconds since the epoch, with or without a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(UnixTime::new(seconds)));
    }
    match value.as_f64() {
        Some(seconds) if (0.0..=MAX_TIME).contains(&seconds) => {
            // In range, so that the conversion only drops the fraction.
            Ok(Some(UnixTime::new(seconds as u64)))
        }
        _ => Err(malformed("a time is not a number of seconds since 1970")),
    }
}

fn user(claims: &Map<String, Value>, rules: &TokenRules) -> Result<UserName, TokenError> {
    let claim = rules.user_claim.as_str();
    let name = claims
        .get(claim)
        .and_then(Value::as_str)
        .ok_or_else(|| missing(claim))?;
    // Whoever registers an address at the issuer is not yet its owner.
    let verified = claims.get("email_verified");
    if claim == "email" && verified.is_some_and(|verified| *verified != Value::Bool(true)) {
        return Err(TokenError::EmailNotVerified);
    }
    rules.users.user(name).map_err(|error| TokenError::Name {
        claim: claim.to_owned(),
        cause: error.to_string(),
    })
}

/// The groups; a name that cannot be used refuses the token, because a rule that
/// denies a group would otherwise be passed by.
fn groups(
    claims: &Map<String, Value>,
    rules: &TokenRules,
) -> Result<BTreeSet<GroupName>, TokenError> {
    let Some(claim) = rules.groups_claim.as_deref() else {
        return Ok(BTreeSet::new());
    };
    let Some(value) = claims.get(claim) else {
        return Ok(BTreeSet::new());
    };
    let names = texts(value).ok_or_else(|| missing(claim))?;
    if names.len() > MAX_GROUPS {
        let count = names.len();
        let most = MAX_GROUPS;
        return Err(TokenError::Groups { count, most });
    }
    let read = |name: &&str| {
        rules.groups.group(name).map_err(|error| TokenError::Name {
            claim: claim.to_owned(),
            cause: error.to_string(),
        })
    };
    names.iter().map(read).collect()
}
