//! Peer credentials to a principal.

use std::collections::BTreeSet;

use crate::accounts::{AccountError, HostAccount, HostAccounts};
use crate::config::{PeerConfig, PrefixError};
use crate::name::GroupName;
use crate::principal::{Authenticator, Principal};

/// What the kernel says of a Unix socket's peer (`SO_PEERCRED`): the process
/// that connected, at the moment when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The effective user number.
    pub uid: u32,
}

/// Why a peer is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Peer credentials are switched off.
    #[error(
        "peer credentials are not accepted here; send a token, or set auth.peer.enabled = true"
    )]
    Disabled,
    /// No account has the number.
    #[error(
        "uid {uid} has no account on this host; \
         see whether `getent passwd {uid}` answers, or run as a user who has one"
    )]
    Unknown {
        /// The peer's number.
        uid: u32,
    },
    /// The account could not be used.
    #[error("the account of uid {uid} could not be looked up: {source}")]
    Account {
        /// The peer's number.
        uid: u32,
        /// Why.
        source: AccountError,
    },
    /// With the prefix, the name is too long.
    #[error("uid {uid}: {cause}; change auth.peer.user_prefix or group_prefix")]
    Name {
        /// The peer's number.
        uid: u32,
        /// Why.
        cause: String,
    },
}

impl PeerConfig {
    /// Who the peer of a Unix socket is: its host account, with all its groups.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if peers are not accepted, or the number has no account.
    pub fn principal(
        &self,
        peer: PeerCredentials,
        accounts: &dyn HostAccounts,
    ) -> Result<Principal, PeerError> {
        if !self.enabled() {
            return Err(PeerError::Disabled);
        }
        let uid = peer.uid;
        let account = accounts
            .by_uid(uid)
            .map_err(|source| PeerError::Account { uid, source })?
            .ok_or(PeerError::Unknown { uid })?;
        let name = |error: PrefixError| PeerError::Name {
            uid,
            cause: error.to_string(),
        };
        let user = self.users.user(account.name.as_str()).map_err(name)?;
        let groups = self.group_names(&account).map_err(name)?;
        Ok(Principal::new(Authenticator::Peer, user, groups))
    }

    /// The groups of a host account; one whose name we refuse counts for nothing.
    pub(crate) fn group_names(
        &self,
        account: &HostAccount,
    ) -> Result<BTreeSet<GroupName>, PrefixError> {
        account
            .groups
            .iter()
            .filter_map(|group| group.name.as_ref())
            .map(|name| self.groups.group(name.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::SystemAccounts;
    use crate::config::AuthDoc;
    use crate::host::made_up::MadeUpHost;

    fn peer(text: &str) -> PeerConfig {
        let doc: AuthDoc = toml::from_str(text).unwrap();
        doc.check().unwrap().peer().clone()
    }

    #[test]
    fn a_peer_is_its_account_with_its_groups() {
        let host =
            MadeUpHost::new().account("alice", 1001, 1001, &[(1001, "alice"), (2000, "eng")]);
        let principal = peer("")
            .principal(PeerCredentials { uid: 1001 }, &host)
            .unwrap();
        assert_eq!(principal.to_string(), "alice (peer credentials)");
        let groups: Vec<&str> = principal.groups().iter().map(GroupName::as_str).collect();
        assert_eq!(groups, ["alice", "eng"]);
        let prefixed = peer("[peer]\nuser_prefix = \"host:\"");
        let principal = prefixed
            .principal(PeerCredentials { uid: 1001 }, &host)
            .unwrap();
        assert_eq!(principal.user().as_str(), "host:alice");
        assert!(
            principal
                .groups()
                .iter()
                .all(|group| group.as_str().starts_with("host:"))
        );
    }

    #[test]
    fn who_has_no_account_is_nobody() {
        let host = MadeUpHost::new();
        let error = peer("")
            .principal(PeerCredentials { uid: 7 }, &host)
            .unwrap_err();
        assert_eq!(error, PeerError::Unknown { uid: 7 });
        let off = peer("[peer]\nenabled = false");
        assert_eq!(
            off.principal(PeerCredentials { uid: 0 }, &host),
            Err(PeerError::Disabled)
        );
    }

    #[test]
    fn an_account_that_looks_like_another_authenticators_user_is_refused() {
        let host = MadeUpHost::new().account("corp-eve", 1001, 1001, &[]);
        let peer = peer(
            "[[jwt]]\nissuer = \"https://a.example\"\naudiences = [\"x\"]\nuser_prefix = \"corp-\"",
        );
        let error = peer
            .principal(PeerCredentials { uid: 1001 }, &host)
            .unwrap_err();
        assert!(
            error.to_string().contains("another authenticator"),
            "{error}"
        );
    }

    #[test]
    fn the_host_of_this_test_knows_root() {
        let principal = peer("")
            .principal(PeerCredentials { uid: 0 }, &SystemAccounts)
            .unwrap();
        assert_eq!(principal.user().as_str(), "root");
    }
}
