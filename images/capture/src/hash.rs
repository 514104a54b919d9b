//! Reading files: their digests, and what kind of file they are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::bytecode::{HEADER_BYTES, Validity, unchecked, validity};
use crate::cache::Stamp;
use crate::elf::{self, Needs};
use crate::error::CaptureError;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;
/// Most threads: beyond, the disk is the limit.
const MAX_THREADS: usize = 8;

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// BLAKE3 of what is captured of it.
    pub(crate) digest: [u8; 32],
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Plain,
    /// A compiled module that is valid for a source of this time and length. The digest is
    /// that of the content with its header replaced.
    Bytecode {
        mtime: u32,
        size: u32,
    },
    /// A compiled module, or what is named as one, that no interpreter takes.
    Dead,
    /// A program or shared library.
    Elf(Needs),
}

/// A file to be hashed.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    /// Whether it is named as a compiled module in `__pycache__`.
    pub(crate) bytecode: bool,
}

/// Hashes all, in parallel; the answers are in the order of the jobs.
pub(crate) fn all(jobs: &[Job]) -> Result<Vec<(Stamp, Facts)>, CaptureError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let work = || {
        let mut buffer = vec![0; BUFFER];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return };
            let answer = one(job, &mut buffer);
            if answer.is_err() {
                // Nobody begins another.
                next.store(jobs.len(), Ordering::Relaxed);
            }
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((index, answer));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(MAX_THREADS) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// The stamp is of the open file, before; if it is another afterwards, the digest may be of
/// no state that the file ever had.
fn one(job: &Job, buffer: &mut [u8]) -> Result<(Stamp, Facts), CaptureError> {
    let unreadable = CaptureError::unreadable(&job.path);
    let mut file = File::open(&job.path).map_err(&unreadable)?;
    let before = Stamp::of(&file.metadata().map_err(&unreadable)?);
    let facts = match job.bytecode {
        true => compiled(&mut file, buffer),
        false => plain(&mut file, buffer),
    };
    let facts = facts.map_err(&unreadable)?;
    let after = Stamp::of(&file.metadata().map_err(&unreadable)?);
    match before == after {
        true => Ok((before, facts)),
        false => Err(CaptureError::Changing {
            path: job.path.clone(),
        }),
    }
}

fn plain(file: &mut File, buffer: &mut [u8]) -> std::io::Result<Facts> {
    let mut hasher = blake3::Hasher::new();
    let mut is_elf = None;
    loop {
        let count = read(file, buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        is_elf.get_or_insert(piece.starts_with(elf::MAGIC));
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
    }
    let kind = match is_elf {
        // One that cannot be read as ELF is needed by nobody's loader.
        Some(true) => elf::needs(file).map_or(Kind::Plain, Kind::Elf),
        _ => Kind::Plain,
    };
    Ok(Facts {
        digest: *hasher.finalize().as_bytes(),
        kind,
    })
}

fn compiled(file: &mut File, buffer: &mut [u8]) -> std::io::Result<Facts> {
    let mut hasher = blake3::Hasher::new();
    let mut header = [0; HEADER_BYTES];
    let kind = match file.read_exact(&mut header) {
        Ok(()) => match validity(&header) {
            Validity::Stat { mtime, size } => {
                header = unchecked(header);
                Kind::Bytecode { mtime, size }
            }
            Validity::Hash => Kind::Plain,
            Validity::Unknown => Kind::Dead,
        },
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Kind::Dead,
        Err(error) => return Err(error),
    };
    hasher.update(&header);
    loop {
        let count = read(file, buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
    Ok(Facts {
        digest: *hasher.finalize().as_bytes(),
        kind,
    })
}

fn read(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A file that is not in the walk's list: a shared library.
pub(crate) fn single(path: &Path) -> Result<(Stamp, Facts), CaptureError> {
    let job = Job {
        path: path.to_owned(),
        bytecode: false,
    };
    one(&job, &mut vec![0; BUFFER])
}
