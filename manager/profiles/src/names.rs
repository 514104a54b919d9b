//! Names that become file names, accounts and variables.

use std::fmt;

use crate::show::is_invisible;

/// Longest name of a profile, volume or secret, in bytes.
const LONGEST_NAME: usize = 63;
/// Longest name of a user or a group, in bytes.
const LONGEST_PERSON: usize = 256;

/// The name of a profile: letters a–z, digits, `-`, `_` and `.`, beginning and
/// ending with a letter or a digit, at most 63 bytes. Safe as a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// A text that is not the name of a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {NAME_RULE}", crate::show::quoted(.0))]
pub struct BadProfileName(String);

/// What a name may be, as a sentence.
pub(crate) const NAME_RULE: &str = "use letters a-z, digits, \"-\", \"_\" and \".\", from letter or digit to letter or digit, at most 63";

impl ProfileName {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// [`BadProfileName`], which says what a name may be.
    pub fn new(text: &str) -> Result<ProfileName, BadProfileName> {
        if is_name(text) {
            Ok(ProfileName(text.to_owned()))
        } else {
            Err(BadProfileName(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Whether `text` may name a profile or a volume.
pub(crate) fn is_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = text.as_bytes();
    let inner = |byte: &u8| edge(Some(byte)) || b"-_.".contains(byte);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.len() <= LONGEST_NAME
        && bytes.iter().all(inner)
}

/// What a secret's name may be, as a sentence.
pub(crate) const SECRET_RULE: &str = "use letters, digits, \"-\", \"_\" and \".\", from letter or digit to letter or digit, at most 63";

/// Whether `text` may name a secret: as a profile, and in capitals too, as the variables
/// that many secrets are given as.
pub fn is_secret_name(text: &str) -> bool {
    is_name(&text.to_ascii_lowercase())
}

/// Whether `text` may name a user, a group or a project.
pub(crate) fn is_person(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_PERSON
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// Whether `text` may name a host account and stand as one part of a path.
pub(crate) fn is_account(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= LONGEST_NAME
        && text.starts_with(first)
        && text.chars().all(|c| first(c) || "-.@".contains(c))
}

/// Whether `text` may name a variable.
pub(crate) fn is_variable(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '\0']) && !text.starts_with(RESERVED_PREFIX)
}

/// Variables that start so are the runtime's own.
pub(crate) const RESERVED_PREFIX: &str = "LAKEKEEP_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for name in ["a", "team-a", "x_1.y", "0"] {
            assert_eq!(ProfileName::new(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(64);
        for name in [
            "", ".", "..", "a/b", "A", "-a", "a.", "a b", "ä", "a\0", &long,
        ] {
            assert!(ProfileName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn accounts_cannot_leave_their_folder() {
        for account in ["ann", "ann@example.org", "_svc", "1000"] {
            assert!(is_account(account), "{account}");
        }
        for account in ["", ".", "..", "a/b", ".ssh", "a\0", "a b"] {
            assert!(!is_account(account), "{account:?}");
        }
    }

    #[test]
    fn people_are_visible_text() {
        for person in ["ann", "Ann Other", "CORP\\ann", "ann@example.org", "ä"] {
            assert!(is_person(person), "{person}");
        }
        for person in ["", " ann", "a\nb", "a\u{202e}b", &"x".repeat(257)] {
            assert!(!is_person(person), "{person:?}");
        }
    }
}
