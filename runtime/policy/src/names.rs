//! Closed sets of names: one table makes the enum, its parser, its serde form
//! and its help text, so that they cannot disagree.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;

use crate::show::quoted;

/// A name that is not in the set it was looked up in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not a {what}; {remedy}", given = quoted(.given))]
pub struct UnknownName {
    what: &'static str,
    given: String,
    remedy: String,
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, given: &str, known: &[&str]) -> UnknownName {
        UnknownName {
            what,
            given: given.to_owned(),
            remedy: suggestion(given, known),
        }
    }

    /// What kind of name was expected, such as `layer`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The name as it was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What to write instead.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// Reads a name. The error is made where the name stands, so that serde_json
/// gives it that position.
pub(crate) struct NameVisitor<T> {
    pub(crate) what: &'static str,
    pub(crate) result: PhantomData<T>,
}

impl<T: FromStr<Err = UnknownName>> Visitor<'_> for NameVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.what)
    }

    /// The cause and the remedy are parted by a line feed, which occurs in
    /// neither: what was given is escaped.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error: UnknownName| {
            let (given, what) = (quoted(&error.given), error.what);
            E::custom(format_args!("{given} is not a {what}\n{}", error.remedy))
        })
    }
}

/// `did you mean "memory"?`, or the whole list if nothing is close.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    match closest(given, known) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("expected one of: {}", known.join(", ")),
    }
}

/// The known name that is at most a third of its own length away.
fn closest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    // The distance is quadratic; no known name is half as long as this.
    const LONGEST: usize = 64;
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    known
        .iter()
        .map(|name| (edit_distance(&given, name), *name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (above, (cb, diagonal)) in row.iter().skip(1).zip(b.iter().zip(&row)) {
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal + usize::from(ca != *cb);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Makes an enum of named values: `ALL`, `as_str`, `describe`, `Display`,
/// `FromStr`, and serde by name.
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident as $what:literal {
            $( $variant:ident = $text:literal, $doc:literal; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( #[doc = $doc] $variant, )+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$( $name::$variant, )+];

            /// The name used in documents and flags.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $text, )+ }
            }

            /// One line of help.
            pub const fn describe(self) -> &'static str {
                match self { $( $name::$variant => $doc, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::names::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text => Ok($name::$variant), )+
                    other => Err($crate::names::UnknownName::new($what, other, &[$( $text, )+])),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::names::NameVisitor {
                    what: $what,
                    result: std::marker::PhantomData,
                })
            }
        }
    };
}
pub(crate) use named_enum;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("memry", "memory"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_near_name_is_suggested_whatever_its_case() {
        assert_eq!(
            suggestion("MEMRY", &["swap", "memory"]),
            "did you mean \"memory\"?"
        );
    }

    #[test]
    fn a_far_name_lists_all() {
        assert_eq!(
            suggestion("zzz", &["swap", "memory"]),
            "expected one of: swap, memory"
        );
    }

    #[test]
    fn a_very_long_name_gets_the_list() {
        assert_eq!(
            suggestion(&"m".repeat(100_000), &["memory"]),
            "expected one of: memory"
        );
    }
}
