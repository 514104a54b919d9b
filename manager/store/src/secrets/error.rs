//! Why a secret cannot be had or kept.

use std::path::PathBuf;

use super::envelope::{EnvelopeError, LONGEST_SECRET};
use crate::files::FileError;
use crate::state::{NameError, Scope, StoreError};

/// A failure with secrets. Says nothing of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key's file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are secrets and no key.
    #[error(
        "{path} does not exist, and {secrets} secrets were encrypted with it; restore it from a backup, or remove those secrets and set them again"
    )]
    NoKey {
        /// The key's file.
        path: PathBuf,
        /// How many secrets there are.
        secrets: u64,
    },
    /// The file holds no key.
    #[error(
        "{path} is not a key: it must hold one line AGE-SECRET-KEY-1…; restore it from a backup"
    )]
    MalformedKey {
        /// The key's file.
        path: PathBuf,
    },
    /// A secret was encrypted to another key.
    #[error(
        "the {scope} secret {owner}/{name} was encrypted to {recipient}, and {path} holds another key; restore the key with that public part, or set the secret again"
    )]
    WrongKey {
        /// The secret's level.
        scope: Scope,
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
        /// The public part of the key that is wanted.
        recipient: String,
        /// The key's file.
        path: PathBuf,
    },
    /// The ciphertext was changed.
    #[error(
        "the {scope} secret {owner}/{name} was changed in the database; set it again, and ask who can write there"
    )]
    Damaged {
        /// The secret's level.
        scope: Scope,
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
    },
    /// The ciphertext is another secret's, or an older one.
    #[error(
        "the {scope} secret {owner}/{name} holds the ciphertext of another secret or version: rows were exchanged; set it again, and ask who can write there"
    )]
    Swapped {
        /// The secret's level.
        scope: Scope,
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
    },
    /// A decrypted envelope is none.
    #[error("the {scope} secret {owner}/{name} cannot be read; set it again")]
    Envelope {
        /// The secret's level.
        scope: Scope,
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        error: EnvelopeError,
    },
    /// There is no such secret.
    #[error("the {scope} secret {owner}/{name} does not exist")]
    Missing {
        /// The level.
        scope: Scope,
        /// The owner.
        owner: String,
        /// The name.
        name: String,
    },
    /// A value is too long.
    #[error(
        "a secret of {bytes} bytes is longer than {LONGEST_SECRET}; keep large ones in a volume"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Encryption failed.
    #[error("cannot encrypt a secret; this is a bug, please report it")]
    Encrypt {
        /// Why.
        #[source]
        error: age::EncryptError,
    },
}

impl From<NameError> for SecretError {
    fn from(error: NameError) -> SecretError {
        SecretError::Store(StoreError::Name(error))
    }
}
