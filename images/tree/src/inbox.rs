//! Contents that have come for environments that are not whole yet.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lakekeep_environment::{Digest, FileNode};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::error::TreeError;
use crate::place;

/// Ends the name of a file that may be executed.
const EXECUTABLE: &str = ".x";

/// Begins the name of a file that is being written.
const DRAFT: &str = "draft.";

/// A folder of files that are named after their contents. A file is there proven, or not at all:
/// it is written under another name, compared with its digest and then renamed. It has one user at
/// a time ([`Domain`](crate::Domain) sees to that).
///
/// Nothing is synced here. Whoever makes an environment of the files syncs the file system; what a
/// power failure leaves half written before is found by [`Inbox::sweep`], by its length, or by the
/// seal of the environment.
#[derive(Debug)]
pub(crate) struct Inbox {
    folder: OwnedFd,
}

impl Inbox {
    /// Opens the folder in `path`; it is made if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Inbox, TreeError> {
        let shown = path.display().to_string();
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return place::named("make the folder", &shown, Err(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let folder = place::named("open the folder", &shown, opened)?;
        Ok(Inbox { folder })
    }

    /// Removes what a receiver that was killed left unfinished, and what is older than `most`.
    pub(crate) fn sweep(&self, now: SystemTime, most: Duration) -> Result<(), TreeError> {
        for name in self.names()? {
            let old = || self.age(&name, now).is_some_and(|age| age > most);
            if node(&name, 0).is_none() || old() {
                self.unlink(&name)?;
            }
        }
        Ok(())
    }

    /// Everything that has come.
    pub(crate) fn contents(&self) -> Result<Vec<FileNode>, TreeError> {
        let mut found = Vec::new();
        for name in self.names()? {
            let stat = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = place::named("examine", &name, stat)?;
            found.extend(node(&name, u64::try_from(stat.st_size).unwrap_or(0)));
        }
        Ok(found)
    }

    /// Takes one content, which ends where its length does.
    pub(crate) fn receive(&self, file: &FileNode, content: &mut dyn Read) -> Result<(), TreeError> {
        let draft = format!("{DRAFT}{}", name(file));
        // Of a receiver that was killed.
        self.unlink(&draft)?;
        let written = place::file(self.folder(), &draft, file, content);
        if let Err(error) = written {
            self.unlink(&draft)?;
            return Err(error);
        }
        let moved = rustix::fs::renameat(&self.folder, &draft, &self.folder, name(file));
        place::named("rename", &draft, moved)
    }

    /// Opens one, if it is there and of this length.
    pub(crate) fn get(&self, file: &FileNode) -> Option<File> {
        let opened = place::open(self.folder(), &name(file), OFlags::RDONLY).ok()?;
        let opened = File::from(opened);
        let length = opened.metadata().ok()?.len();
        (length == file.size).then_some(opened)
    }

    /// Forgets some: what an environment has that is whole.
    pub(crate) fn remove<'a>(
        &self,
        files: impl Iterator<Item = &'a FileNode>,
    ) -> Result<(), TreeError> {
        let names: BTreeSet<String> = files.map(name).collect();
        names.iter().try_for_each(|name| self.unlink(name))
    }

    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    fn names(&self) -> Result<Vec<String>, TreeError> {
        let mut names = Vec::new();
        let listed = place::named("list", "inbox", Dir::read_from(&self.folder))?;
        for entry in listed {
            let entry = place::named("list", "inbox", entry)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn age(&self, name: &str, now: SystemTime) -> Option<Duration> {
        let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let since = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
        now.duration_since(SystemTime::UNIX_EPOCH + since).ok()
    }

    /// What is not there need not be removed.
    fn unlink(&self, name: &str) -> Result<(), TreeError> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            removed => place::named("remove", name, removed),
        }
    }
}

/// Under which a content is kept: one inode has one set of permissions.
pub(crate) fn name(file: &FileNode) -> String {
    let ending = if file.executable { EXECUTABLE } else { "" };
    format!("{}{ending}", file.digest)
}

fn node(name: &str, size: u64) -> Option<FileNode> {
    let (hex, executable) = match name.strip_suffix(EXECUTABLE) {
        Some(hex) => (hex, true),
        None => (name, false),
    };
    let digest: Digest = hex.parse().ok()?;
    Some(FileNode {
        digest,
        size,
        executable,
    })
}
