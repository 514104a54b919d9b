//! Prefixes, which keep the names of different authenticators apart.

use super::violation::Findings;
use crate::name::{GroupName, NameError, UserName, check_characters};

/// Longest prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// The prefix of one authenticator's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    own: String,
    /// Prefixes of the others that could stand at the start of a name of ours.
    foreign: Vec<String>,
}

/// Why a name from an authenticator cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the name begins with \"{0}\", the prefix of another authenticator")]
    Foreign(String),
}

impl Prefix {
    pub(crate) fn as_str(&self) -> &str {
        &self.own
    }

    pub(crate) fn user(&self, raw: &str) -> Result<UserName, PrefixError> {
        // By itself as well: an empty name with a prefix is no name.
        UserName::new(raw)?;
        Ok(UserName::new(&self.whole(raw)?)?)
    }

    pub(crate) fn group(&self, raw: &str) -> Result<GroupName, PrefixError> {
        GroupName::new(raw)?;
        Ok(GroupName::new(&self.whole(raw)?)?)
    }

    fn whole(&self, raw: &str) -> Result<String, PrefixError> {
        let whole = format!("{}{raw}", self.own);
        match self
            .foreign
            .iter()
            .find(|prefix| whole.starts_with(prefix.as_str()))
        {
            Some(prefix) => Err(PrefixError::Foreign(prefix.clone())),
            None => Ok(whole),
        }
    }
}

/// The prefixes of all authenticators that give names of one kind.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// The field and its value.
    all: Vec<(String, String)>,
}

impl Prefixes {
    /// Adds one; gives its place.
    pub(crate) fn add(&mut self, field: String, prefix: &str, found: &mut Findings) -> usize {
        check_prefix(&field, prefix, found);
        self.all.push((field, prefix.to_owned()));
        self.all.len() - 1
    }

    /// Refuses prefixes of which one begins with another: "a" + "b:x" and
    /// "ab:" + "x" would be the same name. One may be empty; its authenticator's
    /// names are then refused where they begin with another's prefix.
    pub(crate) fn check(&self, found: &mut Findings) {
        for (number, (field, prefix)) in self.all.iter().enumerate() {
            let clash = self.all[..number].iter().find(|(_, other)| {
                prefix == other
                    || (!prefix.is_empty() && other.starts_with(prefix.as_str()))
                    || (!other.is_empty() && prefix.starts_with(other.as_str()))
            });
            if let Some((other, _)) = clash {
                found.refuse(
                    field,
                    format_args!(
                        "\"{prefix}\" does not keep its names apart from those of {other}"
                    ),
                    "give each authenticator a prefix of its own, such as \"corp:\"",
                );
            }
        }
    }

    pub(crate) fn get(&self, place: usize) -> Prefix {
        let own = self.all.get(place).map_or("", |(_, own)| own).to_owned();
        let foreign = self
            .all
            .iter()
            .map(|(_, prefix)| prefix)
            .filter(|prefix| !prefix.is_empty() && own.is_empty())
            .cloned()
            .collect();
        Prefix { own, foreign }
    }
}

fn check_prefix(field: &str, prefix: &str, found: &mut Findings) {
    let remedy = "write at most 64 printable bytes, such as \"corp:\"";
    found.take(field, check_characters(prefix), remedy);
    if prefix.len() > MAX_PREFIX {
        found.refuse(field, format_args!("{} bytes", prefix.len()), remedy);
    }
    if prefix.starts_with([' ', '-', '.']) {
        found.refuse(field, "begins as no name may", remedy);
    }
}
