//! The configuration of authentication.

mod check;
mod doc;
mod prefix;
#[cfg(test)]
mod tests;
pub(crate) mod url;
mod violation;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use doc::{AdministratorsDoc, AuthDoc, DelegateDoc, JwtDoc, MtlsDoc, PeerDoc};
pub(crate) use prefix::{Prefix, PrefixError};
pub(crate) use violation::Findings;
pub use violation::{ConfigErrors, ConfigWarning, Violation};

use crate::jwt::Algorithm;
use crate::mtls::SubjectSource;
use crate::name::{GroupName, UserName};
use crate::pattern::Pattern;
use crate::principal::{Authenticator, Principal};

/// Who may use the manager, and how they prove who they are. Made by
/// [`AuthDoc::check`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub(crate) peer: PeerConfig,
    pub(crate) jwt: Vec<JwtConfig>,
    pub(crate) mtls: Option<MtlsConfig>,
    pub(crate) delegates: Vec<Delegate>,
    pub(crate) warnings: Vec<ConfigWarning>,
}

impl AuthConfig {
    /// Peers of Unix sockets.
    pub fn peer(&self) -> &PeerConfig {
        &self.peer
    }

    /// Issuers of tokens.
    pub fn jwt(&self) -> &[JwtConfig] {
        &self.jwt
    }

    /// Client certificates, if they are taken.
    pub fn mtls(&self) -> Option<&MtlsConfig> {
        self.mtls.as_ref()
    }

    /// What is allowed and weak; to be shown at start and audited.
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Whether the principal administrates the manager: by its host account, and
    /// never by delegation.
    pub fn is_administrator(&self, principal: &Principal) -> bool {
        *principal.authenticator() == Authenticator::Peer
            && self
                .peer
                .lists_administrator(principal.user(), principal.groups())
    }
}

/// Peers of Unix sockets, as configured.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub(crate) enabled: bool,
    pub(crate) users: Prefix,
    pub(crate) groups: Prefix,
    pub(crate) administrator_users: BTreeSet<UserName>,
    pub(crate) administrator_groups: BTreeSet<GroupName>,
}

impl PeerConfig {
    /// Whether peer credentials are accepted.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether a user of this name with these groups is an administrator, were
    /// it a peer.
    pub(crate) fn lists_administrator(
        &self,
        user: &UserName,
        groups: &BTreeSet<GroupName>,
    ) -> bool {
        self.administrator_users.contains(user) || !self.administrator_groups.is_disjoint(groups)
    }
}

/// One issuer of tokens, as configured.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    pub(crate) issuer: String,
    pub(crate) rules: TokenRules,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) loopback: bool,
    pub(crate) times: KeyTimes,
}

impl JwtConfig {
    /// The issuer's URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What its tokens must satisfy.
    pub fn rules(&self) -> &TokenRules {
        &self.rules
    }

    /// Certificate authorities of the issuer; the system's if there is none.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }
}

/// What a token of one issuer must satisfy, and how its claims are read.
#[derive(Clone, Debug)]
pub struct TokenRules {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) user_claim: String,
    pub(crate) groups_claim: Option<String>,
    pub(crate) users: Prefix,
    pub(crate) groups: Prefix,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) leeway: Duration,
    pub(crate) max_age: Option<Duration>,
}

/// How long an issuer's keys serve, and how often it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyTimes {
    /// Fetched again when older.
    pub(crate) max_age: Duration,
    /// How long beyond that they serve while the issuer cannot be reached.
    pub(crate) stale: Duration,
    /// Least time between two fetches.
    pub(crate) refresh: Duration,
    /// Longest time of one request.
    pub(crate) timeout: Duration,
}

/// Client certificates, as configured.
#[derive(Clone, Debug)]
pub struct MtlsConfig {
    pub(crate) ca_file: PathBuf,
    pub(crate) subject: SubjectSource,
    pub(crate) users: Prefix,
}

impl MtlsConfig {
    /// Certificate authorities of clients, for the TLS listener.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Which part of a certificate names the user.
    pub fn subject(&self) -> &SubjectSource {
        &self.subject
    }
}

/// An engine's right to act for users.
#[derive(Clone, Debug)]
pub(crate) struct Delegate {
    pub(crate) actor: UserName,
    pub(crate) users: Vec<Pattern>,
    pub(crate) groups: Vec<GroupName>,
    pub(crate) administrators: bool,
}
