//! Names of hosts, in the one form in which they are compared.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes (RFC 1035, 2.3.4, without the root's dot).
pub const MAX_NAME_BYTES: usize = 253;
/// Longest label, in bytes (RFC 1035, 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// The name of a host: lower case, A-labels only, no dot at the end, never an address.
///
/// Two names that mean one host in the DNS are equal here, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// Why a text is not the name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but the root's dot.
    #[error("there is no name; write one, such as pypi.example")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes; a name has at most 253")]
    TooLong(usize),
    /// Two dots in a row, or one at the start.
    #[error("the name has an empty label; write one dot between labels, and none before them")]
    EmptyLabel,
    /// A label of more than [`MAX_LABEL_BYTES`].
    #[error("a label has {0} bytes; a label has at most 63")]
    LabelTooLong(usize),
    /// A label that begins or ends with a hyphen (RFC 1123, 2.1).
    #[error("a label begins or ends with a hyphen; no host has such a name")]
    Hyphen,
    /// A letter beyond ASCII.
    #[error(
        "{0:?} is not ASCII; write the name as the DNS has it, with labels that begin with xn--"
    )]
    NotAscii(char),
    /// An ASCII character that is in no host's name.
    #[error("{0:?} is in no host's name; write letters, digits, hyphens and dots")]
    Character(char),
    /// The last label is a number, decimal or hexadecimal: resolvers and libraries read
    /// such a "name" as an address (inet_aton(3); WHATWG URL, "ends in a number").
    #[error(
        "its last label is a number, so programs read it as an address; \
         write an address as four decimal numbers without leading zeros, such as 192.0.2.1"
    )]
    Numeric,
}

impl HostName {
    /// Reads a name as a user or a peer wrote it: either case, with or without the root's
    /// dot at the end.
    ///
    /// # Errors
    ///
    /// [`NameError`] for what can be no host's name.
    pub fn parse(text: &str) -> Result<HostName, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(name.len()));
        }
        name.split('.').try_for_each(check_label)?;
        let last = name.rsplit('.').next().unwrap_or(name);
        if is_number(last) {
            return Err(NameError::Numeric);
        }
        Ok(HostName(name.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name, in lower case and without a dot at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names above this one, nearest first: `b.example` and `example` of `a.b.example`.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, above)| above)
        })
        .skip(1)
    }
}

/// Looked up by text: both hash and compare as the text does.
impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<HostName, NameError> {
        HostName::parse(text)
    }
}

/// Underscores are in no host's name by RFC 952, and in many that the DNS answers.
fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if let Some(c) = label.chars().find(|c| !c.is_ascii()) {
        return Err(NameError::NotAscii(c));
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if let Some(c) = label.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character(c));
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(NameError::LabelTooLong(label.len()));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(())
}

/// A label that inet_aton(3) takes for a number.
fn is_number(label: &str) -> bool {
    if label.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let hexadecimal = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
