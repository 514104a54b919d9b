//! What is stored.

use std::time::{Duration, SystemTime};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::beneath;
use crate::digest::{Algorithm, Digest};
use crate::error::{ContentError, Named};
use crate::store::Store;

/// What a digest can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file.
    Blob,
    /// A tree.
    Folder,
}

impl Kind {
    /// Where these are, below the store's folder.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Kind::Blob => "blobs",
            Kind::Folder => "folders",
        }
    }
}

/// One stored thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub kind: Kind,
    /// Under which digest.
    pub digest: Digest,
    /// Bytes of its content: a file's length, a tree's files together. Files that trees share
    /// by hard links are counted in each.
    pub bytes: u64,
    /// When it was last stored, opened or pinned; to the second.
    pub used: SystemTime,
}

/// What became of something that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It is pinned, and stays.
    InUse,
}

impl Store {
    /// Everything of one kind, sorted by digest. What has no digest's name is left to
    /// [`Store::fsck`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self, kind: Kind) -> Result<Vec<Stored>, ContentError> {
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL {
            let place = self.place(kind, algorithm);
            for name in beneath::names(place).named("list", kind.folder())? {
                let name = name.to_string_lossy();
                let Ok(digest) = Digest::from_hex(algorithm, &name) else {
                    continue;
                };
                found.extend(self.stored(kind, digest)?);
            }
        }
        Ok(found)
    }

    /// When something was last used, and how large it is; `None`: it is not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stored(&self, kind: Kind, digest: Digest) -> Result<Option<Stored>, ContentError> {
        let place = self.place(kind, digest.algorithm());
        let stat = match rustix::fs::statat(place, digest.hex(), AtFlags::SYMLINK_NOFOLLOW) {
            // Removed meanwhile.
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.named("examine", &digest.to_string())?,
        };
        let bytes = match kind {
            Kind::Blob => u64::try_from(stat.st_size).unwrap_or(0),
            Kind::Folder => match self.seal(&digest) {
                Ok(seal) => seal.bytes,
                Err(ContentError::Absent { .. } | ContentError::Damaged { .. }) => 0,
                Err(error) => return Err(error),
            },
        };
        Ok(Some(Stored {
            kind,
            digest,
            bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(beneath::touched(&stat)),
        }))
    }
}
