//! Control groups of our own, on version 1, version 2 and hybrid hosts.
//!
//! One [`Group`] is the same path in every hierarchy that is mounted. libcontainer
//! makes the groups of a container; this module reads them back, accounts for what
//! ran in them, ends it, and removes what is left, also after a launcher that died.
//!
//! | call | v1 | v2 |
//! |---|---|---|
//! | [`Group::create`] | mkdir in each needed hierarchy, cpuset copied down | mkdir, `cgroup.subtree_control` at each level |
//! | [`Group::write_limits`] | `memory.limit_in_bytes`, `memory.memsw…`, `cpu.cfs_*`, `pids.max`, `cpuset.*` | `memory.max`, `memory.swap.max`, `cpu.max`, `pids.max`, `cpuset.cpus` |
//! | [`Group::read_limits`] | the same files, as the kernel holds them | the same |
//! | [`Group::usage`] | summed over the subtree where v1 counts locally | hierarchical by itself |
//! | [`Group::freeze`] | `freezer.state` | `cgroup.freeze`, then `cgroup.events` |
//! | [`Group::kill_all`] | pidfds, in rounds, until nothing is left | `cgroup.kill`, then `cgroup.events` |
//! | [`Group::remove`] | rmdir, deepest first | the same |
//!
//! What is true of every call:
//!
//! 1. A path that is not below `lakekeep/` cannot be expressed: [`Group::new`] refuses it.
//! 2. A process is never killed by number: a pidfd is opened first, then the membership
//!    is read again, so that a reused number cannot hit a stranger.
//! 3. The caller's own group is never killed: [`CgroupError::ContainsCaller`].
//! 4. Every wait has a deadline and is woken by the kernel where it can be.
//! 5. A limit that cannot be written is returned as [`Unenforced`], never dropped.

mod controllers;
mod create;
mod error;
mod file;
mod freeze;
mod group;
mod hierarchy;
mod kill;
mod limits;
mod parse;
mod remove;
mod tree;
mod usage;
mod wait;
mod write;

pub use controllers::{Controller, Version};
pub use error::{CgroupError, Operation};
pub use group::Group;
pub use hierarchy::{Hierarchy, Mode, Mount};
pub use limits::{Limit, Limits, Unenforced};
pub use remove::Swept;
pub use usage::Usage;

#[cfg(test)]
mod kernel_tests;
