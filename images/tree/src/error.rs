//! Why an environment cannot be made or opened.

use lakekeep_content::ContentError;
use lakekeep_environment::{Digest, ManifestError, NotTaken};
use rustix::io::Errno;

/// Why there is no environment. Nothing is half made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] ContentError),
    /// A stored manifest that is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No such environment.
    #[error("there is no environment {digest} here; capture it: lakekeep env capture")]
    Absent {
        /// Which.
        digest: Digest,
    },
    /// It is not what its digest says.
    #[error("environment {digest} is damaged at {path}; remove it and capture it again")]
    Damaged {
        /// Which.
        digest: Digest,
        /// Where.
        path: String,
    },
    /// A content that the giver does not have.
    #[error("the content of {path} is not there; capture the environment again")]
    NoContent {
        /// The file.
        path: String,
    },
    /// A content that is another than the manifest says.
    #[error("{path} is not what was captured: it has changed since; capture the environment again")]
    Changed {
        /// The file.
        path: String,
    },
    /// A content cannot be read.
    #[error("the content of {path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// What was sent is not what was asked for.
    #[error("the contents that were sent cannot be taken; send the environment again")]
    Pack {
        /// What is wrong with them.
        #[source]
        error: std::io::Error,
    },
    /// A content that nobody asked for.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// More than one may have.
    #[error(
        "with this environment there would be {bytes} bytes, and at most {most} in \
         {environments} environments may be kept; remove some: lakekeep env gc, lakekeep env rm"
    )]
    Full {
        /// Bytes with it.
        bytes: u64,
        /// Bytes that may be.
        most: u64,
        /// Environments that may be.
        environments: usize,
    },
    /// More files than one may have.
    #[error(
        "with this environment there would be {entries} files and folders, and at most {most} may be \
         kept; remove some: lakekeep env rm"
    )]
    Crowded {
        /// Entries with it.
        entries: usize,
        /// Entries that may be.
        most: usize,
    },
    /// The kernel.
    #[error("{operation} {path}; free space or inodes if there are none left")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why not.
        #[source]
        errno: Errno,
    },
}
