//! What holds for every rule, every user and every host.

use proptest::prelude::*;

use super::*;
use crate::host::made_up::MadeUpHost;
use crate::name::{AccountName, UserName};
use crate::principal::{Authenticator, Principal};

/// Ids around every border, and any other.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0_u32),
        0..1100_u32,
        65_530..65_540_u32,
        any::<u32>(),
        Just(u32::MAX)
    ]
}

/// Hosts with accounts of any number under short names.
fn host() -> impl Strategy<Value = MadeUpHost> {
    let account = ("[a-c]{1,2}", id(), id(), prop::collection::vec(id(), 0..4));
    prop::collection::vec(account, 0..12).prop_map(|accounts| {
        accounts
            .into_iter()
            .fold(MadeUpHost::new(), |host, (name, uid, gid, groups)| {
                let groups: Vec<(u32, &str)> = groups.into_iter().map(|gid| (gid, "g")).collect();
                host.account(&name, uid, gid, &groups)
            })
    })
}

/// One rule of any kind; many are refused, which is as good.
fn rule() -> impl Strategy<Value = RuleDoc> {
    let user = prop_oneof![Just("*"), Just("a*"), Just("?"), Just("*b*")];
    let account = prop_oneof![
        Just("$1"),
        Just("${user}"),
        Just("a$1"),
        Just("b"),
        Just("root")
    ];
    let kind = prop_oneof![
        account.prop_map(|text| (Some(text.to_owned()), None, None)),
        (id(), id()).prop_map(|(uid, gid)| {
            let name = "s".to_owned();
            (None, Some(SharedDoc { uid, gid, name }), None)
        }),
        (id(), id()).prop_map(|(first, last)| (None, None, Some(ManagedDoc { first, last }))),
    ];
    (user, kind).prop_map(|(user, (account, shared, managed))| RuleDoc {
        user: Some(user.to_owned()),
        project: shared.is_some().then(|| "*".to_owned()),
        account,
        shared,
        managed,
        ..RuleDoc::default()
    })
}

proptest! {
    #[test]
    fn no_identity_is_root_or_below_the_least(
        rules in prop::collection::vec(rule(), 1..4),
        (minimum_uid, minimum_gid) in (0..3000_u32, 0..3000_u32),
        accounts in host(),
        user in "[a-c:]{1,3}",
        wrong in prop::option::of(id()),
    ) {
        let doc = IdentityDoc { minimum_uid, minimum_gid, rule: rules };
        let Ok(map) = doc.check() else { return Ok(()) };
        let user = UserName::new(&user).unwrap();
        let principal = Principal::new(Authenticator::Peer, user, [].into());
        let project = crate::name::ProjectName::new("p").unwrap();
        let memory = MemoryManagedIds::default();
        let store = wrong.map(Store);
        let ids: &dyn ManagedIds = match &store { Some(store) => store, None => &memory };
        let world = World { accounts: &accounts, ids };
        if let Ok(identity) = map.map(&principal, Some(&project), world) {
            prop_assert!(identity.uid() != 0 && identity.gid() != 0);
            prop_assert!(identity.uid() >= minimum_uid && identity.gid() >= minimum_gid);
            prop_assert!(![65_534, 65_535, u32::MAX].contains(&identity.uid()));
            prop_assert!(identity.supplementary().iter().all(|gid| *gid >= minimum_gid && *gid != 0));
            prop_assert!(AccountName::new(identity.name().as_str()).is_ok());
            prop_assert!(identity.name().as_str() != "root");
            let explained = map.explain(&principal, Some(&project), world);
            prop_assert_eq!(explained.identity(), Ok(Some(&identity)));
        }
    }

    #[test]
    fn whatever_is_captured_the_account_is_the_hosts(user in "\\PC{1,40}") {
        let Ok(user) = UserName::new(&user) else { return Ok(()) };
        let doc: IdentityDoc = toml::from_str("[[rule]]\nuser = \"*\"\naccount = \"$1\"").unwrap();
        let accounts = MadeUpHost::new().account("alice", 1001, 1001, &[]);
        let ids = &MemoryManagedIds::default();
        let principal = Principal::new(Authenticator::Peer, user, [].into());
        let world = World { accounts: &accounts, ids };
        if let Ok(identity) = doc.check().unwrap().map(&principal, None, world) {
            prop_assert_eq!(identity.uid(), 1001);
            prop_assert_eq!(principal.user().as_str(), "alice");
        }
    }

    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z0-9_.=-]{0,120}") {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        for text in [shown, text.clone(), format!("lkd1.{text}"), format!("e30.{text}.AA")] {
            drop(crate::parse_token(&text));
            drop(crate::parse_delegation_token(&text));
            drop(AccountName::new(&text));
        }
        drop(crate::KeySet::parse(&bytes));
        drop(crate::parse_discovery(&bytes, "https://a.example", true));
        drop(crate::certificate_subject(&bytes, &crate::SubjectSource::SanDns));
    }
}

/// A store that gives away any id.
struct Store(u32);

impl ManagedIds for Store {
    fn assign(&self, _: &ManagedRange, _: &UserName) -> Result<u32, ManagedIdError> {
        Ok(self.0)
    }

    fn assigned(&self, _: &ManagedRange, _: &UserName) -> Result<Option<u32>, ManagedIdError> {
        Ok(Some(self.0))
    }
}
