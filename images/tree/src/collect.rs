//! Removing environments that were not used for long.

use std::collections::HashMap;

use lakekeep_content::{ContentError, Kind, Removed, Store};
use lakekeep_environment::{Digest, FileNode};

use crate::error::TreeError;
use crate::stored::{self, Environment};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Those that are gone.
    pub removed: Vec<Digest>,
    /// Those that would have gone, and are in use.
    pub in_use: Vec<Digest>,
    /// Bytes that the rest holds, each content counted once.
    pub bytes: u64,
}

/// Removes environments, the longest unused first, until the rest holds at most `keep` bytes. One
/// that is in use stays.
///
/// # Errors
/// [`ContentError::Busy`] while somebody adds; what the kernel says.
pub fn collect(store: &Store, keep: u64) -> Result<Collected, TreeError> {
    let _alone = store.collect()?;
    let mut collected = Collected::default();
    let mut known = stored::list(store)?;
    // The last used first: they stay.
    known.sort_by(|(_, a), (_, b)| b.cmp(a));
    let mut kept = HashMap::new();
    for (digest, _) in known {
        match sizes(store, &digest) {
            Ok(contents) if fits(&mut kept, &contents, keep) => {}
            // One that cannot be read helps nobody.
            Ok(_) | Err(TreeError::Damaged { .. } | TreeError::Manifest(_)) => {
                drop_one(store, digest, &mut collected)?;
            }
            Err(TreeError::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    collected.bytes = kept.values().sum();
    Ok(collected)
}

fn drop_one(store: &Store, digest: Digest, collected: &mut Collected) -> Result<(), TreeError> {
    match store.remove(Kind::Folder, &stored::key(&digest)?) {
        Ok(Removed::Removed) => collected.removed.push(digest),
        Ok(Removed::InUse) => collected.in_use.push(digest),
        Ok(Removed::Absent) | Err(ContentError::Absent { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Contents and lengths, without a pin that would stay.
fn sizes(store: &Store, digest: &Digest) -> Result<HashMap<Digest, u64>, TreeError> {
    let environment: Environment = stored::look(store, digest)?;
    let contents = environment.manifest().contents();
    Ok(contents.map(|file| (file.digest, file.size)).collect())
}

/// Adds what is not there yet, unless it would be too much.
fn fits(kept: &mut HashMap<Digest, u64>, more: &HashMap<Digest, u64>, keep: u64) -> bool {
    let new = more.iter().filter(|(digest, _)| !kept.contains_key(digest));
    let new: u64 = new.map(|(_, size)| size).sum();
    let now: u64 = kept.values().sum();
    let fits = now.saturating_add(new) <= keep;
    if fits {
        kept.extend(more);
    }
    fits
}

/// Bytes of contents, each counted once; of two lengths, the larger: a manifest may lie.
pub(crate) fn bytes<'a>(contents: impl Iterator<Item = &'a FileNode>) -> u64 {
    let mut by_digest: HashMap<Digest, u64> = HashMap::new();
    for file in contents {
        let size = by_digest.entry(file.digest).or_default();
        *size = file.size.max(*size);
    }
    let sizes = by_digest.values();
    sizes.fold(0, |sum, size| sum.saturating_add(*size))
}
