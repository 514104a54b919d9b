//! Removing what has not been used for long, and what nothing leads to.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use lakekeep_content::{Algorithm, Digest, Kind, Removed, Stored};

use crate::error::ImageError;
use crate::library::{Image, Library, Listed};
use crate::rootfs;

/// What is kept. Images in use always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Images that were used within this time; `None`: all that have a name.
    pub used_within: Option<Duration>,
    /// Bytes of files and layers together; of more, the images that were used longest ago go.
    pub bytes: Option<u64>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Names of images.
    pub images: Vec<String>,
    /// Names that would have gone, and are in use.
    pub in_use: Vec<String>,
    /// Files and trees.
    pub removed: usize,
    /// Bytes of them. Trees of images are links to their layers' files, and count nothing.
    pub bytes: u64,
}

/// Digests that lead somewhere.
#[derive(Default)]
struct Reached {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    roots: BTreeSet<Digest>,
}

impl Library {
    /// Removes images, and what nothing leads to any more. Only what is addressed by SHA-256 is an
    /// image's; other content of the store is left alone.
    ///
    /// # Errors
    /// [`lakekeep_content::ContentError::Busy`] while an image is being loaded, or what the kernel says.
    pub fn collect(&self, keep: Keep, now: SystemTime) -> Result<Collected, ImageError> {
        let _alone = self.store.collect()?;
        let mut collected = Collected::default();
        let mut images = self.list()?;
        // Those that were used longest ago come first.
        images.sort_by_key(|image| image.used);
        let mut kept = Vec::new();
        for image in images {
            let unused = now.duration_since(image.used).unwrap_or_default();
            if keep.used_within.is_some_and(|most| unused > most) {
                self.forget(image, &mut kept, &mut collected)?;
            } else {
                kept.push(image);
            }
        }
        if let Some(most) = keep.bytes {
            self.shrink(most, kept, &mut collected)?;
        }
        self.sweep(&mut collected)?;
        let (count, bytes) = self.store.discard_partial()?;
        collected.removed += count;
        collected.bytes += bytes;
        Ok(collected)
    }

    /// Forgets images, the longest unused first, until the rest fits.
    fn shrink(
        &self,
        most: u64,
        kept: Vec<Listed>,
        collected: &mut Collected,
    ) -> Result<(), ImageError> {
        let mut stay = Vec::new();
        for image in kept {
            if self.size()? <= most {
                break;
            }
            self.forget(image, &mut stay, collected)?;
        }
        Ok(())
    }

    /// Takes a name away, unless a sandbox runs on the image.
    fn forget(
        &self,
        image: Listed,
        kept: &mut Vec<Listed>,
        collected: &mut Collected,
    ) -> Result<(), ImageError> {
        match self.remove(&image.name) {
            Ok(name) => collected.images.push(name),
            Err(ImageError::InUse { name }) => {
                collected.in_use.push(name);
                kept.push(image);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Bytes that are reached from names.
    fn size(&self) -> Result<u64, ImageError> {
        let reached = self.reached()?;
        let mut bytes = 0;
        for (kind, digests) in [
            (Kind::Blob, &reached.blobs),
            (Kind::Folder, &reached.layers),
        ] {
            for digest in digests {
                bytes += self
                    .store
                    .stored(kind, *digest)?
                    .map_or(0, |stored| stored.bytes);
            }
        }
        Ok(bytes)
    }

    fn sweep(&self, collected: &mut Collected) -> Result<(), ImageError> {
        let reached = self.reached()?;
        // Trees before the layers whose files they link to, documents last: what is left
        // after a crash is still found to be nobody's.
        for kind in [Kind::Folder, Kind::Blob] {
            for stored in self.store.list(kind)? {
                let wanted = match kind {
                    Kind::Blob => reached.blobs.contains(&stored.digest),
                    Kind::Folder => {
                        reached.roots.contains(&stored.digest)
                            || reached.layers.contains(&stored.digest)
                    }
                };
                if stored.digest.algorithm() == Algorithm::Sha256 && !wanted {
                    self.drop_stored(&stored, collected)?;
                }
            }
        }
        Ok(())
    }

    fn drop_stored(&self, stored: &Stored, collected: &mut Collected) -> Result<(), ImageError> {
        if self.store.remove(stored.kind, &stored.digest)? == Removed::Removed {
            collected.removed += 1;
            collected.bytes += stored.bytes;
        }
        Ok(())
    }

    fn reached(&self) -> Result<Reached, ImageError> {
        let mut reached = Reached::default();
        for name in self.store.names(self.images)? {
            reached.blobs.insert(name.digest);
            // Of one that cannot be read, what it leads to is not known: fsck tells.
            if let Ok(image) = self.read(None, &name.digest) {
                reached.take(&image);
            }
        }
        Ok(reached)
    }
}

impl Reached {
    fn take(&mut self, image: &Image) {
        self.blobs.insert(image.manifest.config.digest);
        self.blobs
            .extend(image.manifest.layers.iter().map(|layer| layer.digest));
        self.layers.extend(&image.config.diff_ids);
        self.roots.insert(rootfs::key(&image.config));
    }
}
