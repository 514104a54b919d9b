//! Who asked.

use std::collections::BTreeSet;
use std::fmt;

use crate::name::{GroupName, UserName};

/// What vouched for a principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Authenticator {
    /// The kernel: the credentials of a Unix socket's peer.
    Peer,
    /// A token that this issuer signed.
    Jwt {
        /// The issuer, as configured.
        issuer: String,
    },
    /// A client certificate that the configured authority signed.
    Mtls,
    /// A trusted engine, which acts for the user.
    Delegation,
}

impl fmt::Display for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authenticator::Peer => f.write_str("peer credentials"),
            Authenticator::Jwt { issuer } => write!(f, "jwt of {issuer}"),
            Authenticator::Mtls => f.write_str("client certificate"),
            Authenticator::Delegation => f.write_str("delegation"),
        }
    }
}

/// Who asked, as authenticated. Only this crate makes one, and only from
/// something that was verified; it is never read from a field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    authenticator: Authenticator,
    user: UserName,
    groups: BTreeSet<GroupName>,
    actor: Option<UserName>,
}

impl Principal {
    pub(crate) fn new(
        authenticator: Authenticator,
        user: UserName,
        groups: BTreeSet<GroupName>,
    ) -> Principal {
        Principal {
            authenticator,
            user,
            groups,
            actor: None,
        }
    }

    /// `user`, for whom `actor` asks.
    pub(crate) fn delegated(
        actor: UserName,
        user: UserName,
        groups: BTreeSet<GroupName>,
    ) -> Principal {
        Principal {
            authenticator: Authenticator::Delegation,
            user,
            groups,
            actor: Some(actor),
        }
    }

    /// What vouched for it.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Whose rights count: of a delegation, the user's and not the engine's.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// All groups of the user.
    pub fn groups(&self) -> &BTreeSet<GroupName> {
        &self.groups
    }

    /// Of a delegation, the engine that asked; for the audit log.
    pub fn actor(&self) -> Option<&UserName> {
        self.actor.as_ref()
    }

    /// Of a delegation, the user for whom the engine asked.
    pub fn on_behalf_of(&self) -> Option<&UserName> {
        self.actor.is_some().then_some(&self.user)
    }
}

/// `alice (peer credentials)`, `alice (delegation, by spark)`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.actor {
            Some(actor) => write!(f, "{} ({}, by {actor})", self.user, self.authenticator),
            None => write!(f, "{} ({})", self.user, self.authenticator),
        }
    }
}
