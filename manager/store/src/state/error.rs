//! Why the state could not be read or changed.

use std::path::PathBuf;

use super::variables::NameError;
use super::vocabulary::SandboxState;
use crate::files::FileError;
use crate::json::JsonError;

/// A failure of the manager's state. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// SQLite refused.
    #[error("cannot {operation}{}", sql_remedy(.error))]
    Sql {
        /// What was tried, such as `insert the sandbox`.
        operation: &'static str,
        /// Why not.
        #[source]
        error: rusqlite::Error,
    },
    /// A later version of the manager wrote the database.
    #[error(
        "{path} is of version {found}, and this manager knows up to {known}; install the manager that wrote it, or restore a backup from before"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{path} is not a database of lakekeep; give the manager another path")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "{path} is damaged: {what}; stop the manager, keep the file and its -wal as they are, and restore a backup (or try `sqlite3 FILE .recover`)"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite found first.
        what: String,
    },
    /// There is no such row.
    #[error("{what} {name:?} does not exist")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is such a row already.
    #[error("{what} {name:?} exists already; choose another name")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A sandbox that is over does not come back.
    #[error("sandbox {sandbox} is {from} and cannot become {to}; create a new one")]
    Over {
        /// The sandbox.
        sandbox: String,
        /// Its state.
        from: SandboxState,
        /// The state that was asked for.
        to: SandboxState,
    },
    /// A text is too long.
    #[error("{what} has {bytes} bytes, over {most}; shorten it")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// A text that must not be is empty or has a NUL.
    #[error("{what} is empty or contains a NUL byte; name it otherwise")]
    BadText {
        /// What it is.
        what: &'static str,
    },
    /// An owner has too many.
    #[error("{owner:?} has {most} {what} already; remove some")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// Whose.
        owner: String,
        /// The bound.
        most: usize,
    },
    /// A name is not one of a variable that may be set.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A document cannot be kept.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The range of managed ids is used up.
    #[error("no id from {first} to {last} was never used; widen the range of managed ids")]
    NoIds {
        /// The first of the range.
        first: u32,
        /// The last of the range.
        last: u32,
    },
    /// A user has an id that is no longer in the range.
    #[error(
        "{user:?} has the id {uid}, which is outside of {first} to {last}; include it in the range again: the user's files belong to it"
    )]
    IdOutside {
        /// The user.
        user: String,
        /// The user's id.
        uid: u32,
        /// The first of the range.
        first: u32,
        /// The last of the range.
        last: u32,
    },
    /// A request came again with another content.
    #[error(
        "request {request:?} was made before with other content; give a new request its own id"
    )]
    RequestDiffers {
        /// The request's id.
        request: String,
    },
}

fn sql_remedy(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free space on the file system of the database",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another process holds the database: is there a second manager?"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the database is damaged: stop the manager and restore a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "; the database and its folder must belong to the manager's user"
        }
        Some(ErrorCode::SystemIoFailure) => "; check the disk and the kernel's log",
        _ => "; this is a bug, please report it",
    }
}

/// Names the operation in a result of rusqlite.
pub(crate) trait Sql<T> {
    fn sql(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Sql<T> for rusqlite::Result<T> {
    fn sql(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Sql { operation, error })
    }
}

/// Refuses a text that is empty, has a NUL, or is too long.
pub(crate) fn bounded(what: &'static str, text: &str, most: usize) -> Result<(), StoreError> {
    if text.is_empty() || text.contains('\0') {
        return Err(StoreError::BadText { what });
    }
    at_most(what, text, most)
}

/// Refuses a text that is too long.
pub(crate) fn at_most(what: &'static str, text: &str, most: usize) -> Result<(), StoreError> {
    let bytes = text.len();
    if bytes > most {
        return Err(StoreError::TooLong { what, bytes, most });
    }
    Ok(())
}
