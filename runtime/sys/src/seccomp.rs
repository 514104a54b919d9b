//! Installing a compiled filter, and the notifications of one that reports.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::process::last_errno;

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// A filter as the kernel takes it, built before any clone.
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Reads instructions of 8 bytes each, as `struct sock_filter` lies in
    /// memory on a little-endian machine.
    ///
    /// # Errors
    /// `EINVAL` for a length that is not a whole, non-zero, allowed number of
    /// instructions. The kernel checks the program itself when it is installed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Errno> {
        let (instructions, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
            return Err(Errno::INVAL);
        }
        let decode = |b: &[u8; 8]| libc::sock_filter {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        Ok(Self(instructions.iter().map(decode).collect()))
    }

    /// Installs the filter on the calling thread, for good. Needs
    /// no-new-privileges (or CAP_SYS_ADMIN), else `EACCES`.
    pub fn install(&self) -> Result<(), Errno> {
        self.set(0).map(drop)
    }

    /// Installs the filter and returns the number of the descriptor on which
    /// `SECCOMP_RET_USER_NOTIF` calls are reported (seccomp_unotify(2)).
    pub fn install_with_listener(&self) -> Result<i32, Errno> {
        self.set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)
    }

    fn set(&self, flags: libc::c_ulong) -> Result<i32, Errno> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).map_err(|_| Errno::INVAL)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: seccomp(2) has no safe wrapper. The program points at live
        // instructions, which the kernel copies and never writes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match result {
            -1 => Err(last_errno()),
            fd => i32::try_from(fd).map_err(|_| Errno::OVERFLOW),
        }
    }
}

/// A refused call, as the kernel reported it.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// The system call's number on the reporting architecture.
    pub number: i32,
    /// The caller, in the receiver's pid namespace.
    pub pid: u32,
    /// Its six arguments. Pointers in them are never followed.
    pub arguments: [u64; 6],
}

// The kernel takes 32 bits; C libraries differ in the type, musl's is signed.
const IOCTL_RECV: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
const IOCTL_SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;

/// Receives one report and refuses the call: with `ENOSYS` if its number is in
/// `missing`, else with `EPERM`. It stays refused whatever the report says, so
/// there is nothing to race with.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile: nothing to answer. `ENOTCONN` when
/// nothing is reported: no process is left under the filter.
pub fn refuse_next(listener: impl AsFd, missing: &[i32]) -> Result<Refused, Errno> {
    // Before Linux 6.11 the ioctl waits for ever for a report that nobody can make.
    let mut reported = [PollFd::new(&listener, PollFlags::IN)];
    poll(
        &mut reported,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )?;
    if !reported[0].revents().contains(PollFlags::IN) {
        return Err(Errno::NOTCONN);
    }
    let raw = listener.as_fd().as_raw_fd();
    // SAFETY: all-zero is what the kernel demands of the structure it fills.
    let mut report: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the ioctl fills a live seccomp_notif.
    if unsafe { libc::ioctl(raw, IOCTL_RECV, &raw mut report) } == -1 {
        return Err(last_errno());
    }
    let errno = if missing.contains(&report.data.nr) {
        Errno::NOSYS
    } else {
        Errno::PERM
    };
    let mut answer = libc::seccomp_notif_resp {
        id: report.id,
        val: 0,
        error: -errno.raw_os_error(),
        flags: 0,
    };
    // SAFETY: the ioctl reads a live seccomp_notif_resp.
    if unsafe { libc::ioctl(raw, IOCTL_SEND, &raw mut answer) } == -1 {
        return Err(last_errno());
    }
    Ok(Refused {
        number: report.data.nr,
        pid: report.pid,
        arguments: report.data.args,
    })
}

/// Copies descriptor `number` of the process behind `pidfd` (pidfd_getfd(2)).
pub fn take_descriptor(pidfd: impl AsFd, number: i32) -> Result<OwnedFd, Errno> {
    let raw = pidfd.as_fd().as_raw_fd();
    // SAFETY: takes integers; rustix's wrapper wants a raw descriptor of
    // another process, which has no safe type.
    match unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw, number, 0) } {
        -1 => Err(last_errno()),
        fd => {
            let fd = i32::try_from(fd).map_err(|_| Errno::OVERFLOW)?;
            // SAFETY: the kernel made this descriptor for us just now.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_programs_are_taken() {
        assert!(Filter::from_bytes(&[]).is_err());
        assert!(Filter::from_bytes(&[0; 9]).is_err());
        assert!(Filter::from_bytes(&vec![0; 8 * (MAX_INSTRUCTIONS + 1)]).is_err());
        assert!(Filter::from_bytes(&[0; 16]).is_ok());
    }
}
