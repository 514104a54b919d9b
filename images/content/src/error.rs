//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::digest::Digest;

/// An operation of a store's failed; nothing of it remains but unfinished files, which the next
/// [`Store::open`](crate::Store::open) removes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A call to the kernel failed.
    #[error("cannot {operation} {object} in the store; {}", remedy(*errno))]
    Kernel {
        /// What was tried, such as `sync`.
        operation: &'static str,
        /// On what: a path below the store's folder.
        object: String,
        /// Why not.
        #[source]
        errno: Errno,
    },
    /// What was to be stored could not be read.
    #[error("the content for the store cannot be read; nothing of it was stored")]
    Source(#[source] io::Error),
    /// The store's folder can be changed by others.
    #[error(
        "the store {path} belongs to user {owner} and has mode {mode:03o}; it must belong to user \
         {user} and be writable by nobody else (chmod go-w, or name another store)"
    )]
    NotOurs {
        /// The store's folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
        /// Who asks.
        user: u32,
    },
    /// It was made by another version of this program.
    #[error(
        "the store {path} says its format is {found:?}, and this program knows {known:?}; use the \
         program that made it, or name another store"
    )]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What is understood.
        known: &'static str,
    },
    /// Content is not what its digest says.
    #[error("{wanted} was wanted, and what came has the digest {found}; it was not used")]
    Mismatch {
        /// What was expected.
        wanted: Digest,
        /// What was found.
        found: Digest,
    },
    /// Something stored is damaged.
    #[error(
        "{digest} in the store is damaged; run `lakekeep store fsck`, which sets it aside, and get \
         it again"
    )]
    Damaged {
        /// What it should be.
        digest: Digest,
    },
    /// Content is longer than it may be.
    #[error("the content is longer than {most} bytes, which is the most that is taken here")]
    TooLarge {
        /// Bytes that are allowed.
        most: u64,
    },
    /// Nothing is stored under this digest.
    #[error("{digest} is not in the store; it was never stored, or has been removed")]
    Absent {
        /// What was asked for.
        digest: Digest,
    },
    /// Others use the store.
    #[error("{what} is in use by another process; try again when it has ended")]
    Busy {
        /// What is in use.
        what: String,
    },
    /// A tree has something in it that cannot be kept.
    #[error("{path:?} is {found}, which the store does not keep; remove it from the tree")]
    Unkept {
        /// Below the tree's root.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A tree is deeper than is walked.
    #[error("{path:?} lies deeper than {most} folders; make the tree flatter")]
    TooDeep {
        /// Below the tree's root.
        path: PathBuf,
        /// Folders that are allowed above a file.
        most: usize,
    },
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC | Errno::DQUOT => {
            "free space on its file system (`lakekeep image gc`), or raise the quota"
        }
        Errno::ACCESS | Errno::PERM => "it must belong to the user who runs this program",
        Errno::ROFS => "mount its file system for writing, or name another store",
        Errno::NOENT => "was it moved or removed meanwhile?",
        Errno::LOOP | Errno::XDEV => {
            "a link is where the store's own file should be: see who changes the folder"
        }
        Errno::MFILE | Errno::NFILE => "raise the limit on open files",
        Errno::IO => "check the disk and the kernel's log",
        _ => "check that its file system is a local one, such as ext4, xfs or btrfs",
    }
}

/// Names the operation and its object in a kernel's answer.
pub(crate) trait Named<T> {
    fn named(self, operation: &'static str, object: &str) -> Result<T, ContentError>;
}

impl<T> Named<T> for Result<T, Errno> {
    fn named(self, operation: &'static str, object: &str) -> Result<T, ContentError> {
        self.map_err(|errno| ContentError::Kernel {
            operation,
            object: object.to_owned(),
            errno,
        })
    }
}
