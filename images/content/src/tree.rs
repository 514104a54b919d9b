//! Removing trees by descriptor.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{ContentError, Named};

/// Folders that may lie above an entry. Each costs a descriptor while a tree is walked.
pub(crate) const DEEPEST: usize = 256;

/// Removes `name`, with everything below it, through no link. What is gone already is no error.
pub(crate) fn remove(folder: impl AsFd, name: impl AsRef<OsStr>) -> Result<(), ContentError> {
    let path = PathBuf::from(name.as_ref());
    remove_at(folder.as_fd(), &path, 0)
}

/// The same, where nothing can be done about a failure.
pub(crate) fn remove_or_leave(folder: impl AsFd, name: impl AsRef<OsStr>) {
    match remove(folder, name) {
        Ok(()) | Err(_) => {}
    }
}

fn remove_at(
    folder: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    depth: usize,
) -> Result<(), ContentError> {
    let Some(name) = path.file_name() else {
        return Ok(());
    };
    let shown = || path.display().to_string();
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat.named("examine", &shown())?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return gone(
            rustix::fs::unlinkat(folder, name, AtFlags::empty()),
            &shown(),
        );
    }
    if depth >= DEEPEST {
        return Err(ContentError::TooDeep {
            path: path.to_owned(),
            most: DEEPEST,
        });
    }
    if stat.st_mode & 0o700 != 0o700 {
        // A folder that its owner may not write cannot be emptied. It is no link: nobody else
        // writes here.
        rustix::fs::chmodat(folder, name, Mode::RWXU, AtFlags::empty())
            .named("change the mode of", &shown())?;
    }
    let inner = beneath::folder(folder, name).named("open", &shown())?;
    for entry in beneath::names(&inner).named("list", &shown())? {
        remove_at(inner.as_fd(), &path.join(entry), depth + 1)?;
    }
    gone(
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
        &shown(),
    )
}

fn gone(removed: Result<(), Errno>, shown: &str) -> Result<(), ContentError> {
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).named("remove", shown),
    }
}
