//! The file of the manager's key.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use rustix::fs::{Mode, OFlags};

/// Longest file that is read, in bytes; a key has 83.
const MAX_FILE: u64 = 1024;

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A call failed.
    #[error("the delegation key {}: {operation}: {source}; the manager's user needs to write its folder once, and to read the file", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody else can read or has written it.
    #[error("the delegation key {} is not to be trusted: {what}; remove it, if nobody else used it, and start again: every delegation token ends", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It holds no key.
    #[error("the delegation key {} holds no Ed25519 key in PKCS#8; remove it and start again: every delegation token ends", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gave no random numbers for the delegation key {}; see whether getrandom(2) works here", path.display())]
    Random {
        /// The file.
        path: PathBuf,
    },
}

/// The key in the file; a new one if there is no file.
pub(super) fn load_or_create(path: &Path) -> Result<Ed25519KeyPair, KeyFileError> {
    if let Some(file) = open(path)? {
        return load(path, file);
    }
    create(path)?;
    // What is there now, which may be another process's.
    match open(path)? {
        Some(file) => load(path, file),
        None => Err(io_error(path, "open", io::ErrorKind::NotFound.into())),
    }
}

fn io_error(path: &Path, operation: &'static str, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// The file, if there is one. A link is not followed, and a pipe not waited for.
fn open(path: &Path) -> Result<Option<File>, KeyFileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(io_error(path, "open", error.into())),
    }
}

fn load(path: &Path, file: File) -> Result<Ed25519KeyPair, KeyFileError> {
    let meta = file
        .metadata()
        .map_err(|error| io_error(path, "stat", error))?;
    let untrusted = |what| KeyFileError::Untrusted {
        path: path.to_owned(),
        what,
    };
    if !meta.is_file() {
        return Err(untrusted("it is no regular file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(untrusted("others than its owner have rights to it"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted("its owner is not the manager's user"));
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE).read_to_end(&mut bytes);
    read.map_err(|error| io_error(path, "read", error))?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyFileError::NotAKey {
        path: path.to_owned(),
    })
}

/// Makes the file, whole or not at all, unless there is one by now:
///
/// 1. written under a name that nobody else can have prepared, with mode 0600;
/// 2. synced, so that a name never stands for an empty file after a crash;
/// 3. linked to its name, which fails where somebody was faster;
/// 4. the folder synced, so that the key outlives the tokens that it signs.
fn create(path: &Path) -> Result<(), KeyFileError> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let key = key.map_err(|_| KeyFileError::Random {
        path: path.to_owned(),
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| io_error(path, "create", error))?;
    file.write_all(key.as_ref())
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| io_error(path, "write", error))?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error(path, "link", error.error)),
    }
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io_error(path, "sync the folder of", error))
}
