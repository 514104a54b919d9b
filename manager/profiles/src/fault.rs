//! Why a profile was refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::show::shown;

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the document, as given by the caller.
    pub name: Arc<str>,
    /// The line, counted from one.
    pub line: usize,
    /// The column in characters, counted from one.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", shown(&self.name), self.line, self.column)
    }
}

/// One thing that is wrong with a document: where, which field, what was
/// written, why it is refused, and what to do.
///
/// Displays as `team.toml:7:1: quotas.memry: unknown field; did you mean "memory"?`.
/// The value of a variable is never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(crate) place: Option<Place>,
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) why: String,
    pub(crate) remedy: String,
}

impl Fault {
    /// Where the field was written; `None` if it was set in code.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The path of the field, such as `quotas.per_user.memory`; empty if the
    /// document could not be read that far.
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        for part in [&self.field, &self.value] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

/// Everything that is wrong with one or more documents; never empty. Displays
/// one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileErrors(Vec<Fault>);

impl ProfileErrors {
    /// `None` if nothing is wrong.
    pub(crate) fn some(mut faults: Vec<Fault>) -> Option<ProfileErrors> {
        let place = |fault: &Fault| fault.place().map(|place| (place.line, place.column));
        faults.sort_by_key(place);
        (!faults.is_empty()).then_some(ProfileErrors(faults))
    }

    /// Exactly one fault.
    pub(crate) fn one(fault: Fault) -> ProfileErrors {
        ProfileErrors(vec![fault])
    }

    /// What is wrong, in the order of the places.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.0
    }
}

impl fmt::Display for ProfileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProfileErrors {}

/// The place of each field that came from a document. Fields set in code have
/// none.
///
/// It is a note for error messages and no part of what a document says: two
/// origins are always equal.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    places: BTreeMap<String, Place>,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Origin) -> bool {
        true
    }
}

impl Origin {
    pub(crate) fn insert(&mut self, field: String, place: Place) {
        self.places.insert(field, place);
    }

    /// The place of `field`, or else of the table that would hold it, or else
    /// the start of the document.
    pub(crate) fn place(&self, field: &str) -> Option<&Place> {
        let mut path = field;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

/// Collects faults, so that a reader sees all of them at once.
pub(crate) struct Findings<'a> {
    origin: &'a Origin,
    found: Vec<Fault>,
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
        self.found.push(Fault {
            place: self.origin.place(field).cloned(),
            field: shown(field),
            value: value.into(),
            why: why.into(),
            remedy: remedy.into(),
        });
    }

    /// What was found, as an error.
    pub(crate) fn all(self) -> ProfileErrors {
        ProfileErrors(self.found)
    }

    pub(crate) fn finish(self) -> Result<(), ProfileErrors> {
        ProfileErrors::some(self.found).map_or(Ok(()), Err)
    }
}
