//! The key without which no line and no head can be computed.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Digest;
use crate::files::{self, FileError};

/// Bytes of a key file: 64 hexadecimal digits and a line feed.
const FILE_BYTES: usize = 65;

/// A secret key of 32 bytes, wiped when dropped.
#[derive(Clone)]
pub struct AuditKey(Zeroizing<[u8; 32]>);

/// The key of the audit log cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds no key.
    #[error("{path} is not a key: it must be 64 hexadecimal digits; restore it from a backup")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error(
        "{path} does not exist, and the log was written with it; restore it from a backup, or move the log's folder away as evidence"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes for a key")]
    Random {
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

impl AuditKey {
    /// A key of these bytes, which should be random.
    pub fn from_bytes(bytes: [u8; 32]) -> AuditKey {
        AuditKey(Zeroizing::new(bytes))
    }

    /// Reads a key from its file.
    ///
    /// # Errors
    /// [`KeyError`]; the file must be private (mode 0600).
    pub fn read(path: &Path) -> Result<AuditKey, KeyError> {
        match AuditKey::find(path)? {
            Some(key) => Ok(key),
            None => Err(KeyError::Missing {
                path: path.to_owned(),
            }),
        }
    }

    /// Reads a key, or makes it at the first start.
    ///
    /// # Errors
    /// [`KeyError`] if it can be neither read nor made.
    pub fn read_or_make(path: &Path) -> Result<AuditKey, KeyError> {
        if let Some(key) = AuditKey::find(path)? {
            return Ok(key);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        files::random(&mut *bytes).map_err(|error| KeyError::Random { error })?;
        let text = Zeroizing::new(format!("{}\n", blake3::Hash::from_bytes(*bytes).to_hex()));
        files::create_private(path, text.as_bytes())?;
        Ok(AuditKey(bytes))
    }

    fn find(path: &Path) -> Result<Option<AuditKey>, KeyError> {
        let Some(content) = files::read_private(path, FILE_BYTES)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let malformed = || KeyError::Malformed {
            path: path.to_owned(),
        };
        let text = content.strip_suffix(b"\n").ok_or_else(malformed)?;
        let hash = blake3::Hash::from_hex(text).map_err(|_| malformed())?;
        Ok(Some(AuditKey::from_bytes(*hash.as_bytes())))
    }

    /// Names the key without giving it away.
    pub fn id(&self) -> Digest {
        self.hash(b"lakekeep audit key id v1")
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> Digest {
        Digest::from_bytes(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }
}

/// Shows nothing of the key.
impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        assert!(matches!(
            AuditKey::read(&path),
            Err(KeyError::Missing { .. })
        ));
        let made = AuditKey::read_or_make(&path).unwrap();
        assert_eq!(AuditKey::read_or_make(&path).unwrap().id(), made.id());
        assert_eq!(AuditKey::read(&path).unwrap().id(), made.id());
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        files::create_private(&path, b"hello\n").unwrap();
        let error = AuditKey::read_or_make(&path).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello\n");
    }
}
