//! Locks that the kernel releases when their holder dies, however it dies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::process::last_errno;

/// Tries to lock byte `offset` of `file` for writing, as an open file
/// description lock (`F_OFD_SETLK`, fcntl(2)). `false`: somebody holds it.
pub fn try_lock_byte(file: BorrowedFd<'_>, offset: u64) -> Result<bool, Errno> {
    match set_lock(file, offset, libc::F_WRLCK) {
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
        Ok(()) => Ok(true),
    }
}

/// Releases byte `offset`.
pub fn unlock_byte(file: BorrowedFd<'_>, offset: u64) -> Result<(), Errno> {
    set_lock(file, offset, libc::F_UNLCK)
}

fn set_lock(file: BorrowedFd<'_>, offset: u64, kind: libc::c_int) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid flock, and open file description locks
    // demand l_pid == 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).map_err(|_| Errno::INVAL)?;
    lock.l_whence = 0;
    lock.l_start = libc::off_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
    lock.l_len = 1;
    // SAFETY: rustix offers only whole-file locks. The pointer is to a live
    // flock that the kernel reads.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Tries to lock a whole file or directory. `false`: somebody holds it.
pub fn try_lock(file: impl AsFd) -> Result<bool, Errno> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
        Ok(()) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn a_byte_is_held_once_and_free_after_its_holder_closed() {
        let dir = std::env::temp_dir().join(format!("lakekeep-lock-{}", std::process::id()));
        let open = || {
            OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&dir)
                .unwrap()
        };
        let (first, second) = (open(), open());
        assert!(try_lock_byte(first.as_fd(), 5).unwrap());
        assert!(!try_lock_byte(second.as_fd(), 5).unwrap());
        assert!(try_lock_byte(second.as_fd(), 6).unwrap());
        drop(first);
        assert!(try_lock_byte(second.as_fd(), 5).unwrap());
        std::fs::remove_file(dir).unwrap();
    }
}
