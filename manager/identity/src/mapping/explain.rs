//! Every rule that was tried, and why it did not serve.

use std::fmt;

use super::error::MappingError;
use super::identity::Identity;
use super::managed::ManagedRange;
use crate::name::{GroupName, ProjectName};
use crate::principal::Principal;
use crate::show::listed;

/// The first condition of a rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another user.
    User {
        /// The pattern, quoted.
        pattern: String,
    },
    /// A member of none of them.
    Groups {
        /// The rule's groups.
        groups: Vec<GroupName>,
    },
    /// Another project, or none.
    Project {
        /// The pattern, quoted.
        pattern: String,
        /// Whether there was a project at all.
        given: bool,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::User { pattern } => write!(f, "the user is not {pattern}"),
            Mismatch::Groups { groups } => write!(f, "in none of the groups {}", listed(groups)),
            Mismatch::Project {
                pattern,
                given: true,
            } => write!(f, "the project is not {pattern}"),
            Mismatch::Project { pattern, .. } => {
                write!(f, "no project was given, and it must be {pattern}")
            }
        }
    }
}

/// One rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The rule, such as `rule 2 (staff)`.
    pub rule: String,
    /// What came of it.
    pub outcome: TrialOutcome,
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// It matched, and decides.
    Matched,
    /// It did not match.
    Mismatched(Mismatch),
    /// One before it decided.
    NotReached,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            TrialOutcome::Matched => write!(f, "{}: matched", self.rule),
            TrialOutcome::Mismatched(why) => write!(f, "{}: {why}", self.rule),
            TrialOutcome::NotReached => write!(f, "{}: not reached", self.rule),
        }
    }
}

/// How a principal is mapped, rule by rule. Making one assigns nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub(super) principal: Principal,
    pub(super) project: Option<ProjectName>,
    pub(super) trials: Vec<Trial>,
    pub(super) outcome: Result<Outcome, MappingError>,
}

/// What would come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Identity(Box<Identity>),
    /// The range has no id for the user yet.
    Unassigned {
        rule: String,
        range: ManagedRange,
    },
}

impl Explanation {
    /// Who would ask.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Every rule, in order.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The identity, if it is settled: an id of a range is only assigned when
    /// its user first asks for a sandbox.
    ///
    /// # Errors
    ///
    /// [`MappingError`] as [`super::IdentityMap::map`] would give it.
    pub fn identity(&self) -> Result<Option<&Identity>, &MappingError> {
        match &self.outcome {
            Ok(Outcome::Identity(identity)) => Ok(Some(identity)),
            Ok(Outcome::Unassigned { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.principal)?;
        if let Some(project) = &self.project {
            write!(f, " in project {project}")?;
        }
        for trial in &self.trials {
            write!(f, "\n  {trial}")?;
        }
        match &self.outcome {
            Ok(Outcome::Identity(identity)) => write!(f, "\n→ {identity}"),
            Ok(Outcome::Unassigned { rule, range }) => {
                write!(f, "\n→ the next free id of {range} by {rule}, at first use")
            }
            Err(MappingError::NoRule { .. }) => f.write_str("\n→ no rule matches: refused"),
            Err(error) => write!(f, "\n→ refused: {error}"),
        }
    }
}
