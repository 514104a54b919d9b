//! Which contents of an environment its sender must send.
//!
//! A store that answered "I have that already" would tell anyone who can name a digest
//! whether somebody else uses that file, and would hand it over to who has only its name.
//! So what must be sent depends on nothing but what the same trust domain has sent before:
//! [`Holdings`] are one domain's, and a content enters them by being sent whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::manifest::Manifest;

/// The contents that one trust domain has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    sent: BTreeSet<Digest>,
}

/// What is still to be sent, by digest, each once, with its length in bytes. What was sent is
/// struck from it; nothing that was not asked for is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    wanted: BTreeMap<Digest, u64>,
}

/// A content that was sent is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// Nobody asked for it, or it has come already.
    #[error("content {digest} was not asked for; send what the challenge lists, each once")]
    NotAsked {
        /// Its digest.
        digest: Digest,
    },
    /// It has another length than the manifest says.
    #[error("content {digest} has {found} bytes, and the manifest says {wanted}; capture again")]
    Length {
        /// Its digest.
        digest: Digest,
        /// Its length.
        found: u64,
        /// The manifest's.
        wanted: u64,
    },
}

/// What a domain holds already: the contents of the environments that it has sent.
impl FromIterator<Digest> for Holdings {
    fn from_iter<I: IntoIterator<Item = Digest>>(held: I) -> Holdings {
        Holdings {
            sent: held.into_iter().collect(),
        }
    }
}

impl Holdings {
    /// What this domain must send so that the environment is whole.
    pub fn challenge(&self, manifest: &Manifest) -> Challenge {
        let missing = manifest
            .contents()
            .filter(|file| !self.sent.contains(&file.digest));
        Challenge {
            wanted: missing.map(|file| (file.digest, file.size)).collect(),
        }
    }

    /// Whether the domain has sent all of it: only then may it be given the environment, even
    /// if the store has every file from others.
    pub fn suffice(&self, manifest: &Manifest) -> bool {
        manifest
            .contents()
            .all(|file| self.sent.contains(&file.digest))
    }

    /// Takes a content that was received whole. `digest` and `length` are the receiver's own
    /// count, never the sender's words.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing has changed then.
    pub fn take(
        &mut self,
        challenge: &mut Challenge,
        digest: Digest,
        length: u64,
    ) -> Result<(), NotTaken> {
        let Some(&wanted) = challenge.wanted.get(&digest) else {
            return Err(NotTaken::NotAsked { digest });
        };
        if wanted != length {
            return Err(NotTaken::Length {
                digest,
                found: length,
                wanted,
            });
        }
        challenge.wanted.remove(&digest);
        self.sent.insert(digest);
        Ok(())
    }
}

impl Challenge {
    /// What is still to come, sorted by digest, with lengths.
    pub fn wanted(&self) -> impl Iterator<Item = (&Digest, u64)> {
        self.wanted.iter().map(|(digest, length)| (digest, *length))
    }

    /// Nothing is to come any more.
    pub fn is_met(&self) -> bool {
        self.wanted.is_empty()
    }
}
