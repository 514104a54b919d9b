//! What a descriptor is ready for, now or later.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Whether something, or the end, can be read without waiting.
pub fn readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A signal says nothing of the descriptor.
    let ready = retry_on_intr(|| poll(&mut fds, Some(&now)))?;
    Ok(ready > 0)
}

/// Waits for a descriptor in the runtime's own poll.
///
/// # Errors
/// For one that cannot be polled, or when there are too many.
#[expect(
    deprecated,
    reason = "for descriptors that are closed while they are registered: one that is owned, and is given away here, is not; the other constructor is unsafe"
)]
pub fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
