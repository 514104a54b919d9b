//! Why an issuer's keys are not to be had.

use std::io;
use std::path::PathBuf;

use crate::jwt::{DiscoveryError, KeySetError, TokenError};

/// Why no client for an issuer could be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificate authorities of the configuration.
    #[error("auth.jwt ca_file {}: {cause}; write the path of a readable PEM file", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The system has none.
    #[error(
        "no certificate authorities of the system could be read: {source}; install ca-certificates, or set ca_file"
    )]
    SystemAuthorities {
        /// Why.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error(
        "TLS for the issuers could not be set up: {source}; report this with the host's architecture"
    )]
    Tls {
        /// Why.
        source: rustls::Error,
    },
}

/// Why one document was not fetched.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// Not a URL.
    #[error("not a URL that can be asked")]
    Url,
    /// No connection, no TLS or no HTTP.
    #[error("no answer: {cause}")]
    Connect {
        /// Why.
        cause: String,
    },
    /// Too slow.
    #[error("no whole answer within {seconds} s")]
    TimedOut {
        /// The limit in seconds.
        seconds: f64,
    },
    /// Elsewhere; not followed.
    #[error("the answer is a redirect ({code}), and none is followed")]
    Redirect {
        /// The HTTP status.
        code: u16,
    },
    /// Another status than 200.
    #[error("the answer has status {code}")]
    Status {
        /// The HTTP status.
        code: u16,
    },
    /// More than an issuer has to say.
    #[error("the answer has more than {} bytes", super::http::MAX_BODY)]
    TooLarge,
    /// The connection broke.
    #[error("the answer broke off: {cause}")]
    Broken {
        /// Why.
        cause: String,
    },
}

/// Why an issuer's keys could not be refreshed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// A document was not fetched.
    #[error("{url}: {source}; see whether the issuer is up and this host may reach it")]
    Fetch {
        /// Which.
        url: String,
        /// Why.
        source: FetchError,
    },
    /// The issuer's description was refused.
    #[error("{url}: {source}; correct auth.jwt issuer, or the issuer's own configuration")]
    Discovery {
        /// Where.
        url: String,
        /// Why.
        source: DiscoveryError,
    },
    /// The issuer's keys were refused.
    #[error("{url}: {source}; see what the issuer publishes there")]
    Keys {
        /// Where.
        url: String,
        /// Why.
        source: KeySetError,
    },
}

/// Why a bearer of a JWT is nobody.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JwtAuthError {
    /// The token was refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token could not be verified: no keys.
    #[error("the keys of {issuer} cannot be had, so its tokens cannot be verified: {source}")]
    Unreachable {
        /// The issuer.
        issuer: String,
        /// Why, the last time that it was asked.
        source: ProviderError,
    },
    /// No issuer is configured.
    #[error(
        "tokens are not accepted here; configure an issuer in [[auth.jwt]], or use another way"
    )]
    NotConfigured,
}
