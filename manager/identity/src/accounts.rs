//! The host's accounts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::name::{AccountName, GroupName, NameError};
use crate::show::quoted;

/// A group of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostGroup {
    /// Its number.
    pub gid: u32,
    /// Its name; none if the name is one that we refuse.
    pub name: Option<GroupName>,
}

/// An account of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAccount {
    /// Its name.
    pub name: AccountName,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// All groups that it is a member of, the primary one included.
    pub groups: BTreeSet<HostGroup>,
}

/// Why an account could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The account's name is none that we take.
    #[error("the host account of uid {uid}: {source}; rename the account")]
    Name {
        /// The account's number.
        uid: u32,
        /// What is wrong with the name.
        source: NameError,
    },
    /// getgrouplist(3) failed.
    #[error(
        "the groups of the host account {} could not be read; \
         see whether `id {account}` answers, and that it is in at most 1024 groups",
        quoted(.account.as_str())
    )]
    Groups {
        /// The account.
        account: AccountName,
    },
}

/// Looks up host accounts. The answers decide who owns files: an implementation
/// asks the host, and says nothing about what the host does not know.
pub trait HostAccounts {
    /// The account with this number.
    ///
    /// # Errors
    ///
    /// [`AccountError`] if there is one that cannot be used.
    fn by_uid(&self, uid: u32) -> Result<Option<HostAccount>, AccountError>;

    /// The account with this name.
    ///
    /// # Errors
    ///
    /// As [`HostAccounts::by_uid`].
    fn by_name(&self, name: &AccountName) -> Result<Option<HostAccount>, AccountError>;
}

/// The accounts that the C library knows: files, LDAP, SSSD, as nsswitch.conf
/// says.
///
/// A look-up may wait for a server: call it where blocking is allowed
/// (`spawn_blocking`). A name service that does not answer looks like an account
/// that does not exist, so it refuses and never grants.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAccounts;

impl SystemAccounts {
    fn account(user: &uzers::User) -> Result<HostAccount, AccountError> {
        let uid = user.uid();
        let text = user.name().to_string_lossy();
        let name = AccountName::new(&text).map_err(|source| AccountError::Name { uid, source })?;
        let gid = user.primary_group_id();
        let groups =
            uzers::get_user_groups(name.as_str(), gid).ok_or_else(|| AccountError::Groups {
                account: name.clone(),
            })?;
        let mut groups: BTreeSet<HostGroup> = groups
            .iter()
            .map(|group| HostGroup {
                gid: group.gid(),
                name: group
                    .name()
                    .to_str()
                    .and_then(|text| GroupName::new(text).ok()),
            })
            .collect();
        // A primary group without an entry has no name, and is one all the same.
        if groups.iter().all(|group| group.gid != gid) {
            groups.insert(HostGroup { gid, name: None });
        }
        Ok(HostAccount {
            name,
            uid,
            gid,
            groups,
        })
    }
}

impl HostAccounts for SystemAccounts {
    fn by_uid(&self, uid: u32) -> Result<Option<HostAccount>, AccountError> {
        uzers::get_user_by_uid(uid)
            .map(|user| SystemAccounts::account(&user))
            .transpose()
    }

    fn by_name(&self, name: &AccountName) -> Result<Option<HostAccount>, AccountError> {
        uzers::get_user_by_name(name.as_str())
            .map(|user| SystemAccounts::account(&user))
            .transpose()
            // A name service that ignores case or adds a domain has answered
            // about another name than the rule gave.
            .map(|found| found.filter(|account| account.name == *name))
    }
}

/// Accounts as they were looked up a moment ago: a caller that asks many times a second is
/// looked up once.
///
/// What an account lost counts for as long as [`RecentAccounts::KEPT`]. Only accounts that
/// are there are kept.
#[derive(Debug, Default)]
pub struct RecentAccounts(Mutex<HashMap<u32, (Instant, HostAccount)>>);

impl RecentAccounts {
    /// How long an account is taken for what it was.
    pub const KEPT: Duration = Duration::from_secs(2);

    /// Most that are kept; all are forgotten together.
    const MOST: usize = 4096;

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, (Instant, HostAccount)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostAccounts for RecentAccounts {
    fn by_uid(&self, uid: u32) -> Result<Option<HostAccount>, AccountError> {
        let now = Instant::now();
        if let Some((at, account)) = self.lock().get(&uid)
            && now.duration_since(*at) < Self::KEPT
        {
            return Ok(Some(account.clone()));
        }
        let found = SystemAccounts.by_uid(uid)?;
        let mut known = self.lock();
        match &found {
            Some(account) => {
                if known.len() >= Self::MOST {
                    known.clear();
                }
                known.insert(uid, (now, account.clone()));
            }
            None => {
                known.remove(&uid);
            }
        }
        Ok(found)
    }

    fn by_name(&self, name: &AccountName) -> Result<Option<HostAccount>, AccountError> {
        SystemAccounts.by_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recent_account_is_the_account() {
        let recent = RecentAccounts::default();
        let root = SystemAccounts.by_uid(0);
        assert_eq!(recent.by_uid(0), root);
        assert_eq!(recent.by_uid(0), root);
        assert_eq!(recent.by_uid(4_000_000_001), Ok(None));
        assert_eq!(recent.lock().len(), 1);
    }

    #[test]
    fn an_account_is_looked_up_again_when_it_is_old() {
        let recent = RecentAccounts::default();
        let root = SystemAccounts.by_uid(0).unwrap().unwrap();
        let renamed = HostAccount {
            name: AccountName::new("somebody").unwrap(),
            ..root.clone()
        };
        let now = Instant::now();
        recent.lock().insert(0, (now, renamed.clone()));
        assert_eq!(recent.by_uid(0), Ok(Some(renamed.clone())));
        let long_ago = now.checked_sub(RecentAccounts::KEPT).unwrap();
        recent.lock().insert(0, (long_ago, renamed));
        assert_eq!(recent.by_uid(0), Ok(Some(root)));
    }

    #[test]
    fn root_is_found_both_ways() {
        let root = SystemAccounts.by_uid(0).unwrap().unwrap();
        assert_eq!((root.name.as_str(), root.uid, root.gid), ("root", 0, 0));
        assert!(root.groups.iter().any(|group| group.gid == 0));
        assert_eq!(SystemAccounts.by_name(&root.name), Ok(Some(root)));
    }

    #[test]
    fn nobody_has_an_unknown_account() {
        let name = AccountName::new("no-such-account-here").unwrap();
        assert_eq!(SystemAccounts.by_name(&name), Ok(None));
        assert_eq!(SystemAccounts.by_uid(4_000_000_001), Ok(None));
    }
}
