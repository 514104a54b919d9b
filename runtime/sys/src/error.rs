//! The error of every operation in this crate: what, on what, which errno.

use rustix::io::Errno;

/// A kernel operation that failed.
///
/// `Display` names the operation and its object; the errno is the source, so
/// that a chain never says the same thing twice.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}")]
pub struct Error {
    /// The system call or the step, as its manual page names it.
    pub operation: &'static str,
    /// What it was applied to: a path, a namespace, a process.
    pub object: String,
    /// What the kernel answered.
    #[source]
    pub errno: Errno,
}

impl Error {
    /// An error of `operation` on `object`.
    pub fn new(operation: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self {
            operation,
            object: object.into(),
            errno,
        }
    }

    /// Turns an I/O error of the standard library into ours. An error that
    /// carries no errno (unexpected end of file) is reported as `EIO`.
    pub fn io(operation: &'static str, object: impl Into<String>, error: &std::io::Error) -> Self {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::new(operation, object, errno)
    }
}

/// Adds the operation and the object to a bare errno.
pub trait Context<T> {
    /// Wraps the errno of a failed `operation` on `object`.
    fn context(self, operation: &'static str, object: impl Into<String>) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn context(self, operation: &'static str, object: impl Into<String>) -> Result<T, Error> {
        self.map_err(|errno| Error::new(operation, object, errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, operation: &'static str, object: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::io(operation, object, &error))
    }
}

/// `nix` reports its own errno type: both wrap the same number.
pub(crate) fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

/// An error and its sources on one line, nothing of it twice: a transparent
/// wrapper repeats what it wraps.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
