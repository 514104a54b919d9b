//! Why a document was refused.

use std::fmt;

use super::Place;

/// One thing that is wrong in a document.
///
/// Displays as `egress.toml:7: rules[3]: column 11: "0x7f.1": …; …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that is wrong in a document; never empty. Displays one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentErrors(pub(crate) Vec<DocumentError>);

impl DocumentErrors {
    /// In the document's order.
    pub fn errors(&self) -> &[DocumentError] {
        &self.0
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        let place = place.trim_end_matches([':', ' ']);
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

impl fmt::Display for DocumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentError {}
impl std::error::Error for DocumentErrors {}
