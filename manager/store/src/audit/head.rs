//! The head: how far the chain went, and where it begins.
//!
//! Two records of 512 bytes in one file, written in turn: a crash in the middle
//! of one leaves the other. Each is a line of JSON, filled up with spaces.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key::AuditKey;
use super::line::printable;
use crate::Digest;
use crate::canonical::Canonical;
use crate::files::{self, FileError, Named};

/// Bytes of one record: a disk writes a sector of this size whole.
pub(super) const SLOT: usize = 512;
const DOMAIN: &str = "lakekeep audit head v1";
pub(super) const NAME: &str = "head";

/// How far the chain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the last event; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// Number of the first event that retention has kept.
    pub first: u64,
    /// How often the head was written; the larger of two is the newer.
    pub writes: u64,
}

impl Head {
    pub(super) const START: Head = Head {
        seq: 0,
        hash: Digest::ZERO,
        first: 1,
        writes: 0,
    };

    /// What only a holder of the key can compute; without a key, a checksum.
    fn seal(&self, key: Option<&AuditKey>) -> Digest {
        let digest = Canonical::new(DOMAIN)
            .number(self.seq)
            .bytes(self.hash.as_bytes())
            .number(self.first)
            .number(self.writes)
            .finish();
        key.map_or(digest, |key| key.hash(digest.as_bytes()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    head: Head,
    seal: Digest,
}

/// Why a record of the head is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not a record.
    #[error("not a record: {why}")]
    Syntax {
        /// What the parser says.
        why: String,
    },
    /// It was not written with this key, or was changed.
    #[error("its seal is not of this content and key")]
    Seal,
}

/// Reads one record of the head file, 512 bytes. Pure. `check_seal` is false for a reader
/// that has not the key of a log that has one.
///
/// # Errors
/// [`HeadError`] says what is wrong.
pub fn parse_head(
    slot: &[u8],
    key: Option<&AuditKey>,
    check_seal: bool,
) -> Result<Head, HeadError> {
    let syntax = |why: String| HeadError::Syntax { why };
    if slot.len() > SLOT {
        return Err(syntax(format!("longer than {SLOT} bytes")));
    }
    let wire: Wire = serde_json::from_slice(slot).map_err(|error| syntax(printable(&error)))?;
    if check_seal && wire.head.seal(key) != wire.seal {
        return Err(HeadError::Seal);
    }
    Ok(wire.head)
}

/// The newest of two records.
pub(super) fn newest(
    content: &[u8],
    key: Option<&AuditKey>,
    check_seal: bool,
) -> Result<Head, HeadError> {
    let mut refused = HeadError::Syntax {
        why: "the file is empty".to_owned(),
    };
    let mut found: Option<Head> = None;
    for slot in content.chunks(SLOT) {
        match parse_head(slot, key, check_seal) {
            Ok(head) if found.is_none_or(|other| other.writes < head.writes) => found = Some(head),
            Ok(_) => {}
            Err(error) => refused = error,
        }
    }
    found.ok_or(refused)
}

/// Reads the head of a folder. `None`: there is no such file.
pub(super) fn read(
    folder: &Path,
    key: Option<&AuditKey>,
    check_seal: bool,
) -> Result<Option<Result<Head, HeadError>>, FileError> {
    let content = files::read_private(&folder.join(NAME), 2 * SLOT)?;
    Ok(content.map(|content| newest(&content, key, check_seal)))
}

/// The open head of a log.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    file: File,
    head: Head,
    key: Option<AuditKey>,
}

impl HeadFile {
    /// Opens the head file to write after `head`, which was read from it.
    pub(super) fn open(
        folder: &Path,
        head: Head,
        key: Option<AuditKey>,
    ) -> Result<HeadFile, FileError> {
        let path = folder.join(NAME);
        let file = files::private()
            .write(true)
            .open(&path)
            .named("open", &path)?;
        Ok(HeadFile {
            path,
            file,
            head,
            key,
        })
    }

    /// Makes the head of an empty log.
    pub(super) fn make(folder: &Path, key: Option<AuditKey>) -> Result<HeadFile, FileError> {
        let path = folder.join(NAME);
        let mut content = slot(&Head::START, key.as_ref());
        content.extend_from_slice(&slot(&Head::START, key.as_ref()));
        files::create_private(&path, &content)?;
        HeadFile::open(folder, Head::START, key)
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Writes the record that is the older one. It reaches the disk when the
    /// kernel likes, or with [`HeadFile::sync`].
    pub(super) fn write(&mut self, seq: u64, hash: Digest, first: u64) -> Result<(), FileError> {
        let writes = self.head.writes + 1;
        let head = Head {
            seq,
            hash,
            first,
            writes,
        };
        let offset = (writes % 2) * SLOT as u64;
        let content = slot(&head, self.key.as_ref());
        self.file
            .write_all_at(&content, offset)
            .named("write", &self.path)?;
        self.head = head;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().named("sync", &self.path)
    }
}

fn slot(head: &Head, key: Option<&AuditKey>) -> Vec<u8> {
    let (hash, seal) = (head.hash, head.seal(key));
    let Head {
        seq, first, writes, ..
    } = head;
    let text = format!(
        "{{\"head\":{{\"seq\":{seq},\"hash\":\"{hash}\",\"first\":{first},\"writes\":{writes}}},\"seal\":\"{seal}\"}}"
    );
    let width = SLOT - 1;
    format!("{text:<width$}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        seq: u64::MAX,
        hash: Digest::from_bytes([0xff; 32]),
        first: u64::MAX,
        writes: u64::MAX,
    };

    #[test]
    fn a_record_has_its_size_and_is_read_again() {
        let key = AuditKey::from_bytes([3; 32]);
        for key in [None, Some(&key)] {
            for head in [HEAD, Head::START] {
                let content = slot(&head, key);
                assert_eq!(content.len(), SLOT);
                assert_eq!(parse_head(&content, key, true), Ok(head));
            }
        }
    }

    #[test]
    fn a_changed_record_and_another_key_are_seen() {
        let key = AuditKey::from_bytes([3; 32]);
        let content = slot(&Head::START, Some(&key));
        assert_eq!(parse_head(&content, None, true), Err(HeadError::Seal));
        assert_eq!(parse_head(&content, None, false), Ok(Head::START));
        let text = String::from_utf8(content)
            .unwrap()
            .replace("\"seq\":0", "\"seq\":5");
        assert_eq!(
            parse_head(text.as_bytes(), Some(&key), true),
            Err(HeadError::Seal)
        );
        assert!(parse_head(b"", Some(&key), true).is_err());
    }

    #[test]
    fn half_a_record_leaves_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = HeadFile::make(folder.path(), None).unwrap();
        for seq in 1..=3 {
            file.write(seq, Digest::ZERO, 1).unwrap();
        }
        let path = folder.path().join(NAME);
        let mut content = std::fs::read(&path).unwrap();
        assert_eq!(newest(&content, None, true).unwrap().seq, 3);
        content[SLOT..SLOT + 100].fill(0);
        assert_eq!(newest(&content, None, true).unwrap().seq, 2);
    }
}
