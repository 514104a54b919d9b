//! The rules in force, and what they give.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{MappingError, RuleFailure};
use super::explain::{Explanation, Outcome, Trial, TrialOutcome};
use super::identity::{Identity, IdentityKind};
use super::managed::{ManagedIdError, ManagedIds, ManagedRange};
use super::rule::{Rule, Target};
use crate::accounts::{HostAccount, HostAccounts};
use crate::config::ConfigWarning;
use crate::name::{AccountName, ProjectName};
use crate::pattern::{Captures, Template};
use crate::principal::Principal;

/// Numbers that mean nobody: the overflow ids, and -1 in 16 and in 32 bits, which
/// setuid(2) and chown(2) read as "leave it".
pub(super) const RESERVED: [u32; 3] = [65_534, 65_535, u32::MAX];
/// Longest value of a variable, in bytes.
const MAX_VALUE: usize = 1024;

/// The least numbers that an identity may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Whether an id may own a sandbox. Root never, whatever the minimum is.
pub(super) fn is_allowed(id: u32, least: u32) -> bool {
    id != 0 && id >= least && !RESERVED.contains(&id)
}

/// What the rules ask: the host's accounts, and the ids of ranges.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The host's accounts.
    pub accounts: &'a dyn HostAccounts,
    /// The ids of ranges.
    pub ids: &'a dyn ManagedIds,
}

/// The rules in force. Made by [`IdentityDoc::check`](super::IdentityDoc::check).
#[derive(Clone, Debug)]
pub struct IdentityMap {
    rules: Vec<Rule>,
    least: Least,
    warnings: Vec<ConfigWarning>,
}

/// Looks up, or assigns, a user's id of a range.
type FindId<'a> = &'a dyn Fn(&ManagedRange) -> Result<Option<u32>, ManagedIdError>;

impl IdentityMap {
    pub(super) fn new(rules: Vec<Rule>, least: Least, warnings: Vec<ConfigWarning>) -> IdentityMap {
        IdentityMap {
            rules,
            least,
            warnings,
        }
    }

    /// What is allowed and weak; to be shown at start and audited.
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Maps a principal. The first rule that matches decides, also if what it
    /// gives cannot be used. May assign an id of a range, and may ask the host's
    /// name service: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`MappingError`], which names every rule tried and why it did not match.
    pub fn map(
        &self,
        principal: &Principal,
        project: Option<&ProjectName>,
        world: World<'_>,
    ) -> Result<Identity, MappingError> {
        let find = |range: &ManagedRange| world.ids.assign(range, principal.user()).map(Some);
        let (trials, decided) = self.decide(principal, project);
        let (rule, captures) = decided.ok_or_else(|| MappingError::NoRule {
            user: principal.user().clone(),
            trials,
        })?;
        let asked = Asked {
            principal,
            project,
            captures: &captures,
        };
        match self.outcome(rule, &asked, world.accounts, &find)? {
            Outcome::Identity(identity) => Ok(*identity),
            Outcome::Unassigned { range, .. } => {
                let cause = "it assigned no id".to_owned();
                let failure = ManagedIdError::Store { range, cause };
                Err(failed(rule, principal, failure.into()))
            }
        }
    }

    /// Tells how a principal would be mapped, rule by rule; assigns nothing.
    pub fn explain(
        &self,
        principal: &Principal,
        project: Option<&ProjectName>,
        world: World<'_>,
    ) -> Explanation {
        let find = |range: &ManagedRange| world.ids.assigned(range, principal.user());
        let (trials, decided) = self.decide(principal, project);
        let outcome = match decided {
            None => Err(MappingError::NoRule {
                user: principal.user().clone(),
                trials: trials.clone(),
            }),
            Some((rule, captures)) => {
                let captures = &captures;
                let asked = Asked {
                    principal,
                    project,
                    captures,
                };
                self.outcome(rule, &asked, world.accounts, &find)
            }
        };
        Explanation {
            principal: principal.clone(),
            project: project.cloned(),
            trials,
            outcome,
        }
    }

    /// Every rule's trial, and the first that matches.
    fn decide(
        &self,
        principal: &Principal,
        project: Option<&ProjectName>,
    ) -> (Vec<Trial>, Option<(&Rule, Captures)>) {
        let mut decided = None;
        let mut trials = Vec::new();
        for rule in &self.rules {
            let outcome = match (&decided, rule.matches(principal, project)) {
                (Some(_), _) => TrialOutcome::NotReached,
                (None, Err(why)) => TrialOutcome::Mismatched(why),
                (None, Ok(captures)) => {
                    decided = Some((rule, captures));
                    TrialOutcome::Matched
                }
            };
            let rule = rule.label.to_string();
            trials.push(Trial { rule, outcome });
        }
        (trials, decided)
    }

    fn outcome(
        &self,
        rule: &Rule,
        asked: &Asked<'_>,
        accounts: &dyn HostAccounts,
        find: FindId<'_>,
    ) -> Result<Outcome, MappingError> {
        let fail = |failure| failed(rule, asked.principal, failure);
        let given = match &rule.target {
            Target::Account(template) => asked.account(template, accounts).map(Given::Owner),
            Target::Shared { uid, gid, name } => {
                let owner = Owner::of_ids(name, (*uid, *gid), IdentityKind::Shared);
                Ok(Given::Owner(owner))
            }
            Target::Managed(range) => managed(range, accounts, find),
        };
        let owner = match given.map_err(fail)? {
            Given::Owner(owner) => owner,
            Given::Unassigned(range) => {
                let rule = rule.label.to_string();
                return Ok(Outcome::Unassigned { rule, range });
            }
        };
        let identity = self.identity(rule, asked, owner).map_err(fail)?;
        Ok(Outcome::Identity(Box::new(identity)))
    }

    /// The last gate: whatever the rule gave, no identity is made of a number of
    /// the system's.
    fn identity(
        &self,
        rule: &Rule,
        asked: &Asked<'_>,
        owner: Owner,
    ) -> Result<Identity, RuleFailure> {
        for (kind, id, minimum) in [
            ("uid", owner.uid, self.least.uid),
            ("gid", owner.gid, self.least.gid),
        ] {
            if !is_allowed(id, minimum) {
                let account = owner.name.to_string();
                return Err(RuleFailure::SystemId {
                    kind,
                    id,
                    account,
                    minimum,
                });
            }
        }
        let others = owner.groups.iter().copied().filter(|gid| *gid != owner.gid);
        let (supplementary, left_out) = others.partition(|gid| is_allowed(*gid, self.least.gid));
        Ok(Identity {
            variables: asked.variables(rule, &owner.name)?,
            name: owner.name,
            uid: owner.uid,
            gid: owner.gid,
            supplementary,
            left_out,
            kind: owner.kind,
            rule: rule.label.to_string(),
        })
    }
}

fn failed(rule: &Rule, principal: &Principal, failure: RuleFailure) -> MappingError {
    MappingError::Rule {
        user: principal.user().clone(),
        rule: rule.label.to_string(),
        failure,
    }
}

/// What a rule gave.
enum Given {
    Owner(Owner),
    Unassigned(ManagedRange),
}

/// An owner before the last gate.
struct Owner {
    name: AccountName,
    uid: u32,
    gid: u32,
    groups: BTreeSet<u32>,
    kind: IdentityKind,
}

impl Owner {
    fn of_ids(name: &AccountName, (uid, gid): (u32, u32), kind: IdentityKind) -> Owner {
        Owner {
            name: name.clone(),
            uid,
            gid,
            groups: BTreeSet::new(),
            kind,
        }
    }

    fn of_account(account: HostAccount, kind: IdentityKind) -> Owner {
        Owner {
            groups: account.groups.iter().map(|group| group.gid).collect(),
            name: account.name,
            uid: account.uid,
            gid: account.gid,
            kind,
        }
    }
}

fn managed(
    range: &ManagedRange,
    accounts: &dyn HostAccounts,
    find: FindId<'_>,
) -> Result<Given, RuleFailure> {
    let Some(id) = find(range)? else {
        return Ok(Given::Unassigned(*range));
    };
    if !range.contains(id) {
        let range = *range;
        return Err(ManagedIdError::Outside { range, id }.into());
    }
    // Also an account that came after the range: its files are not the user's.
    if let Some(account) = accounts.by_uid(id)? {
        return Err(RuleFailure::Taken {
            id,
            range: range.to_string(),
            account: account.name.to_string(),
        });
    }
    let name = AccountName::new(&format!("lk{id}"));
    let name = name.map_err(|source| RuleFailure::Name { source })?;
    let owner = Owner::of_ids(&name, (id, id), IdentityKind::Managed);
    Ok(Given::Owner(owner))
}

/// Who asked for what, and what the rule's pattern captured.
struct Asked<'a> {
    principal: &'a Principal,
    project: Option<&'a ProjectName>,
    captures: &'a Captures,
}

impl Asked<'_> {
    fn fill(&self, template: &Template, values: &[&str]) -> Result<String, RuleFailure> {
        template
            .fill(self.captures, values)
            .ok_or_else(|| RuleFailure::Capture {
                template: template.as_str().to_owned(),
            })
    }

    fn account(
        &self,
        template: &Template,
        accounts: &dyn HostAccounts,
    ) -> Result<Owner, RuleFailure> {
        let text = self.fill(template, &[self.principal.user().as_str()])?;
        // Checked after the captures are in place: none of them can bring a
        // separator or a number into the name.
        let name = AccountName::new(&text).map_err(|source| RuleFailure::Name { source })?;
        let account = accounts.by_name(&name)?;
        let account = account.ok_or_else(|| RuleFailure::NoAccount {
            account: name.to_string(),
        })?;
        let kind = if template.is_one_place() {
            IdentityKind::OneToOne
        } else {
            IdentityKind::Pattern
        };
        Ok(Owner::of_account(account, kind))
    }

    fn variables(
        &self,
        rule: &Rule,
        account: &AccountName,
    ) -> Result<BTreeMap<String, String>, RuleFailure> {
        let user = self.principal.user().as_str();
        let project = self.project.map_or("", ProjectName::as_str);
        let mut variables = BTreeMap::from([
            ("LAKEKEEP_USER".to_owned(), user.to_owned()),
            ("LAKEKEEP_IDENTITY".to_owned(), account.to_string()),
        ]);
        for (name, template) in &rule.variables {
            // In the order of `VARIABLE_VALUES`.
            let value = self.fill(template, &[user, account.as_str(), project])?;
            if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
                let variable = name.clone();
                return Err(RuleFailure::Variable { variable });
            }
            variables.insert(name.clone(), value);
        }
        Ok(variables)
    }
}
