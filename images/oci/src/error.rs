//! Why a document is refused.

/// A document of an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is longer than is read.
    #[error("the {what} has more than {most} bytes; it is not an image's")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Bytes that are allowed.
        most: u64,
    },
    /// It is no JSON of the kind that it should be.
    #[error("the {what} cannot be read; get the image again, or from another builder")]
    Json {
        /// Which document.
        what: &'static str,
        /// Where and why.
        #[source]
        error: serde_json::Error,
    },
    /// Something in it breaks a rule.
    #[error("the {what}: {field} {why}")]
    Rule {
        /// Which document.
        what: &'static str,
        /// Which part of it.
        field: String,
        /// What is wrong with that: a sentence without its subject.
        why: &'static str,
    },
    /// It is of a kind that is not used here.
    #[error("the media type {found:?} of the {what} is not supported; {remedy}")]
    MediaType {
        /// Of what.
        what: &'static str,
        /// What it says.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl DocumentError {
    pub(crate) fn rule(what: &'static str, field: impl Into<String>, why: &'static str) -> Self {
        DocumentError::Rule {
            what,
            field: field.into(),
            why,
        }
    }
}
