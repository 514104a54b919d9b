//! Files, folders and links beneath a folder that is being made.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_environment::{Digest, FileNode};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::TreeError;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// What a path of a manifest may lead through: folders beneath, and nothing else. The manifest's
/// rules see to that already; here the kernel does.
pub(crate) fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

pub(crate) fn named<T>(
    operation: &'static str,
    path: &str,
    result: Result<T, Errno>,
) -> Result<T, TreeError> {
    result.map_err(|errno| TreeError::Kernel {
        operation,
        path: path.to_owned(),
        errno,
    })
}

pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve(),
    )
}

/// The folder that a path's last name is in, and that name.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok((open(root, folder, flags)?, name))
}

pub(crate) fn folder(root: BorrowedFd<'_>, path: &str) -> Result<(), TreeError> {
    let made = parent(root, path)
        .and_then(|(folder, name)| rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)));
    named("make the folder", path, made)
}

pub(crate) fn link(root: BorrowedFd<'_>, path: &str, target: &str) -> Result<(), TreeError> {
    let made =
        parent(root, path).and_then(|(folder, name)| rustix::fs::symlinkat(target, &folder, name));
    named("make the link", path, made)
}

/// A second name for a file of another environment's; `false`: it cannot have one.
pub(crate) fn hard_link(
    from: (BorrowedFd<'_>, &str),
    root: BorrowedFd<'_>,
    path: &str,
) -> Result<bool, TreeError> {
    let linked = parent(root, path).and_then(|(folder, name)| {
        let (other, old) = parent(from.0, from.1)?;
        rustix::fs::linkat(&other, old, &folder, name, AtFlags::empty())
    });
    match linked {
        Ok(()) => Ok(true),
        // Gone meanwhile, or it has as many names as it can have (link(2)).
        Err(Errno::NOENT | Errno::MLINK | Errno::PERM) => Ok(false),
        Err(errno) => named("link", path, Err(errno)),
    }
}

/// Writes a file and proves it. One that is not what the manifest says has been written by
/// then: the whole folder is dropped.
pub(crate) fn file(
    root: BorrowedFd<'_>,
    path: &str,
    node: &FileNode,
    content: &mut dyn Read,
) -> Result<(), TreeError> {
    let mode = if node.executable { 0o555 } else { 0o444 };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let created = parent(root, path).and_then(|(folder, name)| {
        rustix::fs::openat(
            &folder,
            name,
            flags | OFlags::NOFOLLOW,
            Mode::from_raw_mode(mode),
        )
    });
    let file = named("make the file", path, created)?;
    // Not by openat, which heeds the umask.
    named(
        "chmod",
        path,
        rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode)),
    )?;
    let mut file = std::fs::File::from(file);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut length = 0u64;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let path = path.to_owned();
                return Err(TreeError::Read { path, error });
            }
        };
        let piece = buffer.get(..count).unwrap_or_default();
        length = length.saturating_add(count as u64);
        if length > node.size {
            break;
        }
        hasher.update(piece);
        let written = file.write_all(piece);
        let written = written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        named("write", path, written)?;
    }
    let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    match length == node.size && digest == node.digest {
        true => Ok(()),
        false => Err(TreeError::Changed {
            path: path.to_owned(),
        }),
    }
}
