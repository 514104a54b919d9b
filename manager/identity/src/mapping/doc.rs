//! `[identity]`, as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[identity]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityDoc {
    /// Least user number that an identity may have; never 0.
    pub minimum_uid: u32,
    /// Least group number that an identity may have; never 0.
    pub minimum_gid: u32,
    /// The rules; the first that matches decides.
    pub rule: Vec<RuleDoc>,
}

impl Default for IdentityDoc {
    fn default() -> IdentityDoc {
        IdentityDoc {
            minimum_uid: 1000,
            minimum_gid: 1000,
            rule: Vec::new(),
        }
    }
}

/// One of `[[identity.rule]]`: conditions, all of which must hold, and exactly
/// one of `account`, `shared` and `managed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleDoc {
    /// What errors and logs call it; its number if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user: a name, or a glob whose `*` and `?` capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user: a regular expression that matches the whole name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_regex: Option<String>,
    /// Groups, of one of which the user must be a member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The project: a name, or a glob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// A host account: `$1`, `${user}` one-to-one, or with text around as a
    /// pattern. It must exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// One identity for everybody in the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedDoc>,
    /// An id for each user, out of a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedDoc>,
    /// Variables: names for engines. Templates as `account`; also `${account}`
    /// and `${project}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// `shared = { uid = …, gid = …, name = … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedDoc {
    /// The user number.
    pub uid: u32,
    /// The group number.
    pub gid: u32,
    /// The name inside.
    pub name: String,
}

/// `managed = { first = …, last = … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedDoc {
    /// The first id, for user and group alike.
    pub first: u32,
    /// The last id.
    pub last: u32,
}
