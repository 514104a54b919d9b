//! The kernel, as lakekeep uses it, and the only crate that holds `unsafe`.
//!
//! Everything that another room needs from the kernel and that `rustix` or
//! `nix` do not offer safely stands here, each `unsafe` block with the reason
//! it is needed and the preconditions that make it sound. Nothing here decides
//! what is allowed: that is `policy` and `plan`.

#[macro_use]
mod flags;

pub mod cgroup;
pub mod error;
pub mod landlock;
pub mod lock;
pub mod memfd;
pub mod mount;
pub mod mountinfo;
pub mod net;
pub mod process;
pub mod pty;
pub mod quota;
pub mod readback;
pub mod seal;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod userns;

pub use error::Error;
/// The errno type that every operation here reports.
pub use rustix::io::Errno;
