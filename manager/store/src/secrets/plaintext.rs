//! A secret in memory.

use zeroize::Zeroizing;

/// The value of a secret: wiped when dropped, and without `Debug`, `Display`,
/// `Clone` and serde, so that it cannot get into a log by accident.
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Takes over a value. Copies that were made before are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Plaintext {
        Plaintext(Zeroizing::new(bytes))
    }

    /// The value. Write it where it is wanted, and keep no copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
