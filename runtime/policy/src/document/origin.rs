//! Where the fields of a document were written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A line of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the document.
    pub name: Arc<str>,
    /// The line, counted from one.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", crate::show::shown(&self.name), self.line)
    }
}

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
    pub(super) fn insert(&mut self, field: String, place: Place) {
        self.places.insert(field, place);
    }

    /// Copies the place of `field` in `from` to `to` here, or forgets `to` if
    /// `from` does not know it.
    pub(super) fn take(&mut self, to: &str, from: &Origin, field: &str) {
        match from.places.get(field) {
            Some(place) => self.places.insert(to.to_owned(), place.clone()),
            None => self.places.remove(to),
        };
    }

    /// The place of `field`, or else of the table that would hold it.
    pub(crate) fn place(&self, field: &str) -> Option<&Place> {
        let mut path = field;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
