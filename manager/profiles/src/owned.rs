//! Files of profiles that are written through the API: whole, or not at all.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::names::ProfileName;

/// The version of a profile's text. Equal texts have equal versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Etag(String);

impl Etag {
    /// The version of `text`: its BLAKE3 in lower-case hexadecimal.
    pub fn of(text: &str) -> Etag {
        Etag(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// A version that a client was given before.
    pub fn from_client(text: &str) -> Etag {
        Etag(text.to_owned())
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who writes a profile, as authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The user's name.
    pub user: String,
    /// Whether the manager's configuration makes this user an administrator.
    pub administrator: bool,
}

/// The file of the profile `name`.
pub(crate) fn path(folder: &Path, name: &ProfileName) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

/// Writes the file whole: under a name that nobody reads, to the disk, then in
/// place of the old one; a crash leaves the old text or the new one. The folder
/// goes to the disk last, so that the new name survives too.
pub(crate) fn write(folder: &Path, name: &ProfileName, text: &str) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path(folder, name))
        .map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Removes the file.
pub(crate) fn remove(folder: &Path, name: &ProfileName) -> io::Result<()> {
    std::fs::remove_file(path(folder, name))?;
    File::open(folder)?.sync_all()
}
