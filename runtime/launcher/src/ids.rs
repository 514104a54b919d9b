//! Host id ranges: one for each live sandbox, released by the kernel when the
//! launcher that holds it dies.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

use lakekeep_protocol::launch::LaunchStep;
use lakekeep_sys::error::Context;
use lakekeep_sys::{Error, lock};

use crate::error::Failed;

/// First host id that is ever leased. From here to 2^31 no distribution hands
/// out ids by itself (systemd's UIDS-GIDS.md ends its container range below,
/// and its reserved ranges begin above).
const FIRST: u32 = 0x7000_0000;

/// Ids of one lease.
pub const SIZE: u32 = 65_536;

/// How many leases there are: all of them below 2^31.
const LEASES: u32 = (0x7fff_0000 - FIRST) / SIZE;

/// The table of leases: byte `n` of a file, locked, is lease `n`, held.
#[derive(Debug)]
pub struct Leases {
    file: Rc<File>,
    next: u32,
}

/// A range of host ids that no other live sandbox has.
#[derive(Debug)]
pub struct Lease {
    file: Rc<File>,
    number: u32,
}

impl Leases {
    /// Opens the table in the state folder.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let path = state.join("ids");
        let object = path.display().to_string();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            // Whoever may open it could hold every lease.
            .mode(0o600)
            .open(path)
            .context("open", object)?;
        // A range that has just ended is not the next one taken, whichever
        // launcher takes it, and launchers that start together do not collide.
        let mut start = [0u8; 4];
        rustix::rand::getrandom(&mut start, rustix::rand::GetRandomFlags::empty())
            .context("getrandom", "first lease")?;
        Ok(Self {
            file: Rc::new(file),
            next: u32::from_le_bytes(start) % LEASES,
        })
    }

    /// Takes the next free range. Ranges are taken in turn, so that one is not
    /// used again soon after its sandbox ended.
    pub fn take(&mut self) -> Result<Lease, Failed> {
        let failed = |errno| Failed::errno(LaunchStep::LeaseIds, errno);
        for _ in 0..LEASES {
            let number = self.next;
            self.next = (self.next + 1) % LEASES;
            if lock::try_lock_byte(self.file.as_fd(), u64::from(number)).map_err(failed)? {
                let file = Rc::clone(&self.file);
                return Ok(Lease { file, number });
            }
        }
        Err(Failed::refused(
            LaunchStep::LeaseIds,
            "every id range is in use",
        ))
    }
}

impl Lease {
    /// First host id of the range.
    pub fn first(&self) -> u32 {
        FIRST + self.number * SIZE
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if lock::unlock_byte(self.fd(), u64::from(self.number)).is_err() {
            // Unlocking a byte of an open file cannot fail; were it to, the range
            // would stay taken until this launcher ends: the safe side.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_leases_of_two_launchers_never_overlap() {
        let dir = std::env::temp_dir().join(format!("lakekeep-ids-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (mut one, mut two) = (Leases::open(&dir).unwrap(), Leases::open(&dir).unwrap());
        let mut held: Vec<Lease> = Vec::new();
        for _ in 0..50 {
            held.push(one.take().unwrap());
            held.push(two.take().unwrap());
        }
        let mut firsts: Vec<u32> = held.iter().map(Lease::first).collect();
        firsts.sort_unstable();
        assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] >= SIZE));
        assert!(
            firsts
                .iter()
                .all(|first| *first >= FIRST && first.checked_add(SIZE).is_some())
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_dropped_lease_is_free_and_not_the_next_one_taken() {
        let dir = std::env::temp_dir().join(format!("lakekeep-ids2-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut leases = Leases::open(&dir).unwrap();
        let first = leases.take().unwrap().first();
        assert_ne!(leases.take().unwrap().first(), first);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
