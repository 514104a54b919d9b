//! What is in use stays: locks that end with their process.

use std::os::fd::OwnedFd;

use rustix::fs::FlockOperation;

use crate::beneath;
use crate::digest::Digest;
use crate::error::{ContentError, Named};
use crate::listing::{Kind, Removed};
use crate::store::Store;
use crate::tree;

/// While this is alive, what it pins is not removed, by no process. It is a shared flock(2), so
/// the kernel ends it when its process ends, however that happens.
#[derive(Debug)]
#[must_use]
pub struct Pin {
    pub(crate) file: OwnedFd,
    kind: Kind,
    digest: Digest,
}

impl Pin {
    /// What kind of thing is pinned.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is pinned.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Store {
    /// Pins a file or a folder; it counts as used now.
    ///
    /// # Errors
    /// [`ContentError::Absent`], also when it is being removed at the moment.
    pub fn pin(&self, kind: Kind, digest: &Digest) -> Result<Pin, ContentError> {
        let pin = self.pin_unused(kind, digest)?;
        beneath::touch(&pin.file).named("touch", &digest.to_string())?;
        Ok(pin)
    }

    /// The same, but to look at it is no use of it.
    pub(crate) fn pin_unused(&self, kind: Kind, digest: &Digest) -> Result<Pin, ContentError> {
        let object = digest.to_string();
        let file = self.open_stored(kind, digest)?;
        let locked = beneath::try_lock(&file, FlockOperation::NonBlockingLockShared)
            .named("lock", &object)?;
        // Whoever removes holds the lock until the name is gone.
        let place = self.place(kind, digest.algorithm());
        if !locked || !beneath::is_still(place, &digest.hex(), &file).named("examine", &object)? {
            return Err(ContentError::Absent { digest: *digest });
        }
        Ok(Pin {
            file,
            kind,
            digest: *digest,
        })
    }

    /// Whether something is pinned at the moment. What is not there is not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_pinned(&self, kind: Kind, digest: &Digest) -> Result<bool, ContentError> {
        match self.open_stored(kind, digest) {
            Err(ContentError::Absent { .. }) => Ok(false),
            // The lock ends with the descriptor, at once.
            opened => beneath::try_lock(opened?, FlockOperation::NonBlockingLockExclusive)
                .map(|free| !free)
                .named("lock", &digest.to_string()),
        }
    }

    /// Removes a file or a folder, unless it is pinned.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, kind: Kind, digest: &Digest) -> Result<Removed, ContentError> {
        let object = digest.to_string();
        let file = match self.open_stored(kind, digest) {
            Err(ContentError::Absent { .. }) => return Ok(Removed::Absent),
            opened => opened?,
        };
        let free = beneath::try_lock(&file, FlockOperation::NonBlockingLockExclusive);
        if !free.named("lock", &object)? {
            return Ok(Removed::InUse);
        }
        let place = self.place(kind, digest.algorithm());
        if !beneath::is_still(place, &digest.hex(), &file).named("examine", &object)? {
            return Ok(Removed::Absent);
        }
        match kind {
            Kind::Blob => tree::remove(place, digest.hex())?,
            Kind::Folder => self.remove_folder(digest)?,
        }
        Ok(Removed::Removed)
    }

    /// First out of sight, in one step: half a folder must not be found under its digest.
    fn remove_folder(&self, digest: &Digest) -> Result<(), ContentError> {
        let place = self.place(Kind::Folder, digest.algorithm());
        let name = crate::draft::random_name().named("draw a name for", "drafts")?;
        rustix::fs::renameat(place, digest.hex(), &self.drafts, name.as_str())
            .named("rename", &digest.to_string())?;
        rustix::fs::fsync(place).named("sync the folder of", &digest.to_string())?;
        tree::remove(&self.drafts, name)
    }

    fn open_stored(&self, kind: Kind, digest: &Digest) -> Result<OwnedFd, ContentError> {
        match kind {
            Kind::Blob => self.blob_file(digest),
            Kind::Folder => self.folder_file(digest),
        }
    }
}
