//! Where one build works.
//!
//! A folder beneath the user's cache, of the builder alone, with a lock (flock(2)) that the kernel
//! releases when its holder dies, however. So what is not locked is a dead builder's, and the next
//! one removes it. The lock is beside the folder, and not in it: what is in it is a package's.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::BuildError;

/// Ends the names of locks.
const LOCK: &str = ".lock";

/// A folder to build in; gone when dropped.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    lock_path: PathBuf,
    /// Held while this lives.
    _lock: File,
}

impl Workplace {
    /// Makes one beneath `builds`, and removes what dead builders left there.
    ///
    /// # Errors
    /// [`BuildError::Workplace`].
    pub fn new(builds: &Path) -> Result<Workplace, BuildError> {
        let failed = |error| BuildError::Workplace {
            path: builds.to_owned(),
            error,
        };
        private(builds).map_err(failed)?;
        sweep(builds);
        loop {
            let named = tempfile::Builder::new()
                .prefix("build-")
                .suffix(LOCK)
                .tempfile_in(builds);
            let (lock, lock_path) = named.and_then(|file| Ok(file.keep()?)).map_err(failed)?;
            // Between its making and this, another's sweep may have taken it for a dead one's.
            let held = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if held && lock_path.exists() {
                let folder = lock_path.with_extension("");
                let place = Workplace {
                    folder,
                    lock_path,
                    _lock: lock,
                };
                private(&place.folder).map_err(failed)?;
                return Ok(place);
            }
        }
    }

    /// A folder in it, made where it is not there.
    ///
    /// # Errors
    /// [`BuildError::Workplace`].
    pub fn part(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.folder.join(name);
        private(&path).map_err(|error| BuildError::Workplace {
            path: path.clone(),
            error,
        })?;
        Ok(path)
    }

    /// A file in a part, with the folders on the way.
    ///
    /// # Errors
    /// [`BuildError::Workplace`].
    pub fn file(&self, part: &str, name: &str, content: &str) -> Result<(), BuildError> {
        let path = self.part(part)?.join(name);
        let folder = path.parent().map_or(Ok(()), private);
        folder
            .and_then(|()| std::fs::write(&path, content))
            .map_err(|error| BuildError::Workplace { path, error })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        remove(&self.folder, &self.lock_path);
    }
}

/// Makes a folder of this user's alone, where it is not there.
///
/// # Errors
/// [`BuildError::Workplace`].
pub fn private_folder(folder: &Path) -> Result<PathBuf, BuildError> {
    match private(folder) {
        Ok(()) => Ok(folder.to_owned()),
        Err(error) => Err(BuildError::Workplace {
            path: folder.to_owned(),
            error,
        }),
    }
}

/// A folder of this user's alone, with those on the way.
fn private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes what no living builder has locked. What cannot be removed now is the next one's work.
fn sweep(builds: &Path) {
    for entry in std::fs::read_dir(builds).into_iter().flatten().flatten() {
        let lock_path = entry.path();
        if lock_path.extension().is_none_or(|end| end != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&lock_path) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&lock_path.with_extension(""), &lock_path);
        }
    }
}

/// The folder first: a folder without a lock would be nobody's.
fn remove(folder: &Path, lock_path: &Path) {
    let removed = std::fs::remove_dir_all(folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            open_up(folder);
            std::fs::remove_dir_all(folder)
        }
        _ => Err(error),
    });
    let gone = match removed {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(()) => true,
    };
    if gone && std::fs::remove_file(lock_path).is_err() {
        // Another sweep was faster.
    }
}

/// Folders that code of a package has closed to their owner. Nothing writes in them any more.
fn open_up(folder: &Path) {
    let open = std::fs::Permissions::from_mode(0o700);
    if std::fs::set_permissions(folder, open).is_err() {
        // Then it stays, and the next one tries again.
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_living_builders_folder_stays_and_a_dead_ones_goes() {
        let folder = tempfile::tempdir().unwrap();
        let builds = folder.path().join("a/builds");
        let one = Workplace::new(&builds).unwrap();
        one.file("project", "deep/r.txt", "x").unwrap();
        let two = Workplace::new(&builds).unwrap();
        assert!(one.part("project").unwrap().join("deep/r.txt").exists());
        drop(two);
        assert_eq!(count(&builds), 2, "one folder and its lock");
        // As after SIGKILL: the lock is released, the files stay.
        let (dead, lock) = (one.folder.clone(), one.lock_path.clone());
        std::fs::copy(&lock, builds.join("dead.lock")).unwrap();
        std::fs::create_dir(builds.join("dead")).unwrap();
        let three = Workplace::new(&builds).unwrap();
        assert!(dead.exists() && !builds.join("dead").exists());
        drop((one, three));
        assert_eq!(count(&builds), 0);
    }

    #[test]
    fn what_a_package_closed_is_removed_too() {
        let folder = tempfile::tempdir().unwrap();
        let place = Workplace::new(folder.path()).unwrap();
        let closed = place.part("venv/deep/closed").unwrap();
        std::fs::write(closed.join("file"), "x").unwrap();
        for path in [closed.as_path(), closed.parent().unwrap()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        drop(place);
        assert_eq!(count(folder.path()), 0);
    }
}
