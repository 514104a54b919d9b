//! Files under the digest of their content.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::beneath;
use crate::digest::{Algorithm, Digest, Hasher, Hashing};
use crate::draft::Draft;
use crate::error::{ContentError, Named};
use crate::listing::Kind;
use crate::store::Store;

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// What is known about content before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It must have this digest.
    Digest(Digest),
    /// Nothing; it gets a digest of this algorithm.
    Any(Algorithm),
}

impl Expected {
    fn algorithm(self) -> Algorithm {
        match self {
            Expected::Digest(digest) => digest.algorithm(),
            Expected::Any(algorithm) => algorithm,
        }
    }
}

/// A stored file that is proven while it is read: the read that meets its end fails with
/// [`io::ErrorKind::InvalidData`] if it is not what its digest says. **Nothing that was read may be
/// believed before that end.**
#[derive(Debug)]
pub struct Blob {
    file: File,
    digest: Digest,
    bytes: u64,
    hasher: Option<Hasher>,
}

impl Blob {
    /// What it is.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads it through, and gives the file, at its beginning, if it is what its digest says.
    /// Nobody but the store's owner could change it afterwards.
    ///
    /// # Errors
    /// [`ContentError::Damaged`], or what the kernel says.
    pub fn verified(mut self) -> Result<File, ContentError> {
        let digest = self.digest;
        match io::copy(&mut self, &mut io::sink()) {
            Ok(_) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        let object = digest.to_string();
        self.file
            .rewind()
            .map_err(|error| kernel(&error))
            .named("rewind", &object)?;
        Ok(self.file)
    }

    fn failed(&self, error: &io::Error) -> ContentError {
        match error.kind() {
            io::ErrorKind::InvalidData => ContentError::Damaged {
                digest: self.digest,
            },
            _ => ContentError::Kernel {
                operation: "read",
                object: self.digest.to_string(),
                errno: kernel(error),
            },
        }
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let Some(hasher) = &mut self.hasher else {
            return Ok(count);
        };
        hasher.update(buffer.get(..count).unwrap_or_default());
        if count == 0
            && !buffer.is_empty()
            && self
                .hasher
                .take()
                .is_some_and(|hasher| hasher.finish() != self.digest)
        {
            let damaged = ContentError::Damaged {
                digest: self.digest,
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
        }
        Ok(count)
    }
}

impl Store {
    /// Stores what `content` gives, durably, and answers with its digest. What is there already
    /// stays, and counts as used now.
    ///
    /// # Errors
    /// [`ContentError::Mismatch`] if it is not what was expected, [`ContentError::TooLarge`] if it
    /// is longer than `most` bytes, [`ContentError::Source`] if it cannot be read. Nothing is stored then.
    pub fn put(
        &self,
        content: &mut dyn Read,
        expected: Expected,
        most: u64,
    ) -> Result<Digest, ContentError> {
        let draft = Draft::file(&self.drafts)?;
        let digest = write(&draft, content, expected.algorithm(), most)?;
        if let Expected::Digest(wanted) = expected
            && wanted != digest
        {
            return Err(ContentError::Mismatch {
                wanted,
                found: digest,
            });
        }
        rustix::fs::fsync(draft.as_file()).named("sync", &digest.to_string())?;
        self.file_away(draft, &digest)?;
        Ok(digest)
    }

    /// Stores bytes that are at hand.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_bytes(&self, content: &[u8], algorithm: Algorithm) -> Result<Digest, ContentError> {
        let digest = Digest::of(algorithm, content);
        let most = content.len() as u64;
        self.put(&mut &*content, Expected::Digest(digest), most)
    }

    /// Opens a stored file; it counts as used now.
    ///
    /// # Errors
    /// [`ContentError::Absent`], or what the kernel says.
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob, ContentError> {
        let blob = self.open_unused(digest)?;
        beneath::touch(&blob.file).named("touch", &digest.to_string())?;
        Ok(blob)
    }

    /// The same, but to look at it is no use of it.
    pub(crate) fn open_unused(&self, digest: &Digest) -> Result<Blob, ContentError> {
        let file = self.blob_file(digest)?;
        let stat = rustix::fs::fstat(&file).named("examine", &digest.to_string())?;
        Ok(Blob {
            file: file.into(),
            digest: *digest,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            hasher: Some(Hasher::new(digest.algorithm())),
        })
    }

    /// Reads a stored file whole; what it returns is proven.
    ///
    /// # Errors
    /// [`ContentError::Absent`], [`ContentError::TooLarge`] if it is longer than `most` bytes,
    /// [`ContentError::Damaged`].
    pub fn read_blob(&self, digest: &Digest, most: u64) -> Result<Vec<u8>, ContentError> {
        let mut blob = self.open_blob(digest)?;
        if blob.bytes > most {
            return Err(ContentError::TooLarge { most });
        }
        let mut content = Vec::new();
        match blob.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(blob.failed(&error)),
        }
    }

    /// Whether there is such a file. Says nothing about its content.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn contains_blob(&self, digest: &Digest) -> Result<bool, ContentError> {
        match self.blob_file(digest) {
            Ok(_) => Ok(true),
            Err(ContentError::Absent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn blob_file(&self, digest: &Digest) -> Result<OwnedFd, ContentError> {
        let place = self.place(Kind::Blob, digest.algorithm());
        // NONBLOCK: a pipe that somebody put there must not hold us up.
        match beneath::open(place, digest.hex(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::NOENT) => Err(ContentError::Absent { digest: *digest }),
            opened => opened.named("open", &digest.to_string()),
        }
    }

    /// Renames a synced draft. What is there stays, unless it has another length, which no
    /// content of this digest has.
    pub(crate) fn file_away(&self, draft: Draft, digest: &Digest) -> Result<(), ContentError> {
        let place = self.place(Kind::Blob, digest.algorithm());
        let object = digest.to_string();
        let ours = rustix::fs::fstat(draft.as_file()).named("examine", &object)?;
        match self.blob_file(digest) {
            Ok(there) => {
                let found = rustix::fs::fstat(&there).named("examine", &object)?;
                if found.st_size != ours.st_size {
                    return draft.replace(place, &digest.hex());
                }
                beneath::touch(&there).named("touch", &object)
            }
            Err(ContentError::Absent { .. }) => draft.place(place, &digest.hex()).map(|_| ()),
            Err(error) => Err(error),
        }
    }
}

/// Copies at most `most` bytes into the draft.
fn write(
    draft: &Draft,
    content: &mut dyn Read,
    algorithm: Algorithm,
    most: u64,
) -> Result<Digest, ContentError> {
    let mut file = beneath::copy(draft.as_file()).named("copy", "drafts")?;
    let mut content = Hashing::new(content, algorithm);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => return Ok(content.finish().0),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ContentError::Source(error)),
        };
        if content.count() > most {
            return Err(ContentError::TooLarge { most });
        }
        let piece = buffer.get(..count).unwrap_or_default();
        file.write_all(piece)
            .map_err(|error| kernel(&error))
            .named("write", "drafts")?;
    }
}

/// Errors of std's file operations carry the kernel's number.
pub(crate) fn kernel(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
