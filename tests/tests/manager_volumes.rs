//! Folders of the host in sandboxes: who writes them, and whose the files are on disk.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use lakekeep_api::v1;
use lakekeep_tests::Privilege;
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, Setup, account, create, shared_profile, with_volumes,
};

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn two_users_write_one_project_and_neither_sees_the_other_s_home() {
    let Some(manager) = with_volumes("volumes", |_| String::new()) else {
        return;
    };
    let disk = manager.place().path().join("disk");
    let carol = account(CAROL);
    let apollo = || v1::CreateRequest {
        profile: "apollo".to_owned(),
        ..create()
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let (hers, his) = (alice.sandbox(apollo()).id, bob.sandbox(apollo()).id);
    let out = alice.run(
        &hers,
        "echo from alice >/work/a && mkdir /work/d && stat -c %u /work/a",
    );
    assert_eq!(out.success(), "1000");
    let out = bob.run(
        &his,
        "cat /work/a && echo from bob >>/work/a && echo x >/work/d/b",
    );
    assert_eq!(out.success(), "from alice");
    assert_eq!(
        alice.run(&hers, "cat /work/a /work/d/b").success(),
        "from alice\nfrom bob\nx"
    );
    for path in ["project/a", "project/d", "project/d/b"] {
        assert_eq!(owner(&disk.join(path)), (carol.uid, carol.gid), "{path}");
    }
    // Homes are each user's own, under the same path inside.
    alice.run(&hers, "echo alice >/mnt/home/who").success();
    bob.run(&his, "echo bob >/mnt/home/who; ls /mnt/home")
        .success();
    assert_eq!(alice.run(&hers, "cat /mnt/home/who").success(), "alice");
    assert_eq!(bob.run(&his, "cat /mnt/home/who").success(), "bob");
    for name in [ALICE, BOB] {
        let to = account(name);
        let file = disk.join("homes").join(name).join("who");
        assert_eq!(owner(&file), (to.uid, to.gid), "{name}");
    }
    let seen = bob.run(&his, "ls -R / 2>/dev/null | grep -c lkt-alice");
    assert_eq!(seen.text(), "0");
    manager.end();
}

#[test]
fn a_read_only_volume_is_not_written() {
    let Some(manager) = with_volumes("read_only", |_| String::new()) else {
        return;
    };
    let disk = manager.place().path().join("disk");
    let alice = manager.alice();
    let sandbox = alice.sandbox(v1::CreateRequest {
        profile: "apollo".to_owned(),
        ..create()
    });
    assert_eq!(
        alice.run(&sandbox.id, "cat /reference/book").success(),
        "to be read"
    );
    let attempts = [
        "echo x >/reference/new",
        "echo x >>/reference/book",
        "rm /reference/book",
        "chmod 777 /reference/book",
        "mv /reference/book /reference/other",
    ];
    for attempt in attempts {
        assert_ne!(alice.run(&sandbox.id, attempt).code, 0, "{attempt}");
    }
    let left = fs::read_to_string(disk.join("reference/book")).unwrap();
    assert_eq!(left, "to be read");
    assert_eq!(fs::read_dir(disk.join("reference")).unwrap().count(), 1);
    // A request can narrow what the profile gives, and not widen it.
    let narrowed = |mode: &str, target: &str| v1::CreateRequest {
        profile: "apollo".to_owned(),
        policy: format!(
            "version = 1\n[[mounts]]\nsource = \"volume:{target}\"\ntarget = \"/{target}\"\nmode = \"{mode}\"\n"
        ),
        ..create()
    };
    let wider = alice.create(narrowed("rw", "reference")).unwrap_err();
    assert_eq!(wider.reason, "BAD_POLICY", "{wider:?}");
    let less = alice.sandbox(narrowed("ro", "work"));
    assert_ne!(alice.run(&less.id, "echo x >/work/no").code, 0);
    manager.end();
}

#[test]
fn a_volume_comes_into_a_running_sandbox() {
    let setup = Setup::new();
    let folder = setup.place().dir("disk", Privilege::Root);
    let volume = format!(
        "[[volume]]\nname = \"data\"\nsource = {folder:?}\ntarget = \"/data\"\nmode = \"rw\"\noptional = true\n"
    );
    let Some(manager) = setup
        .profile("team", &shared_profile("team", &volume))
        .start("attached")
    else {
        return;
    };
    let to = account(ALICE);
    chown(&folder, Some(to.uid), Some(to.gid)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let alice = manager.alice();
    let sandbox = alice.sandbox(v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    });
    assert!(sandbox.volumes.is_empty());
    assert_ne!(alice.run(&sandbox.id, "echo x >/data/early").code, 0);
    alice
        .attach_volume(v1::AttachVolumeRequest {
            sandbox: sandbox.id.clone(),
            volume: "data".to_owned(),
        })
        .unwrap();
    alice.run(&sandbox.id, "echo late >/data/late").success();
    assert_eq!(fs::read_to_string(folder.join("late")).unwrap(), "late\n");
    assert_eq!(owner(&folder.join("late")), (to.uid, to.gid));
    // It is there for the next manager's tasks as well.
    manager.kill_manager();
    let alice = manager.alice();
    assert_eq!(alice.run(&sandbox.id, "cat /data/late").success(), "late");
    manager.end();
}
