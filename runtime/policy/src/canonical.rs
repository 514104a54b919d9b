//! The encoding that digests are made over.
//!
//! Every item is its length (8 bytes, little-endian) and its bytes, and every
//! collection is preceded by its count, so that no two different values have
//! one encoding: `("ab", "c")` and `("a", "bc")` differ.

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

    /// Absence is an empty item, which no number's encoding is.
    pub(crate) fn maybe_number(&mut self, number: Option<u64>) -> &mut Canonical {
        match number {
            Some(number) => self.number(number),
            None => self.bytes(&[]),
        }
    }

    /// The digest in lower-case hexadecimal.
    pub(crate) fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(items: &[&str]) -> String {
        let mut encoder = Canonical::new("test");
        for item in items {
            encoder.text(item);
        }
        encoder.finish()
    }

    #[test]
    fn boundaries_between_items_count() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
    }

    #[test]
    fn absence_is_not_zero() {
        let with = Canonical::new("test").maybe_number(Some(0)).finish();
        let without = Canonical::new("test").maybe_number(None).finish();
        assert_ne!(with, without);
    }
}
