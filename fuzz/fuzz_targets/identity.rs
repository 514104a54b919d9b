//! `[auth]` and `[identity]` of a manager's configuration, and after a NUL a user's
//! name and, after another, a project's: nobody is mapped to root.
#![no_main]

use lakekeep_fuzz::identity::{self, Everybody, printable};
use lakekeep_identity::{
    AuthDoc, IdentityDoc, MemoryManagedIds, Principal, ProjectName, World, read_toml,
};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Doc {
    auth: AuthDoc,
    identity: IdentityDoc,
}

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\0');
    let config = parts.next().unwrap_or_default();
    let document = match read_toml::<Doc>("manager.toml", config) {
        Ok(document) => document,
        Err(error) => return refusal(&error.to_string()),
    };
    match document.value().auth.check() {
        Ok(auth) => auth
            .warnings()
            .iter()
            .for_each(|warning| printable(&warning.to_string())),
        Err(errors) => refusal(&document.errors(&errors).to_string()),
    }
    let map = match document.value().identity.check() {
        Ok(map) => map,
        Err(errors) => return refusal(&document.errors(&errors).to_string()),
    };
    let user = parts.next().and_then(identity::principal);
    let project = parts.next().and_then(|name| ProjectName::new(name).ok());
    if let Some(user) = user {
        mapped(&map, &user, project.as_ref(), &document.value().identity);
    }
});

/// A line for each refusal, with its place; nothing in it moves a cursor.
fn refusal(text: &str) {
    assert!(!text.is_empty());
    for line in text.lines() {
        assert!(line.starts_with("manager.toml:"), "{line:?}");
        printable(line);
    }
}

fn mapped(
    map: &lakekeep_identity::IdentityMap,
    user: &Principal,
    project: Option<&ProjectName>,
    doc: &IdentityDoc,
) {
    let ids = MemoryManagedIds::default();
    let world = World {
        accounts: &Everybody,
        ids: &ids,
    };
    let result = map.map(user, project, world);
    match &result {
        Ok(identity) => {
            assert!(identity.uid() >= doc.minimum_uid.max(1));
            assert!(identity.gid() >= doc.minimum_gid.max(1));
            assert!(identity.supplementary().iter().all(|gid| *gid != 0));
            for (name, value) in identity.variables() {
                assert!(!name.contains(['=', '\0']) && !value.contains('\0'));
            }
        }
        Err(error) => printable(&error.to_string()),
    }
    // What is explained is what is done.
    let world = World {
        accounts: &Everybody,
        ids: &ids,
    };
    let explained = map.explain(user, project, world);
    match (explained.identity(), &result) {
        (Ok(Some(told)), Ok(identity)) => assert_eq!(told, identity),
        (Ok(None), Ok(_)) => panic!("an identity that is assigned is not told"),
        (Ok(Some(told)), Err(error)) => panic!("{told:?}, and {error}"),
        _ => {}
    }
}
