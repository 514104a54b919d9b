//! Landlock: the kernel's ABI and the one call made after a clone.
//!
//! Rule sets are built before the clone with the `landlock` crate; the child
//! only applies them (landlock(7)).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::process::last_errno;

const CREATE_RULESET_VERSION: u32 = 1;

/// The ABI that the running kernel offers; 0 when Landlock is absent or off.
pub fn abi() -> u32 {
    // SAFETY: with a null attribute, size 0 and the VERSION flag the call only
    // returns a number (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Applies `ruleset` to the calling thread, for good. Needs no-new-privileges.
pub fn restrict_self(ruleset: impl AsFd) -> Result<(), Errno> {
    let raw = ruleset.as_fd().as_raw_fd();
    // SAFETY: takes a descriptor and flags; the crate's own wrapper consumes a
    // rule set and allocates, which a child before exec must not.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, raw, 0u32) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}
