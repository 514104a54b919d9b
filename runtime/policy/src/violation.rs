//! Why a document is not a policy.

use std::fmt;

use crate::document::{Origin, Place};

/// One rule that a document breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub(crate) place: Option<Place>,
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) why: String,
    pub(crate) remedy: String,
}

impl Violation {
    /// Where the field was written; `None` if it was set in code or comes from
    /// the preset.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The path of the field, such as `limits.memory`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value, for the reader; empty where it must not be repeated.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule that is broken.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: ", self.field)?;
        if !self.value.is_empty() {
            write!(f, "{}: ", self.value)?;
        }
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

/// Every rule that a document breaks; never empty. Displays one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors(Vec<Violation>);

impl PolicyErrors {
    /// The broken rules, in the order of the documentation.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, violation) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Collects violations, so that a reader sees all of them at once.
pub(crate) struct Findings<'a> {
    origin: &'a Origin,
    found: Vec<Violation>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(origin: &'a Origin) -> Findings<'a> {
        Findings {
            origin,
            found: Vec::new(),
        }
    }

    /// `value` is shown as it is: it is empty for a secret, and escaped.
    pub(crate) fn add(
        &mut self,
        field: &str,
        value: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.found.push(Violation {
            place: self.origin.place(field).cloned(),
            field: crate::show::shown(field),
            value: value.into(),
            why: why.into(),
            remedy: remedy.into(),
        });
    }

    pub(crate) fn finish(self) -> Result<(), PolicyErrors> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(PolicyErrors(self.found))
        }
    }
}
