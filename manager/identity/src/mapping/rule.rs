//! A rule that was checked, and whether it matches.

use std::fmt;

use super::explain::Mismatch;
use super::managed::ManagedRange;
use crate::name::{AccountName, GroupName, ProjectName};
use crate::pattern::{Captures, Pattern, Template};
use crate::principal::Principal;

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) label: Label,
    /// Everybody if there is none written.
    pub(super) user: Pattern,
    pub(super) groups: Vec<GroupName>,
    pub(super) project: Option<Pattern>,
    pub(super) target: Target,
    pub(super) variables: Vec<(String, Template)>,
}

/// How a rule is called: its number, counted from one, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) number: usize,
    pub(super) name: Option<String>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "rule {} ({name})", self.number),
            None => write!(f, "rule {}", self.number),
        }
    }
}

/// Whom a rule gives.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Account(Template),
    Shared {
        uid: u32,
        gid: u32,
        name: AccountName,
    },
    Managed(ManagedRange),
}

impl Rule {
    /// What the user pattern captured, or the first condition that does not hold.
    pub(super) fn matches(
        &self,
        principal: &Principal,
        project: Option<&ProjectName>,
    ) -> Result<Captures, Mismatch> {
        let captures = self.user.captures(principal.user().as_str());
        let captures = captures.ok_or_else(|| Mismatch::User {
            pattern: self.user.to_string(),
        })?;
        let member = |group: &GroupName| principal.groups().contains(group);
        if !self.groups.is_empty() && !self.groups.iter().any(member) {
            let groups = self.groups.clone();
            return Err(Mismatch::Groups { groups });
        }
        if let Some(pattern) = &self.project
            && !project.is_some_and(|project| pattern.matches(project.as_str()))
        {
            return Err(Mismatch::Project {
                pattern: pattern.to_string(),
                given: project.is_some(),
            });
        }
        Ok(captures)
    }
}
