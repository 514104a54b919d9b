//! Profiles: checked rules, in the order in which they are tried.

use std::collections::BTreeSet;

use crate::arch::known_name;
use crate::document::{
    ActionDocument, ConditionDocument, Document, OperatorDocument, RuleDocument, line_of_rule,
};
use crate::error::ConditionFault;
use crate::{Action, Arch, Place, ProfileError, errno_number, syscall_number};

const BASE: &str = include_str!("../profiles/base.json");
const WORKLOAD: &str = include_str!("../profiles/workload.json");
const ZYGOTE: &str = include_str!("../profiles/zygote.json");
const RELAY: (&str, &str) = ("relay", include_str!("../profiles/relay.json"));
/// What the profile of a task's zygote is called after the task's.
const ZYGOTE_SUFFIX: &str = "-zygote";
const BUILTIN: [(&str, &str); 3] = [
    ("udf", include_str!("../profiles/udf.json")),
    ("notebook", include_str!("../profiles/notebook.json")),
    ("general", include_str!("../profiles/general.json")),
];

/// A named list of rules; the first that matches a call decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    rules: Vec<Rule>,
}

/// What to do with some calls, under some conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    syscalls: Vec<&'static str>,
    arches: Vec<Arch>,
    action: Action,
    when: Vec<Condition>,
    comment: String,
}

/// A test of one argument: `(argument & mask) comparison value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    arg: u8,
    mask: u64,
    comparison: Comparison,
    value: u64,
}

/// How a masked argument is compared with a value, both unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Profile {
    /// The names of the built-in profiles, the narrowest first.
    pub const BUILTIN: [&'static str; 3] = [BUILTIN[0].0, BUILTIN[1].0, BUILTIN[2].0];

    /// The profiles of the processes from which tasks of the built-in profiles are forked, in
    /// the same order: each allows what its tasks' profile does, and the steps to a task.
    pub const ZYGOTES: [&'static str; 3] = ["udf-zygote", "notebook-zygote", "general-zygote"];

    /// The profiles of processes of our own, which no task can have.
    pub const SERVICES: [&'static str; 1] = [RELAY.0];

    /// One of the profiles that come with the crate: `udf`, `notebook`, `general`, that of
    /// their zygotes ([`Profile::ZYGOTES`]), or one of [`Profile::SERVICES`].
    pub fn builtin(name: &str) -> Result<Self, ProfileError> {
        if let Some(tasks) = name.strip_suffix(ZYGOTE_SUFFIX) {
            let document = Document::read("zygote.json", ZYGOTE)?;
            let mut rules = checked_rules("zygote.json", ZYGOTE, document.rules)?;
            rules.extend(Self::builtin(tasks)?.rules);
            return Ok(Self {
                name: name.to_owned(),
                rules,
            });
        }
        let mut known = BUILTIN.iter().chain([&RELAY]);
        let Some((_, text)) = known.find(|(known, _)| *known == name) else {
            return Err(ProfileError::UnknownProfile {
                name: name.to_owned(),
            });
        };
        Self::parse(name, text, |include| match include {
            "base.json" => Some(BASE.to_owned()),
            "workload.json" => Some(WORKLOAD.to_owned()),
            _ => None,
        })
    }

    /// Reads a profile. Its own rules come first, then those of each included document, which
    /// `resolve` finds by name and which must not include others.
    pub fn parse(
        name: &str,
        text: &str,
        resolve: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ProfileError> {
        let document = Document::read(name, text)?;
        let mut rules = checked_rules(name, text, document.rules)?;
        for include in document.include {
            let text = resolve(&include).ok_or_else(|| ProfileError::MissingInclude {
                document: name.to_owned(),
                include: include.clone(),
            })?;
            let included = Document::read(&include, &text)?;
            if let Some(nested) = included.include.into_iter().next() {
                return Err(ProfileError::NestedInclude {
                    document: include,
                    include: nested,
                });
            }
            rules.extend(checked_rules(&include, &text, included.rules)?);
        }
        Ok(Self {
            name: name.to_owned(),
            rules,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The calls that it lets through, always or for some arguments.
    pub fn allowed(&self, arch: Arch) -> BTreeSet<&'static str> {
        let mut open = BTreeSet::new();
        let mut closed = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| rule.arches.contains(&arch)) {
            for &name in rule
                .syscalls
                .iter()
                .filter(|name| syscall_number(arch, name).is_some())
            {
                if rule.action.is_allow() && !closed.contains(name) {
                    open.insert(name);
                }
                if rule.when.is_empty() {
                    closed.insert(name);
                }
            }
        }
        open
    }
}

impl Rule {
    /// The calls it speaks of.
    pub fn syscalls(&self) -> &[&'static str] {
        &self.syscalls
    }

    /// The architectures it holds on.
    pub fn arches(&self) -> &[Arch] {
        &self.arches
    }

    /// What it answers.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The conditions that must all hold.
    pub fn when(&self) -> &[Condition] {
        &self.when
    }

    /// Why it is there.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether all its conditions hold for these arguments.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        self.when.iter().all(|condition| condition.holds(args))
    }
}

impl Condition {
    /// Index of the argument, 0 to 5.
    pub fn arg(&self) -> u8 {
        self.arg
    }

    /// The bits that are compared.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// How they are compared.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// What they are compared with; it has no bit outside the mask.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Whether it holds for these arguments.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        let found = args.get(usize::from(self.arg)).copied().unwrap_or_default() & self.mask;
        match self.comparison {
            Comparison::Eq => found == self.value,
            Comparison::Ne => found != self.value,
            Comparison::Lt => found < self.value,
            Comparison::Le => found <= self.value,
            Comparison::Gt => found > self.value,
            Comparison::Ge => found >= self.value,
        }
    }
}

fn checked_rules(
    document: &str,
    text: &str,
    rules: Vec<RuleDocument>,
) -> Result<Vec<Rule>, ProfileError> {
    let check = |(index, rule): (usize, RuleDocument)| {
        let place = || Place {
            document: document.to_owned(),
            rule: index,
            line: line_of_rule(text, index),
        };
        checked_rule(&place, rule)
    };
    rules.into_iter().enumerate().map(check).collect()
}

fn checked_rule(place: &dyn Fn() -> Place, rule: RuleDocument) -> Result<Rule, ProfileError> {
    let arches = rule.arch.unwrap_or_else(|| Arch::ALL.to_vec());
    let syscalls = checked_names(place, &rule.syscalls)?;
    let somewhere = |name: &&str| {
        arches
            .iter()
            .any(|&arch| syscall_number(arch, name).is_some())
    };
    if !syscalls.iter().any(somewhere) {
        return Err(ProfileError::NoCall { place: place() });
    }
    let checked = |(index, condition)| {
        checked_condition(condition).map_err(|fault| ProfileError::Condition {
            place: place(),
            condition: index,
            fault,
        })
    };
    Ok(Rule {
        action: checked_action(place, rule.action)?,
        when: rule
            .when
            .iter()
            .enumerate()
            .map(checked)
            .collect::<Result<_, _>>()?,
        comment: rule.comment,
        syscalls,
        arches,
    })
}

fn checked_names(
    place: &dyn Fn() -> Place,
    names: &[String],
) -> Result<Vec<&'static str>, ProfileError> {
    let mut seen = BTreeSet::new();
    let mut known = Vec::with_capacity(names.len());
    for syscall in names {
        let name = known_name(syscall).ok_or_else(|| ProfileError::UnknownSyscall {
            place: place(),
            syscall: syscall.clone(),
        })?;
        if !seen.insert(name) {
            return Err(ProfileError::RepeatedSyscall {
                place: place(),
                syscall: syscall.clone(),
            });
        }
        known.push(name);
    }
    Ok(known)
}

fn checked_action(
    place: &dyn Fn() -> Place,
    action: ActionDocument,
) -> Result<Action, ProfileError> {
    match action {
        ActionDocument::Allow => Ok(Action::Allow),
        ActionDocument::Errno(errno) => match errno_number(&errno) {
            Some(number) => Ok(Action::Errno(number)),
            None => Err(ProfileError::UnknownErrno {
                place: place(),
                errno,
            }),
        },
    }
}

fn checked_condition(condition: &ConditionDocument) -> Result<Condition, ConditionFault> {
    if condition.arg > 5 {
        return Err(ConditionFault::Argument(condition.arg));
    }
    let width = match condition.bits {
        32 => u64::from(u32::MAX),
        64 => u64::MAX,
        other => return Err(ConditionFault::Width(other)),
    };
    let mask = match (condition.op, condition.mask) {
        (OperatorDocument::MaskedEq, Some(mask)) => mask.0,
        (OperatorDocument::MaskedEq, None) | (_, Some(_)) => return Err(ConditionFault::Mask),
        (_, None) => width,
    };
    let value = condition.value.0;
    if value & !(mask & width) != 0 || mask & !width != 0 {
        return Err(ConditionFault::Constant {
            value,
            mask: mask & width,
        });
    }
    Ok(Condition {
        arg: condition.arg,
        mask,
        comparison: comparison(condition.op),
        value,
    })
}

fn comparison(op: OperatorDocument) -> Comparison {
    match op {
        OperatorDocument::Eq | OperatorDocument::MaskedEq => Comparison::Eq,
        OperatorDocument::Ne => Comparison::Ne,
        OperatorDocument::Lt => Comparison::Lt,
        OperatorDocument::Le => Comparison::Le,
        OperatorDocument::Gt => Comparison::Gt,
        OperatorDocument::Ge => Comparison::Ge,
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
