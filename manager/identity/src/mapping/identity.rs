//! Whom a principal is mapped to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::name::AccountName;

/// How an identity came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityKind {
    /// The host account that the user's name gives.
    OneToOne,
    /// A host account whose name is made from parts of the user's.
    Pattern,
    /// One for everybody in a project.
    Shared,
    /// An id of a range.
    Managed,
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            IdentityKind::OneToOne => "one-to-one",
            IdentityKind::Pattern => "pattern",
            IdentityKind::Shared => "shared",
            IdentityKind::Managed => "managed",
        })
    }
}

/// Whom a principal is mapped to: the owner on disk, and names for engines. One
/// that exists is neither root nor below the least numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(super) name: AccountName,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) supplementary: BTreeSet<u32>,
    pub(super) left_out: BTreeSet<u32>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) kind: IdentityKind,
    pub(super) rule: String,
}

impl Identity {
    /// The name inside.
    pub fn name(&self) -> &AccountName {
        &self.name
    }

    /// The owner on disk.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group on disk.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Other groups, without the primary one.
    pub fn supplementary(&self) -> &BTreeSet<u32> {
        &self.supplementary
    }

    /// Groups that the host account has, and the identity not: those below the
    /// least number, such as `docker` or `disk`, which are rights over the host.
    pub fn left_out(&self) -> &BTreeSet<u32> {
        &self.left_out
    }

    /// Names for engines, by variable. `LAKEKEEP_USER` is the principal's user,
    /// `LAKEKEEP_IDENTITY` this name.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// How it came about.
    pub fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// The rule that decided, such as `rule 2 (staff)`.
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            name,
            uid,
            gid,
            kind,
            rule,
            ..
        } = self;
        write!(f, "{name} (uid {uid}, gid {gid}), {kind} by {rule}")
    }
}
