//! Quotas of volumes: enforced where the file system can, told where it cannot.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use lakekeep_api::v1::{self, TaskRef};
use lakekeep_tests::manager::{
    ALICE, Manager, Setup, User, account, available, create, of, shared_profile,
};
use lakekeep_tests::{Privilege, skip};

/// What the volume may use.
const QUOTA: u64 = 1 << 20;

/// An ext4 image with project quotas, mounted; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`: a skip was reported.
    fn mount(test: &str, folder: &Path) -> Option<Self> {
        let image = folder.join("image");
        let place = folder.join("mounted");
        fs::create_dir_all(&place).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let made = run(
            "mkfs.ext4",
            &["-q", "-O", "quota,project", "-E", "quotatype=prjquota"],
            &[&image],
        );
        if let Err(why) = made {
            skip(
                test,
                "project-quota",
                &format!("no ext4 with project quotas can be made: {why}"),
            );
            return None;
        }
        if let Err(why) = run("mount", &["-o", "loop,prjquota"], &[&image, &place]) {
            skip(
                test,
                "project-quota",
                &format!("none can be mounted here: {why}"),
            );
            return None;
        }
        Some(Self(place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(why) = run("umount", &["-l"], &[&self.0]) {
            eprintln!("{}: {why}", self.0.display());
        }
    }
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(words).args(paths).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A manager with a volume of a quota in this folder, which it makes.
fn start(setup: Setup, test: &str, folder: &Path) -> Option<Manager> {
    if !available(test) {
        return None;
    }
    fs::create_dir_all(folder).unwrap();
    let alice = account(ALICE);
    chown(folder, Some(alice.uid), Some(alice.gid)).unwrap();
    let volume = format!(
        "[[volume]]\nname = \"data\"\nsource = {folder:?}\ntarget = \"/data\"\nmode = \"rw\"\nquota = \"1MiB\"\n"
    );
    setup
        .profile("work", &shared_profile("work", &volume))
        .start(test)
}

fn sandbox(user: &User) -> v1::Sandbox {
    user.sandbox(v1::CreateRequest {
        profile: "work".to_owned(),
        ..create()
    })
}

fn receipt(user: &User, id: &str, task: u32) -> String {
    let of = TaskRef {
        sandbox: id.to_owned(),
        task,
    };
    user.receipt(of).unwrap().receipt
}

#[test]
fn a_quota_that_the_file_system_cannot_hold_is_told() {
    let setup = Setup::new();
    let folder = setup.place().dir("disk", Privilege::Root).join("data");
    let Some(manager) = start(setup, "quota_told", &folder) else {
        return;
    };
    let alice = manager.alice();
    let made = sandbox(&alice);
    let [quota] = made.quotas.as_slice() else {
        panic!("{:?}", made.quotas);
    };
    assert_eq!((quota.volume.as_str(), quota.bytes), ("data", QUOTA));
    assert!(!quota.enforced, "{quota:?}");
    assert!(quota.missing.contains("project quotas"), "{quota:?}");
    let done = alice.run(
        &made.id,
        "head -c 2097152 /dev/zero >/data/big && stat -c %s /data/big",
    );
    assert_eq!(done.success(), "2097152");
    let warnings = done.outcome["receipt"]["warnings"].to_string();
    for told in [
        &warnings,
        &receipt(&alice, &made.id, 1),
        &receipt(&alice, &made.id, 0),
    ] {
        assert!(
            told.contains("volume data: its quota of 1048576 bytes is not enforced"),
            "{told}"
        );
    }
    // It goes on being told, by the next manager too.
    manager.kill_manager();
    assert_eq!(
        manager.alice().get(of(&made.id)).unwrap().quotas,
        made.quotas
    );
    manager.end();
}

#[test]
fn a_volume_on_a_disk_that_counts_is_bounded() {
    let setup = Setup::new();
    let place = setup.place().dir("disk", Privilege::Root);
    let Some(disk) = Disk::mount("quota_held", &place) else {
        return;
    };
    let folder = disk.0.join("data");
    let Some(manager) = start(setup, "quota_held", &folder) else {
        return;
    };
    let alice = manager.alice();
    let made = sandbox(&alice);
    assert!(made.quotas[0].enforced, "{:?}", made.quotas);
    assert!(!receipt(&alice, &made.id, 0).contains("not enforced"));
    let done = alice.run(
        &made.id,
        "head -c 524288 /dev/zero >/data/half && stat -c %s /data/half",
    );
    assert_eq!(done.success(), "524288");
    let more = alice.run(&made.id, "head -c 2097152 /dev/zero >/data/big");
    assert_ne!(more.code, 0, "more than the quota was written");
    let said = String::from_utf8_lossy(&more.stderr).into_owned();
    assert!(said.contains("Disk quota exceeded"), "{said}");
    assert!(fs::metadata(folder.join("big")).unwrap().len() < QUOTA);
    // Beside the volume there is room: it was not the disk that was full.
    fs::write(disk.0.join("outside"), vec![0; 2 << 20]).unwrap();
    // A second sandbox counts against the same bound.
    let other = sandbox(&alice);
    assert!(
        other.quotas[0].enforced && other.quotas[0].used > 0,
        "{:?}",
        other.quotas
    );
    assert_ne!(
        alice
            .run(&other.id, "head -c 1048576 /dev/zero >/data/more")
            .code,
        0
    );
    // Nobody inside takes a file out of the count.
    let leaves = alice.run(&other.id, "chattr -p 0 /data/half 2>/dev/null && echo out");
    assert_ne!(leaves.text(), "out");
    manager.end();

    // A folder that held files before is not bounded behind their owner's back.
    let old = disk.0.join("old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("file"), "before").unwrap();
    let setup = Setup::new();
    let Some(manager) = start(setup, "quota_old", &old) else {
        return;
    };
    let made = sandbox(&manager.alice());
    assert!(!made.quotas[0].enforced, "{:?}", made.quotas);
    assert!(
        made.quotas[0].missing.contains("chattr -R +P -p"),
        "{:?}",
        made.quotas
    );
    manager.end();
}
