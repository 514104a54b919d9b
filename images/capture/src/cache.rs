//! What files hashed to, by their stat.
//!
//! A file is taken for the one that was hashed if device, inode, length, and the times of
//! its last change of content and of status are the same. The second cannot be set by a
//! program, so a file that was rewritten with its old time is noticed.
//!
//! **Racy entries** (git, "racy-git"): a file that was written again in the same tick of the
//! file system's clock as it was hashed has the same times and another content. So nothing is
//! remembered of a file that had changed less than two seconds before the capture began: that
//! is the coarsest clock of any file system that Linux mounts (FAT's).

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lakekeep_environment::Digest;
use serde::{Deserialize, Serialize};

use crate::error::CaptureError;
use crate::hash::Facts;

/// First bytes of the file: another version's is forgotten.
const MAGIC: &[u8; 16] = b"lakekeep stat 1\n";
/// How old a change must be, in nanoseconds.
const SETTLED: i64 = 2_000_000_000;
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Which file, in which state, and whether it is read as a compiled module: a hard link may
/// have another name.
type Key = (Stamp, bool);

/// Which file, in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: i64,
    status_changed: i64,
}

impl Stamp {
    pub(crate) fn of(stat: &Metadata) -> Stamp {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Stamp {
            device: stat.dev(),
            inode: stat.ino(),
            size: stat.size(),
            changed: nanoseconds(stat.mtime(), stat.mtime_nsec()),
            status_changed: nanoseconds(stat.ctime(), stat.ctime_nsec()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Seconds since the epoch, as a compiled module notes them.
    pub(crate) fn changed_seconds(&self) -> i64 {
        self.changed.div_euclid(1_000_000_000)
    }
}

/// Digests by stat. It holds the user's own files' and is the user's own: kept in a place
/// that only the user can write.
#[derive(Debug, Default)]
pub struct StatCache {
    known: HashMap<Key, Facts>,
    /// Those that this capture used: the others are forgotten when it is saved.
    used: HashMap<Key, Facts>,
    hits: usize,
}

impl StatCache {
    /// Reads the cache in `path`. One that is missing, damaged or of another version is empty.
    pub fn load(path: &Path) -> StatCache {
        StatCache {
            known: read(path).unwrap_or_default(),
            ..StatCache::default()
        }
    }

    pub(crate) fn get(&mut self, stamp: Stamp, compiled: bool) -> Option<Facts> {
        let key = (stamp, compiled);
        if let Some(facts) = self.used.get(&key) {
            return Some(facts.clone());
        }
        let facts = self.known.get(&key)?.clone();
        self.hits += 1;
        self.used.insert(key, facts.clone());
        Some(facts)
    }

    /// Remembers, unless the file had changed shortly before `began`.
    pub(crate) fn put(&mut self, key: Key, facts: Facts, began: SystemTime) {
        let (stamp, _) = key;
        let since = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let latest = stamp.changed.max(stamp.status_changed);
        if latest.saturating_add(SETTLED) < began {
            self.used.insert(key, facts);
        }
    }

    /// How many files were not read.
    pub fn hits(&self) -> usize {
        self.hits
    }

    /// Writes it to `path`, in one step, for the next capture.
    ///
    /// # Errors
    /// [`CaptureError::Cache`].
    pub fn save(&self, path: &Path) -> Result<(), CaptureError> {
        write(path, &self.used).map_err(|error| CaptureError::Cache {
            path: path.to_owned(),
            error,
        })
    }
}

/// Magic, digest of the rest, and the rest.
fn read(path: &Path) -> Option<HashMap<Key, Facts>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (digest, body) = rest.split_at_checked(32)?;
    if Digest::of(body).as_bytes() != digest {
        return None;
    }
    let pairs: Vec<(Key, Facts)> = postcard::from_bytes(body).ok()?;
    Some(pairs.into_iter().collect())
}

fn write(path: &Path, entries: &HashMap<Key, Facts>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let pairs: Vec<(&Key, &Facts)> = entries.iter().collect();
    let body = postcard::to_stdvec(&pairs).map_err(std::io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(Digest::of(&body).as_bytes())?;
    file.write_all(&body)?;
    file.persist(path)?;
    Ok(())
}
