//! Names: of users, groups, host accounts and projects. What is one was checked.

use std::fmt;

use crate::show::quoted;

/// Longest user or group name, in bytes, prefix included.
const MAX_NAME: usize = 256;
/// Longest host account name, in bytes: what Linux's own tools take.
const MAX_ACCOUNT: usize = 32;
/// Longest project name, in bytes.
const MAX_PROJECT: usize = 64;

/// What no user or group name holds: separators of paths, lists and documents,
/// quotation marks, and characters that a shell, a glob or a template expands.
const REFUSED: &str = "/\\*?\"'`$,;<>{}";

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or more than fits.
    #[error("{} has {length} bytes; a name has 1 to {most}", quoted(.name))]
    Length {
        /// The text.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The longest length in bytes.
        most: usize,
    },
    /// A character that no such name may hold.
    #[error("{} holds the character U+{:04X}, which no such name may hold", quoted(.name), u32::from(*.character))]
    Character {
        /// The text.
        name: String,
        /// The first refused character.
        character: char,
    },
    /// A space at an end, or a first character with another meaning.
    #[error("{} begins or ends in a way that no such name may", quoted(.name))]
    Ends {
        /// The text.
        name: String,
    },
    /// Digits alone, which tools read as a number of an account.
    #[error("{} would be read as a number; a name has a letter", quoted(.name))]
    Number {
        /// The text.
        name: String,
    },
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            ///
            /// [`NameError`], which holds the text.
            pub fn new(text: &str) -> Result<$name, NameError> {
                $check(text)?;
                Ok($name(text.to_owned()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

checked_name!(
    /// A user's name with its authenticator's prefix: 1 to 256 bytes of printable
    /// text without `/`, quotation marks and other separators.
    UserName,
    check_name
);
checked_name!(
    /// A group's name with its authenticator's prefix, as a [`UserName`].
    GroupName,
    check_name
);
checked_name!(
    /// The name of a host account: 1 to 32 of `A-Z a-z 0-9 _ . -`, the first a
    /// letter, digit or underscore, not all digits.
    AccountName,
    check_account
);
checked_name!(
    /// The name of a project: 1 to 64 of `A-Z a-z 0-9 _ . -`, the first a letter
    /// or digit.
    ProjectName,
    check_project
);

fn check_length(name: &str, most: usize) -> Result<(), NameError> {
    if name.is_empty() || name.len() > most {
        return Err(NameError::Length {
            name: name.to_owned(),
            length: name.len(),
            most,
        });
    }
    Ok(())
}

fn refuse(name: &str, character: char) -> NameError {
    NameError::Character {
        name: name.to_owned(),
        character,
    }
}

fn ends(name: &str) -> NameError {
    NameError::Ends {
        name: name.to_owned(),
    }
}

/// Whether `c` can be seen: no control or format character (direction overrides,
/// zero width), no private or unassigned one, no space but the plain one.
fn is_printable(c: char) -> bool {
    // The standard library's table of what a debugger may print, which leaves
    // exactly these out. A letter goes before `c`, because a mark that combines
    // is escaped at the start of a text and nowhere else.
    let text: String = ['a', c].iter().collect();
    text.escape_debug().eq(text.chars())
}

/// What a user name, a group name and a prefix may hold.
pub(crate) fn check_characters(name: &str) -> Result<(), NameError> {
    match name
        .chars()
        .find(|&c| REFUSED.contains(c) || !is_printable(c))
    {
        Some(c) => Err(refuse(name, c)),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), NameError> {
    check_length(name, MAX_NAME)?;
    check_characters(name)?;
    if name.starts_with([' ', '-', '.']) || name.ends_with(' ') {
        return Err(ends(name));
    }
    Ok(())
}

fn check_ascii(name: &str, most: usize) -> Result<(), NameError> {
    check_length(name, most)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match name.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(refuse(name, c)),
        None => Ok(()),
    }
}

fn check_account(name: &str) -> Result<(), NameError> {
    check_ascii(name, MAX_ACCOUNT)?;
    if name.starts_with(['.', '-']) {
        return Err(ends(name));
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NameError::Number {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_project(name: &str) -> Result<(), NameError> {
    check_ascii(name, MAX_PROJECT)?;
    if name.starts_with(['.', '-', '_']) {
        return Err(ends(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in [
            "alice",
            "corp:alice",
            "alice@example.org",
            "auth0|64f0",
            "Zoë Müller",
            "नमिता",
            "a.b-c_d+e=f",
            "3f9c-11",
        ] {
            assert_eq!(UserName::new(name).unwrap().as_str(), name);
            assert!(GroupName::new(name).is_ok());
        }
        for name in ["alice", "a", "_apt", "svc-1.x", "0day"] {
            assert_eq!(AccountName::new(name).unwrap().as_str(), name);
        }
        assert!(ProjectName::new("sales-2026.q1").is_ok());
    }

    #[test]
    fn names_that_would_be_read_otherwise_are_refused() {
        for name in [
            "a/b",
            "../root",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\tb",
            "a,b",
            "$HOME",
            "a'b",
            "*",
            "a?",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{a0}b",
            "\u{feff}a",
            "a\u{e000}b",
        ] {
            assert!(
                matches!(UserName::new(name), Err(NameError::Character { .. })),
                "{name:?}"
            );
        }
        for name in [" a", "a ", "-rf", ".hidden", ".."] {
            assert!(
                matches!(UserName::new(name), Err(NameError::Ends { .. })),
                "{name:?}"
            );
        }
        for name in [String::new(), "a".repeat(257)] {
            assert!(
                matches!(UserName::new(&name), Err(NameError::Length { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn account_names_are_stricter() {
        for name in ["corp:alice", "alice@x", "a b", "Zoë", "a/b"] {
            assert!(
                matches!(AccountName::new(name), Err(NameError::Character { .. })),
                "{name}"
            );
        }
        assert!(matches!(
            AccountName::new("1000"),
            Err(NameError::Number { .. })
        ));
        assert!(matches!(
            AccountName::new(".."),
            Err(NameError::Ends { .. })
        ));
        assert!(AccountName::new(&"a".repeat(33)).is_err());
        for name in ["", "_a", "..", "a/b", "-a"] {
            assert!(ProjectName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_error_escapes_what_it_shows() {
        let text = UserName::new("a\u{1b}[2Jb").unwrap_err().to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
