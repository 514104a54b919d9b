//! Bounded reads and single writes of control files.

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{CgroupError, Operation};

/// Longer than any control file but a list of processes or mounts.
pub(super) const SHORT: usize = 64 << 10;
/// A list of four million processes, or of very many mounts.
pub(super) const LONG: usize = 32 << 20;

/// The whole text of a file, or `None` where it does not exist.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<String>, CgroupError> {
    let file = match open(path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(Operation::Read, path, errno)),
    };
    match read_all(&file, limit) {
        Ok(Some(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(None) => Err(CgroupError::TooLong {
            path: path.to_owned(),
            limit,
        }),
        // The group was removed between open and read.
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(failed(Operation::Read, path, errno)),
    }
}

/// Like [`read`], where the file's absence is an error.
pub(super) fn require(path: &Path, limit: usize) -> Result<String, CgroupError> {
    read(path, limit)?.ok_or_else(|| failed(Operation::Read, path, Errno::NOENT))
}

/// Writes a setting in one call: control files take a value as one write(2).
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    write_as(Operation::Write, path, value)
}

/// Like [`write`], with the name that the operation has in an error.
pub(super) fn write_as(op: Operation, path: &Path, value: &str) -> Result<(), CgroupError> {
    let file = open(path, OFlags::WRONLY).map_err(|errno| failed(op, path, errno))?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes()));
    let written = written.map_err(|errno| match errno {
        // The group was removed between open and write.
        Errno::NODEV => failed(op, path, Errno::NOENT),
        other => failed(op, path, other),
    })?;
    if written == value.len() {
        return Ok(());
    }
    Err(failed(op, path, Errno::IO))
}

/// Opens a control file or directory; never follows a link, never leaks over exec.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::io::retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))
}

pub(super) fn failed(operation: Operation, path: &Path, errno: Errno) -> CgroupError {
    CgroupError::Io {
        operation,
        path: PathBuf::from(path),
        errno,
    }
}

/// `None` if there is more than `limit`.
fn read_all(file: impl AsFd, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length >= limit {
                return Ok(None);
            }
            bytes.resize((length * 2).min(limit + 1), 0);
        }
        let free = &mut bytes[length..];
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *free))? {
            0 => break,
            count => length += count,
        }
    }
    bytes.truncate(length);
    Ok((length <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_none_and_a_long_one_is_refused() {
        let missing = Path::new("/proc/self/no-such-file");
        assert!(read(missing, SHORT).unwrap().is_none());
        let zeros = Path::new("/dev/zero");
        assert!(matches!(
            read(zeros, SHORT),
            Err(CgroupError::TooLong { limit: SHORT, .. })
        ));
    }

    #[test]
    fn the_absence_of_a_required_file_names_it() {
        let error = require(Path::new("/proc/self/no-such-file"), SHORT).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOENT));
        assert!(error.to_string().contains("/proc/self/no-such-file"));
    }
}
