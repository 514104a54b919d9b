//! Entries into files below a root, by descriptor.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use crate::compression::from_io;
use crate::error::{Refusal, UnpackError};
use crate::path::{EntryPath, shown};

/// Folders: whoever runs in the sandbox is no owner of them, and must pass; who unpacked must
/// be able to remove.
pub const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// Bytes that are copied at once.
const BUFFER: usize = 128 * 1024;

/// Makes entries below a root. It never replaces one.
pub struct Writer<'root> {
    root: BorrowedFd<'root>,
    /// The folder of the last entry: the next is often beside it.
    parent: Option<(PathBuf, OwnedFd)>,
    buffer: Vec<u8>,
    /// Set-ID bits and extended attributes that were left out.
    pub stripped: u64,
}

/// Why an entry was not made.
pub enum WriteError {
    Refused(Refusal),
    Kernel(&'static str, Errno),
    Source(UnpackError),
}

impl From<Refusal> for WriteError {
    fn from(why: Refusal) -> WriteError {
        WriteError::Refused(why)
    }
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> WriteError {
    move |errno| WriteError::Kernel(operation, errno)
}

impl<'root> Writer<'root> {
    pub fn new(root: BorrowedFd<'root>) -> Writer<'root> {
        Writer {
            root,
            parent: None,
            buffer: vec![0; BUFFER],
            stripped: 0,
        }
    }

    /// A folder; one that is there stays, for archives name folders again.
    pub fn folder(&mut self, path: &EntryPath) -> Result<OwnedFd, WriteError> {
        if path.is_root() {
            let root = self.root.try_clone_to_owned();
            return root.map_err(|error| failed("open")(errno(&error)));
        }
        let parent = self.parent(path)?;
        match rustix::fs::mkdirat(parent, path.name(), Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.kind(path)? != FileType::Directory => {
                return Err(Refusal::Duplicate.into());
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("make")(errno)),
        }
        let folder = self.beneath(path.as_path()).map_err(failed("open"))?;
        rustix::fs::fchmod(&folder, FOLDER_MODE).map_err(failed("change the mode of"))?;
        Ok(folder)
    }

    /// A file of `size` bytes of the source.
    pub fn file(
        &mut self,
        path: &EntryPath,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<File, WriteError> {
        let parent = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, path.name(), flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(made.map_err(twice("make"))?);
        self.copy(size, content, &mut file)?;
        rustix::fs::fchmod(&file, file_mode(mode)).map_err(failed("change the mode of"))?;
        if mode & 0o6000 != 0 {
            self.stripped += 1;
        }
        Ok(file)
    }

    fn copy(
        &mut self,
        size: u64,
        content: &mut dyn Read,
        file: &mut File,
    ) -> Result<(), WriteError> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let piece = self.buffer.get_mut(..most).unwrap_or_default();
            let count = match content.read(piece) {
                Ok(0) => return Err(Refusal::Truncated.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Source(from_io(error))),
            };
            let read = piece.get(..count).unwrap_or_default();
            file.write_all(read)
                .map_err(|error| failed("write")(errno(&error)))?;
            left -= count as u64;
        }
        Ok(())
    }

    /// A symbolic link, whose target means nothing here.
    pub fn symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), WriteError> {
        let parent = self.parent(path)?;
        let target = std::ffi::OsStr::from_bytes(target);
        rustix::fs::symlinkat(target, parent, path.name()).map_err(twice("make"))
    }

    /// Another name of a file, or of a symbolic link itself, that was made before.
    pub fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), WriteError> {
        let bad = |why| {
            WriteError::Refused(Refusal::BadTarget {
                target: target.to_string(),
                why: Box::new(why),
            })
        };
        let from = match self.beneath(target.parent()) {
            Ok(folder) => folder,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let parent = shown(target.parent().as_os_str().as_bytes());
                return Err(bad(Refusal::ParentNotFolder(parent)));
            }
            Err(Errno::NOENT) => return Err(bad(Refusal::NotBefore)),
            Err(errno) => return Err(failed("open the target of")(errno)),
        };
        match rustix::fs::statat(&from, target.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(bad(Refusal::Folder));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Err(bad(Refusal::NotBefore)),
            Err(errno) => return Err(failed("examine the target of")(errno)),
        }
        let parent = self.parent(path)?;
        rustix::fs::linkat(&from, target.name(), parent, path.name(), AtFlags::empty())
            .map_err(twice("make"))
    }

    /// An empty file of the whiteout's own name; [`crate::merge`] reads it. No other entry can
    /// have such a name.
    pub fn whiteout(&mut self, path: &EntryPath) -> Result<(), WriteError> {
        let parent = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(parent, path.name(), flags, Mode::RUSR)
            .map(|_| ())
            .map_err(twice("make"))
    }

    /// Keeps `user.` attributes; leaves out what gives rights or labels, as set-ID bits are.
    /// What overlayfs reads is refused: it would change what is seen of the layers below.
    pub fn attributes(
        &mut self,
        file: impl AsFd,
        attributes: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), WriteError> {
        for (name, value) in attributes {
            let overlay = name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.");
            if overlay {
                return Err(Refusal::Attribute(shown(name)).into());
            }
            if !name.starts_with(b"user.") {
                self.stripped += 1;
                continue;
            }
            let name = std::ffi::OsStr::from_bytes(name);
            match rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.stripped += 1,
                Err(errno) => return Err(failed("set an extended attribute of")(errno)),
            }
        }
        Ok(())
    }

    /// Attributes of an entry that gets none: those that are refused are refused all the same.
    pub fn no_attributes(&mut self, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<(), WriteError> {
        for (name, _) in attributes {
            if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
                return Err(Refusal::Attribute(shown(name)).into());
            }
            self.stripped += 1;
        }
        Ok(())
    }

    /// The folder of an entry; made where the archive has none for it.
    fn parent(&mut self, path: &EntryPath) -> Result<BorrowedFd<'_>, WriteError> {
        let wanted = path.parent();
        let known = self
            .parent
            .as_ref()
            .is_some_and(|(known, _)| known == wanted);
        if !known {
            let folder = match self.beneath(wanted) {
                Err(Errno::NOENT) => self.make_parents(wanted),
                opened => opened,
            };
            let folder = folder.map_err(|errno| match errno {
                Errno::LOOP | Errno::NOTDIR => WriteError::Refused(Refusal::ParentNotFolder(
                    shown(wanted.as_os_str().as_bytes()),
                )),
                errno => WriteError::Kernel("open the folder of", errno),
            })?;
            self.parent = Some((wanted.to_owned(), folder));
        }
        match &self.parent {
            Some((_, folder)) => Ok(folder.as_fd()),
            None => Ok(self.root),
        }
    }

    fn make_parents(&self, wanted: &Path) -> Result<OwnedFd, Errno> {
        let mut path = PathBuf::new();
        let mut folder = self.beneath(&path)?;
        for part in wanted.components() {
            let Component::Normal(name) = part else {
                return Err(Errno::INVAL);
            };
            match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
                Ok(()) => {
                    path.push(name);
                    folder = self.beneath(&path)?;
                    rustix::fs::fchmod(&folder, FOLDER_MODE)?;
                }
                Err(Errno::EXIST) => {
                    path.push(name);
                    folder = self.beneath(&path)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(folder)
    }

    /// A folder below the root, through no link.
    fn beneath(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve)
    }

    fn kind(&mut self, path: &EntryPath) -> Result<FileType, WriteError> {
        let parent = self.parent(path)?;
        let stat = rustix::fs::statat(parent, path.name(), AtFlags::SYMLINK_NOFOLLOW);
        Ok(FileType::from_raw_mode(
            stat.map_err(failed("examine"))?.st_mode,
        ))
    }
}

/// What its owner may, everybody may, but write. Inside there is one user, who is not the
/// files' owner: an image's difference between owner, group and others has no meaning there.
fn file_mode(mode: u32) -> Mode {
    Mode::from_raw_mode(if mode & 0o100 != 0 { 0o555 } else { 0o444 })
}

/// Something is there already.
fn twice(operation: &'static str) -> impl Fn(Errno) -> WriteError {
    move |errno| match errno {
        Errno::EXIST => Refusal::Duplicate.into(),
        errno => WriteError::Kernel(operation, errno),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
