//! The right of a configured engine to act for a user.

use std::collections::BTreeSet;

use crate::accounts::{AccountError, HostAccounts};
use crate::config::{AuthConfig, Delegate};
use crate::name::{AccountName, GroupName, UserName};
use crate::principal::{Authenticator, Principal};

/// The user for whom an engine wants to act, with what this host knows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationTarget {
    user: UserName,
    groups: BTreeSet<GroupName>,
    administrator: bool,
}

impl DelegationTarget {
    /// The user as it would be with these groups: to explain what the rules would do,
    /// never to do it.
    pub fn assumed(&self) -> Principal {
        Principal::new(Authenticator::Peer, self.user.clone(), self.groups.clone())
    }

    /// The user.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The user's groups on this host; none for users of other authenticators,
    /// whose groups nobody but their issuer knows.
    pub fn groups(&self) -> &BTreeSet<GroupName> {
        &self.groups
    }
}

/// Why an engine may not act for a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationRefused {
    /// The engine itself acts for somebody.
    #[error(
        "{actor} acts for {user} already, and a delegation is not passed on; connect as {actor}"
    )]
    Chained {
        /// The engine.
        actor: UserName,
        /// For whom it acts already.
        user: UserName,
    },
    /// No rule names the engine.
    #[error("{actor} may not act for anybody; an administrator can allow it in [[auth.delegate]]")]
    NoRight {
        /// The engine.
        actor: UserName,
    },
    /// No rule of the engine's names the user.
    #[error(
        "{actor} may not act for {user}: {tried}; an administrator can change [[auth.delegate]]"
    )]
    NotForUser {
        /// The engine.
        actor: UserName,
        /// The user.
        user: UserName,
        /// Each rule that names the engine, and why it does not serve.
        tried: String,
    },
    /// The user cannot be looked up.
    #[error("{user}, for whom {actor} wants to act, could not be looked up: {source}")]
    Account {
        /// The engine.
        actor: UserName,
        /// The user.
        user: UserName,
        /// Why.
        source: AccountError,
    },
}

impl AuthConfig {
    /// What is known of the user with this name: groups, and whether it is an
    /// administrator, if it is a host account.
    ///
    /// # Errors
    ///
    /// [`AccountError`] if the host account cannot be looked up.
    pub fn delegation_target(
        &self,
        user: &UserName,
        accounts: &dyn HostAccounts,
    ) -> Result<DelegationTarget, AccountError> {
        let account = user
            .as_str()
            .strip_prefix(self.peer.users.as_str())
            .and_then(|name| AccountName::new(name).ok())
            .map(|name| accounts.by_name(&name))
            .transpose()?
            .flatten();
        let groups = account
            .and_then(|account| self.peer.group_names(&account).ok())
            .unwrap_or_default();
        Ok(DelegationTarget {
            administrator: self.peer.lists_administrator(user, &groups),
            user: user.clone(),
            groups,
        })
    }

    /// Lets an authenticated engine act for a user, if a rule of
    /// `[[auth.delegate]]` says so. The result has the user's rights; that it is
    /// a delegation, and by whom, stays with it.
    ///
    /// # Errors
    ///
    /// [`DelegationRefused`], which names the rules tried.
    pub fn authorize_delegation(
        &self,
        actor: &Principal,
        user: &UserName,
        accounts: &dyn HostAccounts,
    ) -> Result<Principal, DelegationRefused> {
        let name = actor.user().clone();
        if *actor.authenticator() == Authenticator::Delegation {
            let (actor, user) = (actor.actor().unwrap_or(actor.user()), actor.user());
            let (actor, user) = (actor.clone(), user.clone());
            return Err(DelegationRefused::Chained { actor, user });
        }
        let rules: Vec<(usize, &Delegate)> = (self.delegates.iter().enumerate())
            .filter(|(_, rule)| rule.actor == name)
            .collect();
        if rules.is_empty() {
            return Err(DelegationRefused::NoRight { actor: name });
        }
        let target = self.delegation_target(user, accounts);
        let target = target.map_err(|source| DelegationRefused::Account {
            actor: name.clone(),
            user: user.clone(),
            source,
        })?;
        let mut tried = Vec::new();
        for (number, rule) in rules {
            match rule.refuses(&target) {
                None => return Ok(Principal::delegated(name, target.user, target.groups)),
                Some(why) => tried.push(format!("auth.delegate[{number}] {why}")),
            }
        }
        Err(DelegationRefused::NotForUser {
            actor: name,
            user: user.clone(),
            tried: tried.join(", "),
        })
    }
}

impl Delegate {
    /// Why this rule does not serve for the user, or nothing if it does.
    fn refuses(&self, target: &DelegationTarget) -> Option<&'static str> {
        let by_name = || {
            self.users
                .iter()
                .any(|users| users.matches(target.user.as_str()))
        };
        let by_group = || {
            self.groups
                .iter()
                .any(|group| target.groups.contains(group))
        };
        if target.administrator && !self.administrators {
            return Some("leaves administrators out");
        }
        if by_name() || by_group() {
            return None;
        }
        Some("names neither the user nor a group of theirs")
    }
}
