//! The issuers of tokens, asked over the network for their keys.

mod error;
mod http;
mod keys;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use error::{FetchError, JwtAuthError, ProviderError, SetupError};

use std::sync::Arc;

use keys::IssuerKeys;

use crate::config::{AuthConfig, TokenRules};
use crate::jwt::{
    TokenError, UnverifiedToken, VerifiedClaims, check_algorithm, parse_token, verify_token,
};
use crate::time::Now;

/// All configured issuers of tokens, with their keys. Needs a tokio runtime with
/// I/O and time.
#[derive(Debug)]
pub struct JwtAuthenticators {
    issuers: Vec<Issuer>,
}

#[derive(Debug)]
struct Issuer {
    rules: TokenRules,
    keys: Arc<IssuerKeys>,
}

impl JwtAuthenticators {
    /// Prepares the issuers. Reads the certificate authorities; asks no issuer
    /// yet, so that a manager starts while one is down.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if a file of authorities cannot be read.
    pub fn new(config: &AuthConfig) -> Result<JwtAuthenticators, SetupError> {
        let mut issuers = Vec::new();
        for jwt in config.jwt() {
            let rules = jwt.rules().clone();
            let keys = Arc::new(IssuerKeys::new(jwt)?);
            issuers.push(Issuer { rules, keys });
        }
        Ok(JwtAuthenticators { issuers })
    }

    /// Whether any issuer is configured.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Verifies the token of a bearer. Whose keys are fetched depends on the
    /// configuration alone; the token only chooses among the configured issuers.
    ///
    /// # Errors
    ///
    /// [`JwtAuthError`], which never holds the token.
    pub async fn authenticate(
        &self,
        token: &str,
        now: Now,
    ) -> Result<VerifiedClaims, JwtAuthError> {
        if self.issuers.is_empty() {
            return Err(JwtAuthError::NotConfigured);
        }
        let token = parse_token(token)?;
        let issuer = self.issuer_of(&token)?;
        // Before anybody is asked: a token that no key could save costs nothing.
        check_algorithm(&token, &issuer.rules)?;
        let keys = issuer.keys.get(token.key_id(), now.monotonic).await;
        let keys = keys.map_err(|source| JwtAuthError::Unreachable {
            issuer: issuer.rules.issuer.clone(),
            source,
        })?;
        Ok(verify_token(&token, &keys, &issuer.rules, now.unix)?)
    }

    fn issuer_of(&self, token: &UnverifiedToken) -> Result<&Issuer, TokenError> {
        let claimed = token.claimed_issuer();
        let found = self.issuers.iter();
        let mut found = found.filter(|issuer| claimed == Some(issuer.rules.issuer.as_str()));
        found.next().ok_or_else(|| TokenError::Issuer {
            accepted: self
                .issuers
                .iter()
                .map(|one| one.rules.issuer.clone())
                .collect(),
        })
    }
}
