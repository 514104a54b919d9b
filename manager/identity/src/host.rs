//! A made-up host, for tests.

#[cfg(test)]
pub(crate) mod made_up {
    use std::collections::BTreeSet;

    use crate::accounts::{AccountError, HostAccount, HostAccounts, HostGroup};
    use crate::name::{AccountName, GroupName};

    /// Accounts that exist because the test says so.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct MadeUpHost(Vec<HostAccount>);

    impl MadeUpHost {
        pub(crate) fn new() -> MadeUpHost {
            MadeUpHost::default()
        }

        pub(crate) fn account(
            mut self,
            name: &str,
            uid: u32,
            gid: u32,
            groups: &[(u32, &str)],
        ) -> MadeUpHost {
            let mut groups: BTreeSet<HostGroup> = groups
                .iter()
                .map(|(gid, name)| HostGroup {
                    gid: *gid,
                    name: Some(GroupName::new(name).unwrap()),
                })
                .collect();
            if groups.iter().all(|group| group.gid != gid) {
                groups.insert(HostGroup { gid, name: None });
            }
            let name = AccountName::new(name).unwrap();
            self.0.push(HostAccount {
                name,
                uid,
                gid,
                groups,
            });
            self
        }
    }

    impl HostAccounts for MadeUpHost {
        fn by_uid(&self, uid: u32) -> Result<Option<HostAccount>, AccountError> {
            Ok(self.0.iter().find(|account| account.uid == uid).cloned())
        }

        fn by_name(&self, name: &AccountName) -> Result<Option<HostAccount>, AccountError> {
            Ok(self.0.iter().find(|account| account.name == *name).cloned())
        }
    }
}
