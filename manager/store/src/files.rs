//! Files that only their owner reads, written so that a crash leaves the old or
//! the new content.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// An operation on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}; {remedy}")]
pub struct FileError {
    /// What was tried, such as `read`.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What to do.
    pub remedy: &'static str,
    /// Why not.
    #[source]
    pub error: io::Error,
}

impl FileError {
    pub(crate) fn new(operation: &'static str, path: &Path, error: io::Error) -> FileError {
        FileError {
            operation,
            path: path.to_owned(),
            remedy: remedy(&error),
            error,
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it must belong to the manager's user, and be writable by nobody else"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free space on its file system, or raise the quota"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system for writing",
        io::ErrorKind::NotFound => "was it moved or removed while the manager ran?",
        _ => "check the disk and the kernel's log",
    }
}

/// Names the operation and its object in an [`io::Result`].
pub(crate) trait Named<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> Named<T> for io::Result<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|error| FileError::new(operation, path, error))
    }
}

/// Options under which a private file is made: mode 0600, never through a link.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(no_follow());
    options
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Makes a folder of mode 0700, and those above it; one that exists stays.
pub(crate) fn private_folder(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.named("make the folder", path)
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = File::open(path).named("open", path)?;
    folder.sync_all().named("sync", path)
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a private file that must not exist yet, durably: the content first
/// under another name, so that the name never stands for half of it.
pub(crate) fn create_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    let draft = PathBuf::from(draft);
    let mut options = private();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .open(&draft)
        .named("make", &draft)?;
    file.write_all(content).named("write", &draft)?;
    file.sync_all().named("sync", &draft)?;
    // Not rename(2), which would replace a key that another process has just made.
    std::fs::hard_link(&draft, path).named("make", path)?;
    std::fs::remove_file(&draft).named("remove", &draft)?;
    sync_folder(parent(path))
}

/// Reads a small private file whole. `None`: there is none.
///
/// A key that others can read is no longer one: such a file is refused.
pub(crate) fn read_private(path: &Path, longest: usize) -> Result<Option<Vec<u8>>, FileError> {
    let file = match private().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.named("open", path)?,
    };
    let metadata = file.metadata().named("examine", path)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
        return Err(FileError {
            operation: "trust",
            path: path.to_owned(),
            remedy: "it must be a regular file of mode 0600: replace the key if others may have read it",
            error: io::Error::from(io::ErrorKind::PermissionDenied),
        });
    }
    // Room for everything at once: a buffer that grows leaves copies of a key.
    let mut content = Vec::with_capacity(longest.saturating_add(1));
    let mut bounded = file.take(longest as u64 + 1);
    bounded.read_to_end(&mut content).named("read", path)?;
    if content.len() > longest {
        let error = io::Error::from(io::ErrorKind::FileTooLarge);
        return Err(FileError::new("read", path, error));
    }
    Ok(Some(content))
}

/// Fills `buffer` from the kernel's generator.
pub(crate) fn random(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_private(&path, b"secret").unwrap();
        assert_eq!(read_private(&path, 6).unwrap().unwrap(), b"secret");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(read_private(&path, 6).unwrap_err().operation, "trust");
    }

    #[test]
    fn a_file_is_made_once_and_read_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read_private(&path, 6).unwrap().is_none());
        create_private(&path, b"first").unwrap();
        assert!(create_private(&path, b"second").is_err());
        assert_eq!(read_private(&path, 6).unwrap().unwrap(), b"first");
        assert!(read_private(&path, 4).is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        create_private(&target, b"x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read_private(&link, 10).is_err());
    }
}
