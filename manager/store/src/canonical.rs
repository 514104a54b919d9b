//! The encoding that digests are made over.
//!
//! Every item is its length (8 bytes, little-endian) and its bytes, so that no
//! two different sequences have one encoding: `("ab", "c")` and `("a", "bc")`
//! differ. The policy crate encodes in the same way.

use crate::digest::Digest;

/// Hashes a sequence of length-prefixed items.
pub(crate) struct Canonical(blake3::Hasher);

impl Canonical {
    /// `domain` separates the digests of different kinds of value.
    pub(crate) fn new(domain: &str) -> Canonical {
        let mut encoder = Canonical(blake3::Hasher::new());
        encoder.bytes(domain.as_bytes());
        encoder
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Canonical {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Canonical {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Canonical {
        self.bytes(&number.to_le_bytes())
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}
