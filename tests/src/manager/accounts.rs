//! Host accounts of the manager's tests.
//!
//! A fixed pool: [`POOL`]. Making an account takes a lock on the host's files and tens
//! of milliseconds, and tests run many processes at once, so whichever test needs them
//! first makes all of them, under a lock, and they stay. To remove them when no test
//! runs: `for a in mgr alice bob carol engine; do userdel lkt-$a; done`.

use std::fs::{self, File};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::{fail, skip};

/// The account that managers run as.
pub const SERVICE: &str = "lkt-mgr";
/// An ordinary user.
pub const ALICE: &str = "lkt-alice";
/// Another.
pub const BOB: &str = "lkt-bob";
/// The owner of projects' files on disk; calls nobody.
pub const CAROL: &str = "lkt-carol";
/// An engine that acts for users.
pub const ENGINE: &str = "lkt-engine";

/// All of them.
pub const POOL: [&str; 5] = [SERVICE, ALICE, BOB, CAROL, ENGINE];

/// Held while accounts are made.
const LOCK: &str = "/run/lkt-accounts.lock";

/// A host account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user number.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
}

/// Whether the pool is there, made if need be; otherwise a skip was reported.
///
/// # Panics
/// When an account cannot be made although it should.
#[must_use]
#[track_caller]
pub fn available(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skip(test, "root", "only root can start a manager for many users");
        return false;
    }
    if POOL.iter().all(|name| find(name).is_some()) {
        return true;
    }
    let lock = File::create(LOCK).unwrap_or_else(|e| fail(format_args!("{LOCK}: {e}")));
    if let Err(errno) = flock(&lock, FlockOperation::LockExclusive) {
        fail(format_args!("{LOCK}: {errno}"));
    }
    for name in POOL {
        if find(name).is_none() && !make(name) {
            skip(
                test,
                "useradd",
                "there is no useradd(8) to make accounts with",
            );
            return false;
        }
    }
    true
}

/// An account of the host.
///
/// # Panics
/// When there is none of this name.
#[must_use]
#[track_caller]
pub fn account(name: &str) -> Account {
    find(name).unwrap_or_else(|| fail(format_args!("no host account {name}")))
}

fn find(name: &str) -> Option<Account> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    Some(Account {
        name: name.to_owned(),
        uid: fields.next()?.ok()?,
        gid: fields.next()?.ok()?,
    })
}

/// `false`: there is no program for it.
fn make(name: &str) -> bool {
    let made = Command::new("useradd")
        .args(["--user-group", "--no-create-home", "--no-log-init"])
        .args(["--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", name])
        .output();
    match made {
        Ok(output) if output.status.success() => true,
        Ok(output) => fail(format_args!(
            "useradd {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(_) => false,
    }
}
