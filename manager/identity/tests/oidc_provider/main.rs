//! Tokens of a real OpenID provider, the npm package `oidc-provider`: found by
//! discovery, verified with its published keys. Needs node and npm; the packages
//! are those of `oidc_provider/package-lock.json`.

#[cfg(test)]
mod provider;

use std::time::Duration;

use lakekeep_identity::{JwtAuthError, Now, ProviderError, TokenError};

use provider::{provider, refused};

const EVERY: &str = "[\"RS256\", \"PS256\", \"ES256\", \"ES384\", \"EdDSA\"]";

#[tokio::test]
async fn tokens_of_every_algorithm_verify() {
    let Some(provider) = provider("tokens_of_every_algorithm_verify") else {
        return;
    };
    let issuers = provider.issuers(EVERY);
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = provider.token("lakekeep", algorithm);
        let verified = issuers.authenticate(&token, Now::read()).await.unwrap();
        let principal = verified.principal();
        assert_eq!(principal.user().as_str(), "oidc:spark", "{algorithm}");
        let groups: Vec<&str> = principal
            .groups()
            .iter()
            .map(|group| group.as_str())
            .collect();
        assert_eq!(groups, ["oidc:eng", "oidc:engines"]);
    }
}

#[tokio::test]
async fn tokens_that_are_not_for_us_are_refused() {
    let Some(provider) = provider("tokens_that_are_not_for_us_are_refused") else {
        return;
    };
    let (issuers, now) = (provider.issuers(EVERY), Now::read());
    let error = refused(&issuers, &provider.token("others", "ES256"), now).await;
    assert!(matches!(error, TokenError::Audience { .. }), "{error}");
    let error = refused(&issuers, &provider.token("lakekeep", "opaque"), now).await;
    assert!(matches!(error, TokenError::Malformed { .. }), "{error}");
    let token = provider.token("lakekeep", "ES256");
    let later = now.plus(Duration::from_secs(3600));
    let error = refused(&issuers, &token, later).await;
    assert!(matches!(error, TokenError::Expired { .. }), "{error}");
    let error = refused(&provider.issuers("[\"RS256\"]"), &token, now).await;
    assert!(matches!(error, TokenError::Algorithm { .. }), "{error}");
    let (signed, _) = token.rsplit_once('.').unwrap();
    let other = provider.token("others", "ES256");
    let (_, signature) = other.rsplit_once('.').unwrap();
    let error = refused(&issuers, &format!("{signed}.{signature}"), now).await;
    assert!(matches!(error, TokenError::Signature { .. }), "{error}");
}

#[tokio::test]
async fn another_provider_is_another_issuer_and_a_dead_one_is_named() {
    let test = "another_provider_is_another_issuer_and_a_dead_one_is_named";
    let (Some(one), Some(two)) = (provider(test), provider(test)) else {
        return;
    };
    let (issuers, now) = (one.issuers(EVERY), Now::read());
    let error = refused(&issuers, &two.token("lakekeep", "ES256"), now).await;
    assert!(matches!(error, TokenError::Issuer { .. }), "{error}");
    let token = one.token("lakekeep", "ES256");
    issuers.authenticate(&token, now).await.unwrap();
    let fresh = one.issuers(EVERY);
    drop(one);
    // Who has its keys goes on; who has not says that it is down.
    issuers.authenticate(&token, now).await.unwrap();
    let error = fresh.authenticate(&token, now).await.unwrap_err();
    assert!(
        matches!(
            &error,
            JwtAuthError::Unreachable {
                source: ProviderError::Fetch { .. },
                ..
            }
        ),
        "{error}"
    );
}
