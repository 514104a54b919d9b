//! Files that come in pieces, over several processes' lives if need be.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::blob::kernel;
use crate::digest::{Digest, Hasher};
use crate::draft::Draft;
use crate::error::{ContentError, Named};
use crate::store::Store;

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// The beginning of a file whose digest and length are known. Unlike a draft it stays when its process
/// ends, however that happens, and the next one goes on where it was left. Nothing but
/// [`Partial::finish`] makes it content, and that proves all of it.
#[derive(Debug)]
pub struct Partial<'store> {
    store: &'store Store,
    digest: Digest,
    size: u64,
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Store {
    /// Opens the beginning of `digest`, which has `size` bytes; an empty one if there is none. `None`: the
    /// file is stored already. Waits for another process that fetches the same.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&self, digest: &Digest, size: u64) -> Result<Option<Partial<'_>>, ContentError> {
        let (name, object) = (name(digest), digest.to_string());
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
            let mode = Mode::RUSR | Mode::WUSR;
            let file = match beneath::create(&self.partial, name.as_str(), flags, mode) {
                // Finished by another at this very moment: a stored file has mode 0400.
                Err(Errno::ACCESS) if self.contains_blob(digest)? => return Ok(None),
                // Its process was killed between making it like that and filing it away.
                Err(Errno::ACCESS) => {
                    make_writable(self, &name).named("open the beginning of", &object)?;
                    continue;
                }
                opened => opened.named("open the beginning of", &object)?,
            };
            // Waiting may be interrupted by a signal (flock(2), EINTR).
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                .named("lock the beginning of", &object)?;
            let still = beneath::is_still(&self.partial, &name, &file)
                .named("examine the beginning of", &object)?;
            if self.contains_blob(digest)? {
                if still {
                    remove(self, &name).named("remove the beginning of", &object)?;
                }
                return Ok(None);
            }
            if still {
                return Partial::open(self, *digest, size, file.into()).map(Some);
            }
        }
    }

    /// Removes the beginnings of files that nobody fetches at the moment; how many, and their bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn discard_partial(&self) -> Result<(usize, u64), ContentError> {
        let (mut count, mut bytes) = (0, 0);
        for name in beneath::names(&self.partial).named("list", PARTIAL)? {
            let shown = name.to_string_lossy().into_owned();
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            if let Ok(file) = beneath::open(&self.partial, &name, flags) {
                let free = beneath::try_lock(&file, FlockOperation::NonBlockingLockExclusive);
                if !free.named("lock", &shown)? {
                    continue;
                }
                let stat = rustix::fs::fstat(&file).named("examine", &shown)?;
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
            remove(self, &shown).named("remove", &shown)?;
            count += 1;
        }
        Ok((count, bytes))
    }
}

/// The folder of beginnings, in the store's.
pub(crate) const PARTIAL: &str = "partial";

fn name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// Fails where it is not the caller's, so that nobody tries for ever.
fn make_writable(store: &Store, name: &str) -> Result<(), Errno> {
    match beneath::open(&store.partial, name, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR),
        // Filed away meanwhile.
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn remove(store: &Store, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&store.partial, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl<'store> Partial<'store> {
    /// What is there is read once: its digest is made of all of the file, not of what came last.
    fn open(
        store: &'store Store,
        digest: Digest,
        size: u64,
        file: File,
    ) -> Result<Partial<'store>, ContentError> {
        let mut partial = Partial {
            store,
            digest,
            size,
            file,
            hasher: Hasher::new(digest.algorithm()),
            bytes: 0,
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match partial.file.read(&mut buffer) {
                Ok(0) => return Ok(partial),
                Ok(count) => {
                    let piece = buffer.get(..count).unwrap_or_default();
                    partial.hasher.update(piece);
                    partial.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(partial.failed("read the beginning of", &error)),
            }
            if partial.bytes > size {
                partial.restart()?;
                return Ok(partial);
            }
        }
    }

    /// Bytes that are there.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all bytes are there. They are not proven yet.
    pub fn is_complete(&self) -> bool {
        self.bytes == self.size
    }

    /// Adds what comes next.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] if that is longer than the file should be, or what the kernel says. What
    /// was there before stays.
    pub fn append(&mut self, piece: &[u8]) -> Result<(), ContentError> {
        let length = piece.len() as u64;
        if self.bytes.saturating_add(length) > self.size {
            return Err(ContentError::TooLarge { most: self.size });
        }
        let written = self.file.write_all(piece);
        written.map_err(|error| self.failed("write", &error))?;
        self.hasher.update(piece);
        self.bytes += length;
        Ok(())
    }

    /// Forgets all that is there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn restart(&mut self) -> Result<(), ContentError> {
        let emptied = self.file.set_len(0);
        emptied
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|error| self.failed("empty the beginning of", &error))?;
        self.hasher = Hasher::new(self.digest.algorithm());
        self.bytes = 0;
        Ok(())
    }

    /// Proves the whole file, makes it durable, and stores it under its digest. One that is not what its digest
    /// says is removed.
    ///
    /// # Errors
    /// [`ContentError::Mismatch`]; [`ContentError::Source`] if it is not complete, which it can still
    /// become; or what the kernel says.
    pub fn finish(self) -> Result<(), ContentError> {
        if !self.is_complete() {
            return Err(ContentError::Source(io::ErrorKind::UnexpectedEof.into()));
        }
        let object = self.digest.to_string();
        // From here on it is gone when something fails, as every draft.
        let file = self.file.into();
        let draft = Draft::adopted(&self.store.partial, name(&self.digest), file)?;
        let found = self.hasher.finish();
        if found != self.digest {
            return Err(ContentError::Mismatch {
                wanted: self.digest,
                found,
            });
        }
        rustix::fs::fchmod(draft.as_file(), Mode::RUSR).named("chmod", &object)?;
        rustix::fs::fsync(draft.as_file().as_fd()).named("sync", &object)?;
        self.store.file_away(draft, &self.digest)
    }

    fn failed(&self, operation: &'static str, error: &io::Error) -> ContentError {
        ContentError::Kernel {
            operation,
            object: self.digest.to_string(),
            errno: kernel(error),
        }
    }
}
