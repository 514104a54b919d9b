//! Why an event was not recorded, or a log not opened.

use std::path::PathBuf;
use std::sync::Arc;

use super::head::HeadError;
use super::key::KeyError;
use super::verify::Broken;
use crate::files::FileError;

/// A failure of the audit log. What was not acknowledged may or may not be in
/// the log; what was, is.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file could not be read or written. The event was not recorded.
    #[error(transparent)]
    File(Arc<FileError>),
    /// The log does not go on after a failed write to the disk: what the kernel
    /// did with the data cannot be known.
    #[error("the audit log has stopped; restart the manager once this is mended")]
    Stopped {
        /// What stopped it.
        #[source]
        cause: Arc<FileError>,
    },
    /// The log was closed, or its thread is gone.
    #[error("the audit log is closed; restart the manager")]
    Closed,
    /// Another process writes this log.
    #[error(
        "{folder} has a writer already; stop the other manager, or give this one another folder"
    )]
    Locked {
        /// The log's folder.
        folder: PathBuf,
    },
    /// The key cannot be had.
    #[error(transparent)]
    Key(Arc<KeyError>),
    /// There are events and no head, or none that can be trusted.
    #[error(
        "the head of {folder} cannot be trusted{}; run `lakekeep audit verify --folder {folder}`, then move the folder away as evidence to start a new log",
        .error.as_ref().map_or(": it is missing".to_owned(), |error| format!(": {error}"))
    )]
    Head {
        /// The log's folder.
        folder: PathBuf,
        /// What is wrong; absent if the file is.
        error: Option<HeadError>,
    },
    /// Recorded events are gone or changed: nothing is added to such a log.
    #[error(
        "the audit log {folder} is damaged: {broken}; run `lakekeep audit verify --folder {folder}`, then move the folder away as evidence to start a new log"
    )]
    Damaged {
        /// The log's folder.
        folder: PathBuf,
        /// Where and how.
        broken: Box<Broken>,
    },
    /// The thread that writes could not be started.
    #[error(
        "no thread for the audit log; raise the manager's limit on threads (TasksMax, ulimit -u)"
    )]
    Thread {
        /// Why.
        #[source]
        error: Arc<std::io::Error>,
    },
    /// An event has no JSON form.
    #[error("the event cannot be written as JSON; this is a bug, please report it")]
    Json {
        /// Why.
        #[source]
        error: Arc<serde_json::Error>,
    },
}

impl From<FileError> for AuditError {
    fn from(error: FileError) -> AuditError {
        AuditError::File(Arc::new(error))
    }
}

impl From<KeyError> for AuditError {
    fn from(error: KeyError) -> AuditError {
        AuditError::Key(Arc::new(error))
    }
}

impl From<serde_json::Error> for AuditError {
    fn from(error: serde_json::Error) -> AuditError {
        AuditError::Json {
            error: Arc::new(error),
        }
    }
}
