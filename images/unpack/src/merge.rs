//! Unpacked layers over each other, as one tree of hard links.
//!
//! Not an overlay mount of the layers: what removes something there is a device 0:0 or an extended attribute
//! `trusted.overlay.opaque`, and the latter needs CAP_SYS_ADMIN over the initial user namespace.
//! (overlayfs's `userxattr` takes `user.overlay.opaque` in its place, but then the mount is made of as
//! many folders as the image has layers, each time a sandbox is started; a tree is made once.)

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::MergeError;
use crate::path::{OPAQUE, WHITEOUT, shown};
use crate::writer::FOLDER_MODE;

/// Lays `layers`, the lowest first, as [`crate::unpack`] made them, into the empty folder `root`.
///
/// Files become hard links: the same bytes serve every image that has the layer. So `root` and the layers must
/// be on one file system, and nobody may write to either.
///
/// # Errors
/// What the kernel says of which path. What was made until then is in `root`, which must be dropped.
pub fn merge(layers: &[BorrowedFd<'_>], root: BorrowedFd<'_>) -> Result<(), MergeError> {
    layers
        .iter()
        .try_for_each(|layer| lay(*layer, root, Path::new("")))
}

/// One folder of a layer over what is there. Whiteouts first: they are about lower layers alone
/// (image-spec, "Whiteouts": "MUST only apply to resources in lower/parent layers").
fn lay(layer: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &Path) -> Result<(), MergeError> {
    let (whiteouts, entries): (Vec<OsString>, Vec<OsString>) = names(layer)
        .map_err(failed("list", path))?
        .into_iter()
        .partition(|name| name.as_bytes().starts_with(WHITEOUT));
    if whiteouts
        .iter()
        .any(|name| name == OsStr::from_bytes(OPAQUE))
    {
        for name in names(root).map_err(failed("list", path))? {
            remove(root, &name, &path.join(&name))?;
        }
    }
    for whiteout in &whiteouts {
        if let Some(name) = whiteout.as_bytes().strip_prefix(WHITEOUT) {
            let name = OsStr::from_bytes(name);
            remove(root, name, &path.join(name))?;
        }
    }
    for name in entries {
        place(layer, root, &path.join(name))?;
    }
    Ok(())
}

fn place(layer: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &Path) -> Result<(), MergeError> {
    let name = path.file_name().unwrap_or_default();
    let is_folder =
        kind(layer, name).map_err(failed("examine", path))? == Some(FileType::Directory);
    let there = kind(root, name).map_err(failed("examine", path))?;
    if there.is_some() && !(is_folder && there == Some(FileType::Directory)) {
        remove(root, name, path)?;
    }
    if !is_folder {
        // Of a symbolic link too it is the link itself that gets another name (linkat(2)).
        return rustix::fs::linkat(layer, name, root, name, AtFlags::empty())
            .map_err(failed("link", path));
    }
    match rustix::fs::mkdirat(root, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("make", path)(errno)),
    }
    let from = folder(layer, name).map_err(failed("open", path))?;
    let to = folder(root, name).map_err(failed("open", path))?;
    rustix::fs::fchmod(&to, FOLDER_MODE).map_err(failed("change the mode of", path))?;
    lay(from.as_fd(), to.as_fd(), path)
}

/// Removes what a lower layer put there; what is not there is no error.
fn remove(root: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), MergeError> {
    match kind(root, name).map_err(failed("examine", path))? {
        None => Ok(()),
        Some(FileType::Directory) => {
            let inner = folder(root, name).map_err(failed("open", path))?;
            for entry in names(inner.as_fd()).map_err(failed("list", path))? {
                remove(inner.as_fd(), &entry, &path.join(&entry))?;
            }
            rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR).map_err(failed("remove", path))
        }
        Some(_) => {
            rustix::fs::unlinkat(root, name, AtFlags::empty()).map_err(failed("remove", path))
        }
    }
}

fn kind(folder: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn folder(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(at, name, flags, Mode::empty(), resolve)
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(Errno) -> MergeError {
    let path: PathBuf = path.to_owned();
    move |errno| MergeError {
        operation,
        path: shown(path.as_os_str().as_bytes()),
        errno,
    }
}
