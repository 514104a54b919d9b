//! The digest of a tree: names, kinds, permissions, contents, targets of links.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, Stat};

use crate::beneath;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{ContentError, Named};
use crate::tree::DEEPEST;

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// What a tree was when it was filed. Two trees with equal seals hold the same; owners,
/// times and extended attributes are no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Of everything in the tree.
    pub digest: Digest,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files, folders and links, without the root.
    pub entries: u64,
}

impl Seal {
    /// Reads a tree through, by descriptor and through no link.
    ///
    /// # Errors
    /// [`ContentError::Unkept`] for devices, pipes and sockets, [`ContentError::TooDeep`], or what
    /// the kernel says.
    pub fn of(root: impl AsFd) -> Result<Seal, ContentError> {
        let mut walk = Walk {
            hasher: Hasher::new(Algorithm::Blake3),
            buffer: vec![0; BUFFER],
            bytes: 0,
            entries: 0,
        };
        let stat = rustix::fs::fstat(&root).named("examine", "/")?;
        walk.number(u64::from(stat.st_mode & 0o7777));
        walk.folder(root.as_fd(), Path::new(""), 0)?;
        Ok(Seal {
            digest: walk.hasher.finish(),
            bytes: walk.bytes,
            entries: walk.entries,
        })
    }

    /// Reads what Display wrote.
    pub(crate) fn parse(text: &str) -> Option<Seal> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let seal = Seal {
            digest: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            entries: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(seal)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {}", self.digest, self.bytes, self.entries)
    }
}

struct Walk {
    hasher: Hasher,
    buffer: Vec<u8>,
    bytes: u64,
    entries: u64,
}

impl Walk {
    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }

    /// With its length before it: no two sequences of texts are the same bytes.
    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.hasher.update(text);
    }

    fn folder(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), ContentError> {
        let names = beneath::names(folder).named("list", &path.display().to_string())?;
        // How many: where a folder ends is told before its entries.
        self.number(names.len() as u64);
        for name in names {
            self.entry(folder, &path.join(&name), depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), ContentError> {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let shown = path.display().to_string();
        let stat =
            rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).named("examine", &shown)?;
        self.entries += 1;
        self.text(name.as_bytes());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(folder, path, &stat),
            FileType::Symlink => {
                self.hasher.update(b"l");
                let target = rustix::fs::readlinkat(folder, name, Vec::new())
                    .named("read the link", &shown)?;
                self.text(target.as_bytes());
                Ok(())
            }
            FileType::Directory if depth >= DEEPEST => Err(ContentError::TooDeep {
                path: path.to_owned(),
                most: DEEPEST,
            }),
            FileType::Directory => {
                self.hasher.update(b"d");
                self.number(u64::from(stat.st_mode & 0o7777));
                let inner = beneath::folder(folder, name).named("open", &shown)?;
                self.folder(inner.as_fd(), path, depth + 1)
            }
            other => Err(ContentError::Unkept {
                path: PathBuf::from(path),
                found: kind(other),
            }),
        }
    }

    fn file(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &Path,
        stat: &Stat,
    ) -> Result<(), ContentError> {
        let shown = path.display().to_string();
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let opened = beneath::open(folder, name, OFlags::RDONLY | OFlags::NONBLOCK);
        let mut file = std::fs::File::from(opened.named("open", &shown)?);
        self.hasher.update(b"f");
        self.number(u64::from(stat.st_mode & 0o7777));
        let mut size = 0;
        loop {
            let read = file.read(&mut self.buffer);
            let count = read
                .map_err(|error| {
                    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
                })
                .named("read", &shown)?;
            if count == 0 {
                break;
            }
            self.hasher
                .update(self.buffer.get(..count).unwrap_or_default());
            size += count as u64;
        }
        // After the content, for it may have grown while it was read.
        self.number(size);
        self.bytes += size;
        Ok(())
    }
}

fn kind(found: FileType) -> &'static str {
    match found {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}
