//! `lakekeep doctor`: which layers this host can enforce, and what would give the rest.
//!
//! [`check`] looks at the facts that the planner uses, so what it says is what a plan
//! would meet, and at some switches around them that the planner has no use for. One
//! function for each check; each remedy is a command that can be pasted.

mod cgroups;
mod egress;
mod filesystems;
mod hardening;
mod kernel;
mod memory;
mod namespaces;
mod quotas;
mod surroundings;
mod text;

use lakekeep_plan::host::HostFacts;
use serde::Serialize;

pub use egress::Capture;
pub use surroundings::Surroundings;

/// Every check, in the order in which to read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, stable: scripts may match on it.
    pub name: String,
    /// The result.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// Which layer suffers and how; empty if none does.
    pub effect: String,
    /// The command that helps; `None` if nothing needs to be done.
    pub remedy: Option<String>,
}

/// How bad it is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Sandboxes can be made; a layer is weaker than it could be.
    Degraded,
    /// A layer is missing altogether, or no sandbox can be made.
    Missing,
}

/// Checks this host.
#[must_use]
pub fn check(facts: &HostFacts) -> Report {
    check_with(facts, &Surroundings::read(facts))
}

/// The same for surroundings that are given: no I/O.
#[must_use]
pub fn check_with(facts: &HostFacts, around: &Surroundings) -> Report {
    let mut checks = Vec::new();
    checks.extend(kernel::features(facts));
    checks.push(kernel::seccomp(facts));
    checks.push(kernel::landlock(facts));
    checks.push(kernel::security_modules(facts));
    checks.push(namespaces::user_namespaces(facts));
    checks.push(namespaces::apparmor(facts, around));
    checks.push(namespaces::id_ranges(facts, around));
    checks.push(namespaces::proc_visible(facts));
    checks.push(cgroups::mode(facts));
    checks.push(cgroups::delegation(facts));
    checks.extend(cgroups::controllers(facts));
    checks.push(filesystems::overlay(facts));
    checks.push(filesystems::erofs(facts));
    checks.push(quotas::projects(facts, around));
    checks.push(egress::network(facts, around));
    checks.push(egress::relay(facts, around));
    checks.push(memory::swap(facts, around));
    checks.push(memory::same_page_merging(facts, around));
    checks.extend(hardening::switches(facts, around));
    checks.push(hardening::peers(around));
    Report { checks }
}

impl Report {
    /// The worst result of all.
    #[must_use]
    pub fn worst(&self) -> Status {
        self.checks
            .iter()
            .map(|check| check.status)
            .max()
            .unwrap_or(Status::Ok)
    }

    /// How many checks have this result.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|c| c.status == status).count()
    }
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Ok,
            found: found.into(),
            effect: String::new(),
            remedy: None,
        }
    }

    fn degraded(name: &str, found: impl Into<String>, effect: &str, remedy: String) -> Self {
        Self::bad(Status::Degraded, name, found, effect).with(remedy)
    }

    fn missing(name: &str, found: impl Into<String>, effect: &str, remedy: String) -> Self {
        Self::bad(Status::Missing, name, found, effect).with(remedy)
    }

    fn bad(status: Status, name: &str, found: impl Into<String>, effect: &str) -> Self {
        Self {
            status,
            effect: effect.to_owned(),
            ..Self::ok(name, found)
        }
    }

    fn with(mut self, remedy: String) -> Self {
        self.remedy = Some(remedy);
        self
    }
}

/// A command that needs root, as this caller has to type it.
fn as_root(facts: &HostFacts, command: &str) -> String {
    if facts.caller.euid == 0 {
        return command.to_owned();
    }
    let needs_shell = command.contains(['|', '>', '&', ';']);
    match needs_shell {
        true => format!("sudo sh -c '{}'", command.replace('\'', r"'\''")),
        false => format!("sudo {command}"),
    }
}

#[cfg(test)]
mod tests;
