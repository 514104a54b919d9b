//! Tokens that count no more.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::TokenId;
use crate::name::UserName;
use crate::time::UnixTime;

/// Whether a token is revoked cannot be said now, so it is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of revoked tokens cannot be read: {cause}; see the manager's log")]
pub struct RevocationUnavailable {
    /// Why.
    pub cause: String,
}

/// Knows the tokens that were revoked; kept by the manager's store.
pub trait Revocations {
    /// Whether this one, of this user, was revoked. A revocation by somebody else, who
    /// came to know the identifier, is none.
    ///
    /// # Errors
    ///
    /// [`RevocationUnavailable`] if that cannot be said.
    fn is_revoked(&self, user: &UserName, id: &TokenId) -> Result<bool, RevocationUnavailable>;

    /// The time up to which, that second included, every token of this user is
    /// revoked.
    ///
    /// # Errors
    ///
    /// As [`Revocations::is_revoked`].
    fn revoked_until(&self, user: &UserName) -> Result<Option<UnixTime>, RevocationUnavailable>;
}

/// Revocations in memory.
#[derive(Clone, Debug, Default)]
pub struct RevocationSet {
    tokens: BTreeSet<(UserName, TokenId)>,
    users: BTreeMap<UserName, UnixTime>,
}

impl RevocationSet {
    /// Revokes one token of a user's.
    pub fn revoke(&mut self, user: UserName, id: TokenId) {
        self.tokens.insert((user, id));
    }

    /// Revokes every token of `user` that was issued at `until` or before.
    pub fn revoke_user(&mut self, user: UserName, until: UnixTime) {
        let kept = self.users.entry(user).or_insert(until);
        *kept = until.max(*kept);
    }
}

impl Revocations for RevocationSet {
    fn is_revoked(&self, user: &UserName, id: &TokenId) -> Result<bool, RevocationUnavailable> {
        Ok(self.tokens.contains(&(user.clone(), *id)))
    }

    fn revoked_until(&self, user: &UserName) -> Result<Option<UnixTime>, RevocationUnavailable> {
        Ok(self.users.get(user).copied())
    }
}
