//! Rows to test with.

use std::collections::BTreeMap;

use lakekeep_store::state::{NewSandbox, NewTask, SandboxKind, arguments_digest};

pub fn sandbox(id: &str, owner: &str) -> NewSandbox {
    let parts = [("identity".to_owned(), owner.to_owned())];
    NewSandbox {
        id: id.to_owned(),
        owner: owner.to_owned(),
        identity: owner.to_owned(),
        uid: 1000,
        gid: 1000,
        profile: "research".to_owned(),
        trust_key: format!("key of {owner}"),
        trust_parts: BTreeMap::from(parts),
        policy: "p".to_owned(),
        policy_text: "version = 1\n".to_owned(),
        preset: "strict".to_owned(),
        image: "host".to_owned(),
        launcher_generation: 1,
        boot_id: "boot-1".to_owned(),
        kind: SandboxKind::Interactive,
        survive: true,
        labels: BTreeMap::new(),
    }
}

pub fn task(arguments: &[&str]) -> NewTask {
    NewTask {
        arguments_digest: arguments_digest(arguments),
        arguments: Some(arguments.join(" ")),
        kind: "command".to_owned(),
        tty: false,
        spool: Some("spool-1".to_owned()),
    }
}
