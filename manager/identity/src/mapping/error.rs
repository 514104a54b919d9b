//! Why a principal has no identity.

use super::explain::Trial;
use super::managed::ManagedIdError;
use crate::accounts::AccountError;
use crate::name::{NameError, UserName};
use crate::show::quoted;

/// Why a principal has no identity, and so gets no sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// No rule matches.
    #[error("{user} has no identity here: {}; an administrator can add an [[identity.rule]]", tried(.trials))]
    NoRule {
        /// The user.
        user: UserName,
        /// Each rule, and why it does not match.
        trials: Vec<Trial>,
    },
    /// A rule matches, and what it gives cannot be used. The first rule that
    /// matches decides, so no other is tried.
    #[error("{user} has no identity here: {rule} matches, but {failure}")]
    Rule {
        /// The user.
        user: UserName,
        /// The rule.
        rule: String,
        /// Why it gives nothing.
        failure: RuleFailure,
    },
}

fn tried(trials: &[Trial]) -> String {
    if trials.is_empty() {
        return "there is no rule".to_owned();
    }
    let texts: Vec<String> = trials.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Why a rule that matches gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFailure {
    /// A group of the pattern that took no part in the match.
    #[error("its template {} uses a group that captured nothing; make the group match always", quoted(.template))]
    Capture {
        /// The template.
        template: String,
    },
    /// The result is no account's name.
    #[error("its account is not one: {source}; change the rule's pattern or its account")]
    Name {
        /// What is wrong.
        source: NameError,
    },
    /// The result is no variable's value.
    #[error(
        "its variable {variable} would not be printable text of at most 1024 bytes; change the rule"
    )]
    Variable {
        /// The variable.
        variable: String,
    },
    /// No such account.
    #[error("this host has no account {}; create it, or change the rule", quoted(.account))]
    NoAccount {
        /// The account.
        account: String,
    },
    /// The account cannot be looked up.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Root, nobody, or an account of the system.
    #[error("the {kind} {id} of {} is one of the system's (below {minimum}, or reserved) and never owns a sandbox; map to another account", quoted(.account))]
    SystemId {
        /// `uid` or `gid`.
        kind: &'static str,
        /// The number.
        id: u32,
        /// The account.
        account: String,
        /// The least number that is allowed.
        minimum: u32,
    },
    /// The range gives none.
    #[error(transparent)]
    Managed(#[from] ManagedIdError),
    /// The range's id belongs to a host account.
    #[error("the id {id} of the range {range} belongs to the host account {}; give the range ids that no account has", quoted(.account))]
    Taken {
        /// The id.
        id: u32,
        /// The range.
        range: String,
        /// Whose it is.
        account: String,
    },
}
