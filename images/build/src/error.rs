//! Why an environment is not built.

use std::path::PathBuf;

/// What is refused before or after `uv` runs. Nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file of another tool's.
    #[error("{path} is not built from: {why}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A file that cannot be read.
    #[error("{path} cannot be read; check the path and its permissions")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A file that is longer than any that a person or a tool writes.
    #[error("{path} is longer than {most} bytes; is it a list of packages?")]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A line of a list of packages.
    #[error("{path}:{line}: {why}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong, and what to write.
        why: String,
    },
    /// An index whose address is none.
    #[error("index {shown}: {why}")]
    Index {
        /// Its address without user and password.
        shown: String,
        /// What is wrong, and what to write.
        why: &'static str,
    },
    /// A line of what was resolved.
    #[error("line {line} of {what}: {why}")]
    Lock {
        /// `what uv resolved`, or the lock's path.
        what: String,
        /// Counted from one.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The lock is for something else, and may not be made anew.
    #[error("{path} does not fit: {why}; without --locked it is made anew")]
    Unfit {
        /// The lock.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A file of somebody else's is where the lock goes.
    #[error("{path} was not written by `lakekeep env build`; name another file with --lock")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The lock cannot be written. The environment is stored.
    #[error("the lock {path} cannot be written; name another file with --lock")]
    Unwritable {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// There is no uv.
    #[error(
        "uv is not on PATH; install it (pip install uv, or https://docs.astral.sh/uv), or name it with --uv"
    )]
    NoUv,
    /// It is not the program itself.
    #[error(
        "{path} is not uv's program but a script or a link to nothing; name the program with --uv"
    )]
    NotUv {
        /// What was found.
        path: PathBuf,
    },
    /// The interpreter is within a virtual environment that cannot be left.
    #[error(
        "{python} belongs to a virtual environment; name the interpreter that it was made with"
    )]
    NoBase {
        /// The interpreter.
        python: PathBuf,
    },
    /// The folder in which it is built.
    #[error("{path}: a folder to build in cannot be made; check the free space and who owns it")]
    Workplace {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

impl BuildError {
    pub(crate) fn unreadable(path: &std::path::Path) -> impl Fn(std::io::Error) -> BuildError {
        move |error| BuildError::Unreadable {
            path: path.to_owned(),
            error,
        }
    }
}
