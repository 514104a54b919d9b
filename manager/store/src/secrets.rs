//! Secrets: in the database as ciphertexts, in memory only where one is used.
//!
//! Encrypted with age to the manager's own key. age has no associated data, so
//! the plaintext is an envelope that names scope, owner, name and version, and
//! is checked after decryption: a row whose ciphertext is another row's, or an
//! older one of its own, is refused.
//!
//! What this keeps secret: the database, its backups and its disk without the
//! key file. Not from whoever can read the manager's memory or its key.

mod envelope;
mod error;
mod keys;
mod plaintext;
mod vault;

pub use envelope::{Envelope, EnvelopeError, LONGEST_SECRET, parse_envelope};
pub use error::SecretError;
pub use plaintext::Plaintext;
pub use vault::{EffectiveSecret, Rotated, SecretName, SecretRow, Vault};
