//! A directory of one test's own, which an ordinary user can enter too.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Privilege, fail};

/// A test's directory; gone when dropped.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// A fresh one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("lkt-")
            .tempdir()
            .unwrap_or_else(|e| fail(format_args!("no temporary directory: {e}")));
        set_mode(dir.path(), 0o755);
        Self { dir }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory below it that this privilege owns.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn dir(&self, name: &str, owner: Privilege) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
        give(&path, owner);
        path
    }

    /// A new file below it that this privilege owns, readable by all.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, owner: Privilege, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
        give(&path, owner);
        path
    }

    /// A new file for a resolver alone (hosts(5)), in a folder of its own.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn hosts(&self, content: &str) -> PathBuf {
        let hosts = self.dir("names", Privilege::Root).join("hosts");
        fs::write(&hosts, content)
            .unwrap_or_else(|e| fail(format_args!("{}: {e}", hosts.display())));
        hosts
    }

    /// As [`Place::file`], executable.
    #[must_use]
    pub fn script(&self, name: &str, owner: Privilege, content: &str) -> PathBuf {
        let path = self.file(name, owner, content);
        set_mode(&path, 0o755);
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

fn give(path: &Path, owner: Privilege) {
    let uid = owner.uid();
    if uid != rustix::process::getuid().as_raw() {
        chown(path, Some(uid), Some(uid))
            .unwrap_or_else(|e| fail(format_args!("chown {}: {e}", path.display())));
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|e| fail(format_args!("chmod {}: {e}", path.display())));
}
