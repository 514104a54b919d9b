//! Environments that users have sent, each user's in a store of their own.
//!
//! | module | what it does |
//! |---|---|
//! | `shelves` | which store is whose |
//! | `push` | an environment that is being sent |
//! | `recent` | what was read of those in use |
//! | `service` | the interface `lakekeep.v1.Environments` |
//!
//! **What is revealed of others' environments: nothing.** A manager that took from one user's what
//! another need not send would tell whoever can name a content that somebody has it, however it
//! asks for proof: who has a content and is not asked to send it has learned that. So what is asked
//! for depends on what the same user has sent, and on what a profile's members share and may read
//! anyway. Nor do two users' stores have files in common, whose count of links, numbers and times
//! code inside could read (stat(2)). It costs disk, and the memory of libraries that two users
//! load; a profile's shared environment costs both once.

mod push;
mod recent;
mod service;
mod shelves;

use lakekeep_policy::Bytes;
use lakekeep_tree::Bounds;
use serde::Deserialize;

pub use recent::Known;
pub use service::Service;
pub use shelves::Environments;

/// `[environments]`: what each user, and each profile, may store.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentsDoc {
    /// Bytes of all contents, each counted once.
    pub bytes: Bytes,
    /// Environments.
    pub count: usize,
    /// How many may be sent at a time, by all users together.
    pub uploads: usize,
}

impl Default for EnvironmentsDoc {
    fn default() -> Self {
        Self {
            bytes: Bytes(20 << 30),
            count: 32,
            uploads: 4,
        }
    }
}

impl EnvironmentsDoc {
    fn bounds(&self) -> Bounds {
        Bounds {
            bytes: self.bytes.get(),
            environments: self.count,
        }
    }
}
