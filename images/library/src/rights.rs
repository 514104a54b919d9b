//! What a program that reads images is allowed, and where it keeps them.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Names the store's folder.
const STORE: &str = "LAKEKEEP_STORE";

/// Below the home of an ordinary user's data.
const BELOW_DATA: &str = "lakekeep/store";

/// The system's.
const SYSTEM: &str = "/var/lib/lakekeep/store";

/// An image is a stranger's: what reads it needs no capability, and can then use none, nor what it starts. It is
/// the calling thread's, and those that it starts later: call it before there are others (capabilities(7)).
///
/// # Errors
/// What the kernel says.
pub fn give_up_rights() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
}

/// Where the caller's store is, or would be: as given, as `LAKEKEEP_STORE` says, the system's for root, else in the
/// user's data. `None`: `HOME` is not set.
pub fn store_place(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = given {
        return Some(path.to_owned());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable(STORE) {
        return Some(PathBuf::from(path));
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(SYSTEM));
    }
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Some(PathBuf::from(data).join(BELOW_DATA));
    }
    let home = variable("HOME")?;
    Some(PathBuf::from(home).join(".local/share").join(BELOW_DATA))
}
