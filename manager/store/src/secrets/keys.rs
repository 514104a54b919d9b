//! The manager's key for secrets, and its replacement.
//!
//! | file | when |
//! |---|---|
//! | `KEY` | always: the key of all secrets, or during a rotation of those not yet done |
//! | `KEY.new` | during a rotation: the key of those that are done |
//!
//! A rotation writes `KEY.new`, then encrypts all secrets anew in one
//! transaction, then renames `KEY.new` to `KEY`. Whatever a crash leaves, the
//! secrets are all of one key, and that key is in one of the two files.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use zeroize::Zeroizing;

use super::error::SecretError;
use crate::files::{self, Named};

/// Longest key file in bytes, comments included.
const LONGEST_FILE: usize = 4096;

/// A key with its public part.
#[derive(Clone)]
pub(super) struct Key {
    identity: Identity,
    recipient: String,
}

/// Why a ciphertext does not open.
pub(super) enum Closed {
    WrongKey,
    Damaged,
}

impl Key {
    fn of(identity: Identity) -> Key {
        Key {
            recipient: identity.to_public().to_string(),
            identity,
        }
    }

    pub(super) fn generate() -> Key {
        Key::of(Identity::generate())
    }

    /// The public part, which names the key.
    pub(super) fn recipient(&self) -> &str {
        &self.recipient
    }

    pub(super) fn read(path: &Path) -> Result<Option<Key>, SecretError> {
        let Some(content) = files::read_private(path, LONGEST_FILE)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let malformed = || SecretError::MalformedKey {
            path: path.to_owned(),
        };
        let text = std::str::from_utf8(&content).map_err(|_| malformed())?;
        let mut lines = text.lines().map(str::trim);
        let mut keys = lines
            .by_ref()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (keys.next(), keys.next()) else {
            return Err(malformed());
        };
        let identity = Identity::from_str(line).map_err(|_| malformed())?;
        Ok(Some(Key::of(identity)))
    }

    /// Writes the key to a file that must not exist, as age-keygen does.
    pub(super) fn write(&self, path: &Path) -> Result<(), SecretError> {
        let secret = self.identity.to_string();
        let content = Zeroizing::new(format!(
            "# public key: {}\n{}\n",
            self.recipient,
            secret.expose_secret()
        ));
        Ok(files::create_private(path, content.as_bytes())?)
    }

    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, SecretError> {
        age::encrypt(&self.identity.to_public(), plaintext)
            .map_err(|error| SecretError::Encrypt { error })
    }

    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let damaged = |_| Closed::Damaged;
        let decryptor = age::Decryptor::new_buffered(ciphertext).map_err(damaged)?;
        let opened = decryptor.decrypt(std::iter::once(&self.identity as &dyn age::Identity));
        let mut reader = opened.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => Closed::WrongKey,
            _ => Closed::Damaged,
        })?;
        // No plaintext is longer than its ciphertext: the buffer never grows, and
        // leaves no copy behind.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(ciphertext.len()));
        reader
            .read_to_end(&mut plaintext)
            .map_err(|_| Closed::Damaged)?;
        Ok(plaintext)
    }
}

/// Where the next key is during a rotation.
pub(super) fn next_path(path: &Path) -> PathBuf {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    PathBuf::from(next)
}

/// Makes the next key the key.
pub(super) fn promote(path: &Path) -> Result<(), SecretError> {
    std::fs::rename(next_path(path), path).named("replace", path)?;
    Ok(files::sync_folder(files::parent(path))?)
}

/// Removes a next key that encrypts nothing.
pub(super) fn discard_next(path: &Path) -> Result<(), SecretError> {
    let next = next_path(path);
    std::fs::remove_file(&next).named("remove", &next)?;
    Ok(files::sync_folder(files::parent(path))?)
}
