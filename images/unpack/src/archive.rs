//! A tar archive, entry by entry, in the one way of reading it that is left when everything is
//! refused that can be read in two. It touches no file system.

use std::io::{self, Read};

use crate::blocks::{self, BlockError};
use crate::compression::from_io;
use crate::error::{Refusal, UnpackError};
use crate::header::{Block, Header, OCTAL_SIZE, Type};
use crate::limits::Limits;
use crate::path::{EntryPath, shown};
use crate::pax::{self, Pax};

/// An entry of an archive, checked by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which one, from 1; headers that are for other entries are counted too.
    pub number: u64,
    /// Where it goes, below the root.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions and the set-ID bits.
    pub mode: u32,
    /// Last change of its content, in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes: names and values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file; its bytes are read from the archive ([`Archive::read`]) before the next entry.
    File {
        /// How many.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, with what it says. It is never followed here.
    SymbolicLink(Vec<u8>),
    /// Another name of a file of this layer.
    HardLink(EntryPath),
    /// Something of a lower layer's is removed, by the entry's name.
    Whiteout,
}

/// Reads an archive from front to back.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    limits: Limits,
    number: u64,
    /// Bytes of the current entry's content that were not read yet.
    left: u64,
    /// Bytes behind them, to the end of the block.
    padding: u64,
    /// The name of the current entry, for errors.
    name: Vec<u8>,
}

/// Headers that came before an entry's own.
#[derive(Default)]
struct Before {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Before {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_target.is_none() && self.pax.is_none()
    }
}

impl<R: Read> Archive<R> {
    /// Of a decompressed layer.
    pub fn new(source: R, limits: Limits) -> Archive<R> {
        Archive {
            source,
            limits,
            number: 0,
            left: 0,
            padding: 0,
            name: Vec::new(),
        }
    }

    /// The next entry; `None` behind the last, when the archive was read to its very end.
    ///
    /// # Errors
    /// [`UnpackError::Refused`], or that of the source.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip_content()?;
        let mut before = Before::default();
        loop {
            let Some(block) = self.block()? else {
                return if before.is_empty() {
                    self.check_end().map(|()| None)
                } else {
                    Err(self.refused(Refusal::HeaderForNothing))
                };
            };
            self.number += 1;
            if self.number > self.limits.entries {
                return Err(self.refused(Refusal::Entries(self.limits.entries)));
            }
            self.name.clear();
            let header = Header::read(&block).map_err(|why| self.refused(why))?;
            self.name.clone_from(&header.name);
            let taken = self.before(&header, &mut before)?;
            if !taken {
                let entry = self.entry(header, before);
                return entry.map(Some).map_err(|why| self.refused(why));
            }
        }
    }

    /// A refusal of the current entry.
    pub(crate) fn refused(&self, why: Refusal) -> UnpackError {
        UnpackError::Refused {
            number: self.number,
            entry: shown(&self.name),
            why,
        }
    }

    /// The rest of the source, all of it read.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// A header's block; `None` for the zeros that end an archive.
    fn block(&mut self) -> Result<Option<Block>, UnpackError> {
        match blocks::block(&mut self.source) {
            Ok(Some(block)) if block.iter().all(|byte| *byte == 0) => Ok(None),
            Ok(Some(block)) => Ok(Some(block)),
            // An archive ends with zeros, or was cut off where an entry ended.
            Ok(None) => Err(self.behind(Refusal::Truncated)),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: BlockError) -> UnpackError {
        match error {
            BlockError::Refused(why) => self.refused(why),
            BlockError::Io(error) => from_io(error),
        }
    }

    /// A refusal of what comes behind the last entry.
    fn behind(&self, why: Refusal) -> UnpackError {
        UnpackError::Refused {
            number: self.number,
            entry: shown(&self.name),
            why,
        }
    }

    /// Reads a header that is for others; `false`: it is an entry's own.
    fn before(&mut self, header: &Header, before: &mut Before) -> Result<bool, UnpackError> {
        let most = match header.kind {
            Type::Extended | Type::Global => Limits::PAX,
            // With the NUL behind it.
            Type::LongName | Type::LongTarget => Limits::PATH as u64 + 1,
            _ => return Ok(false),
        };
        let content = blocks::content(&mut self.source, header.size, most);
        let content = content.map_err(|error| self.failed(error))?;
        let taken = match header.kind {
            Type::Global => pax::check_global(&content),
            Type::Extended => {
                Pax::read(&content).and_then(|pax| once(&mut before.pax, pax, "extended header"))
            }
            Type::LongName => {
                long(&content).and_then(|name| once(&mut before.long_name, name, "name"))
            }
            _ => long(&content)
                .and_then(|target| once(&mut before.long_target, target, "link's target")),
        };
        taken.map(|()| true).map_err(|why| self.refused(why))
    }

    fn entry(&mut self, header: Header, before: Before) -> Result<Entry, Refusal> {
        let pax = before.pax.unwrap_or_default();
        let name = one(before.long_name, pax.path, "name")?.unwrap_or(header.name);
        self.name.clone_from(&name);
        let target = one(before.long_target, pax.target, "link's target")?;
        let target = target.unwrap_or(header.target);
        let size = size(header.size, pax.size)?;
        let path = EntryPath::check(&name, self.limits.depth)?;
        if let Some(why) = path.bad_whiteout() {
            return Err(why);
        }
        let kind = self.kind(header.kind, size, &path, &target)?;
        let bytes = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
        if pax.attributes.iter().map(bytes).sum::<usize>() > self.limits.attribute_bytes {
            return Err(Refusal::Attributes(self.limits.attribute_bytes));
        }
        self.left = size;
        self.padding = blocks::padded(size) - size;
        Ok(Entry {
            number: self.number,
            path,
            kind,
            mode: header.mode,
            mtime: pax.mtime.unwrap_or(header.mtime),
            attributes: pax.attributes,
        })
    }

    fn kind(
        &self,
        kind: Type,
        size: u64,
        path: &EntryPath,
        target: &[u8],
    ) -> Result<EntryKind, Refusal> {
        if kind != Type::File && size > 0 {
            return Err(Refusal::Content);
        }
        if kind != Type::Folder && (path.ends_with_slash() || path.is_root()) {
            return Err(Refusal::FolderName);
        }
        if path.is_whiteout() {
            let plain = kind == Type::File && size == 0;
            return plain
                .then_some(EntryKind::Whiteout)
                .ok_or(Refusal::Whiteout);
        }
        match kind {
            Type::Folder => Ok(EntryKind::Folder),
            Type::SymbolicLink => link(target).map(EntryKind::SymbolicLink),
            Type::HardLink => self.hard_link(target).map(EntryKind::HardLink),
            _ if size > self.limits.file_bytes => Err(Refusal::LargeFile(self.limits.file_bytes)),
            _ => Ok(EntryKind::File { size }),
        }
    }

    fn hard_link(&self, target: &[u8]) -> Result<EntryPath, Refusal> {
        let bad = |why| Refusal::BadTarget {
            target: shown(target),
            why: Box::new(why),
        };
        if target.is_empty() {
            return Err(Refusal::NoTarget);
        }
        let path = EntryPath::check(target, self.limits.depth).map_err(bad)?;
        match path.bad_whiteout() {
            Some(why) => Err(bad(why)),
            None if path.is_whiteout() => Err(bad(Refusal::Whiteout)),
            None => Ok(path),
        }
    }

    fn skip_content(&mut self) -> Result<(), UnpackError> {
        let rest = self.left + self.padding;
        let mut content = self.source.by_ref().take(rest);
        let skipped = io::copy(&mut content, &mut io::sink()).map_err(from_io)?;
        if skipped < rest {
            return Err(self.refused(Refusal::Truncated));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Behind the first block of zeros, only zeros: whatever else came there would be
    /// read by some programs and not by others.
    fn check_end(&mut self) -> Result<(), UnpackError> {
        let mut buffer = [0; 4096];
        loop {
            let count = match self.source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(from_io(error)),
            };
            let read = buffer.get(..count).unwrap_or_default();
            if read.iter().any(|byte| *byte != 0) {
                return Err(self.behind(Refusal::TrailingGarbage));
            }
        }
    }
}

/// The content of the current entry.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.by_ref().take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other(self.refused(Refusal::Truncated)));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// GNU's long names end with a NUL, and hold no other.
fn long(content: &[u8]) -> Result<Vec<u8>, Refusal> {
    let name = content.strip_suffix(&[0]).unwrap_or(content);
    if name.contains(&0) {
        return Err(Refusal::Nul);
    }
    Ok(name.to_vec())
}

fn link(target: &[u8]) -> Result<Vec<u8>, Refusal> {
    match target {
        b"" => Err(Refusal::NoTarget),
        target if target.contains(&0) => Err(Refusal::Nul),
        target if target.len() > Limits::PATH => Err(Refusal::LongName(Limits::PATH)),
        target => Ok(target.to_vec()),
    }
}

fn once<T>(place: &mut Option<T>, value: T, what: &'static str) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Twice(what)),
    }
}

/// GNU's way and POSIX's way for one thing: of both, readers take either.
fn one<T>(gnu: Option<T>, posix: Option<T>, what: &'static str) -> Result<Option<T>, Refusal> {
    match (gnu, posix) {
        (Some(_), Some(_)) => Err(Refusal::Twice(what)),
        (gnu, posix) => Ok(gnu.or(posix)),
    }
}

/// An extended header's size replaces the header's, which must say the same, unless it cannot.
/// Readers that take the header's would find other entries (CVE-2025-62518).
fn size(header: u64, pax: Option<u64>) -> Result<u64, Refusal> {
    match pax {
        None => Ok(header),
        Some(size) if size == header || size > OCTAL_SIZE => Ok(size),
        Some(_) => Err(Refusal::Twice("size")),
    }
}
