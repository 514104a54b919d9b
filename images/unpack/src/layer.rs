//! A layer into a folder.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use lakekeep_content::{Algorithm, Digest, Hashing};
use rustix::fs::{Timespec, Timestamps};

use crate::archive::{Archive, Entry, EntryKind};
use crate::compression::Decompressed;
use crate::error::UnpackError;
use crate::limits::Limits;
use crate::writer::{WriteError, Writer};

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the decompressed archive.
    pub diff_id: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
    /// Set-ID bits, capabilities and labels that were left out.
    pub stripped: u64,
}

/// Unpacks a layer, compressed with gzip or zstd or not at all, into the empty folder `root`.
///
/// Whiteouts become empty files of their names, for [`crate::merge`]. Everything belongs to the
/// caller; files have mode 0444, or 0555 if their owner may execute them, folders 0755.
///
/// # Errors
/// The first thing that is wrong, with the entry's name. What was made until then is in `root`, which must be
/// dropped: it holds half a layer.
pub fn unpack(
    layer: impl Read,
    root: BorrowedFd<'_>,
    diff_id: &Digest,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let plain = Decompressed::new(layer, limits)?;
    let hashing = Hashing::new(plain, Algorithm::Sha256);
    let mut archive = Archive::new(hashing, limits);
    let mut writer = Writer::new(root);
    let mut entries = 0;
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        write(&mut archive, &mut writer, &entry).map_err(|error| match error {
            WriteError::Refused(why) => archive.refused(why),
            WriteError::Source(error) => error,
            WriteError::Kernel(operation, errno) => UnpackError::Kernel {
                operation,
                entry: entry.path.to_string(),
                errno,
            },
        })?;
    }
    let (found, bytes) = archive.into_source().finish();
    if found != *diff_id {
        return Err(UnpackError::WrongDiffId {
            wanted: *diff_id,
            found,
        });
    }
    Ok(Unpacked {
        diff_id: found,
        bytes,
        entries,
        stripped: writer.stripped,
    })
}

fn write<R: Read>(
    archive: &mut Archive<R>,
    writer: &mut Writer<'_>,
    entry: &Entry,
) -> Result<(), WriteError> {
    match &entry.kind {
        EntryKind::Folder => {
            let folder = writer.folder(&entry.path)?;
            writer.attributes(folder, &entry.attributes)
        }
        EntryKind::File { size } => {
            let file = writer.file(&entry.path, entry.mode, *size, archive)?;
            writer.attributes(&file, &entry.attributes)?;
            set_time(&file, entry.mtime)
        }
        EntryKind::SymbolicLink(target) => {
            writer.no_attributes(&entry.attributes)?;
            writer.symbolic_link(&entry.path, target)
        }
        EntryKind::HardLink(target) => {
            writer.no_attributes(&entry.attributes)?;
            writer.hard_link(&entry.path, target)
        }
        EntryKind::Whiteout => {
            writer.no_attributes(&entry.attributes)?;
            writer.whiteout(&entry.path)
        }
    }
}

/// Python believes a compiled file only if its source's time is the one it was compiled from.
fn set_time(file: impl AsFd, mtime: i64) -> Result<(), WriteError> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::futimens(file, &times).map_err(|errno| WriteError::Kernel("set the time of", errno))
}
