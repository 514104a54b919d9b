//! Opening by descriptor: through no link, never out of a folder.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A folder's permissions: nobody else's business.
pub(crate) const FOLDER: Mode = Mode::RWXU;

/// Opens `path` below `folder`.
///
/// # Errors
/// `ELOOP` for a link on the way or at the end, `EXDEV` for a way out.
pub(crate) fn open(
    folder: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    create(folder, path, flags, Mode::empty())
}

/// The same, for a file that may be made.
pub(crate) fn create(
    folder: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(folder, path.as_ref(), flags, mode, resolve)
}

/// Opens the folder `path` below `folder`.
pub(crate) fn folder(folder: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
    open(folder, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The same; it is made if it is not there.
pub(crate) fn made_folder(at: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(&at, name, FOLDER) {
        Ok(()) => rustix::fs::fsync(&at)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    folder(at, name)
}

/// Whether `name` in `folder` still is what `file` has open: a lock was taken on
/// something that could have been removed just before.
pub(crate) fn is_still(folder: impl AsFd, name: &str, file: impl AsFd) -> Result<bool, Errno> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes a lock if that needs no waiting.
pub(crate) fn try_lock(file: impl AsFd, operation: FlockOperation) -> Result<bool, Errno> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Names in a folder, sorted, but for `.` and `..`.
pub(crate) fn names(folder: impl AsFd) -> Result<Vec<std::ffi::OsString>, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Seconds since 1970 by which a file was last touched.
pub(crate) fn touched(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or(0)
}

/// Notes that a file or folder is used now.
pub(crate) fn touch(file: impl AsFd) -> Result<(), Errno> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::futimens(file, &times)
}

/// Another descriptor of the same open file.
pub(crate) fn copy(file: impl AsFd) -> Result<File, Errno> {
    rustix::io::fcntl_dupfd_cloexec(file, 3).map(File::from)
}
