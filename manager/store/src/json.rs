//! JSON that is kept as it is: verdicts, receipts, usage.

use serde::Serialize;
use serde::de::IgnoredAny;

/// Longest document, in bytes.
const LONGEST: usize = 256 << 10;

/// A bounded, well-formed JSON document. The store does not look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

/// A text cannot be kept as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is too long.
    #[error("a document of {bytes} bytes is longer than {LONGEST}; shorten its lists")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It is not JSON, or a value cannot be written as JSON.
    #[error("not a JSON document; this is a bug of the caller, please report it")]
    Syntax {
        /// Where and why.
        #[source]
        error: serde_json::Error,
    },
}

impl JsonText {
    /// Checks a document.
    ///
    /// # Errors
    /// [`JsonError`] if it is too long (256 KiB) or not JSON.
    pub fn new(text: String) -> Result<JsonText, JsonError> {
        let bytes = text.len();
        if bytes > LONGEST {
            return Err(JsonError::TooLong { bytes });
        }
        let parsed: Result<IgnoredAny, _> = serde_json::from_str(&text);
        parsed.map_err(|error| JsonError::Syntax { error })?;
        Ok(JsonText(text))
    }

    /// The document of a value.
    ///
    /// # Errors
    /// [`JsonError`] if it is too long or has no JSON form.
    pub fn of(value: &impl Serialize) -> Result<JsonText, JsonError> {
        let text = serde_json::to_string(value).map_err(|error| JsonError::Syntax { error })?;
        JsonText::new(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the database, where a CHECK holds it to be JSON.
    pub(crate) fn from_database(text: String) -> JsonText {
        JsonText(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_bounded_documents_are_taken() {
        assert!(JsonText::new("{\"a\":[1]}".to_owned()).is_ok());
        for text in ["", "{", "{} {}", "nil"] {
            assert!(JsonText::new(text.to_owned()).is_err(), "{text}");
        }
        let long = format!("\"{}\"", "a".repeat(LONGEST));
        assert!(matches!(
            JsonText::new(long),
            Err(JsonError::TooLong { .. })
        ));
        let deep = "[".repeat(100_000);
        assert!(JsonText::new(deep).is_err());
    }
}
