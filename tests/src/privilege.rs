//! Who starts the sandbox.

use std::os::unix::process::CommandExt;
use std::process::Command;

use lakekeep_attacks::ORDINARY_UID;

use crate::skip;

/// Who starts the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// The host's root.
    Root,
    /// A user without privileges, groups, account or subordinate ids.
    User,
}

impl Privilege {
    /// Both, in the order of the tests' names.
    pub const ALL: [Self; 2] = [Self::Root, Self::User];

    /// The last part of a test's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
        }
    }

    /// The user id that starts the sandbox.
    #[must_use]
    pub fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::User if is_root() => ORDINARY_UID,
            Self::User => rustix::process::getuid().as_raw(),
        }
    }

    /// Whether this test process can take it; otherwise a skip was reported.
    #[must_use]
    #[track_caller]
    pub fn available(self, test: &str) -> bool {
        if self == Self::Root && !is_root() {
            skip(test, "root", "the tests do not run as root");
            return false;
        }
        true
    }

    /// Makes the command run with it.
    pub fn apply(self, command: &mut Command) {
        if self == Self::User && is_root() {
            // Dropping to a user by std also drops the supplementary groups.
            command.uid(ORDINARY_UID).gid(ORDINARY_UID);
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the test once per privilege, as `name::root` and `name::user`.
#[track_caller]
pub fn for_each_privilege(test: &str, mut body: impl FnMut(Privilege)) {
    for privilege in Privilege::ALL {
        let name = format!("{test}::{}", privilege.name());
        if privilege.available(&name) {
            eprintln!("-- {name}");
            body(privilege);
        }
    }
}
