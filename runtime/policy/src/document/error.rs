//! Why a document was refused.

use std::fmt;

use super::origin::Place;

/// A document that could not be read: which document, at which line, which
/// field, why, and what to do.
///
/// Displays as `policy.toml:7: limits.memry: unknown field; did you mean "memory"?`.
/// The value of an environment variable is never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    pub(super) place: Place,
    pub(super) field: String,
    pub(super) cause: String,
    pub(super) remedy: String,
}

impl DocumentError {
    /// The name of the document, as given by the caller.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// The line, counted from one.
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// The path of the field, such as `limits.memory` or `mounts[0].target`;
    /// empty if the document could not be read that far.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.cause)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentError {}
