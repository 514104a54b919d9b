//! From `[identity]` as written to the rules in force.

use std::collections::BTreeSet;

use super::doc::{IdentityDoc, ManagedDoc, RuleDoc, SharedDoc};
use super::managed::ManagedRange;
use super::map::{IdentityMap, Least};
use super::rule::{Label, Rule, Target};
use crate::config::{ConfigErrors, ConfigWarning, Findings};
use crate::name::{AccountName, GroupName};
use crate::pattern::{Pattern, Template};

/// Most rules, and most groups and variables of one.
const MAX_RULES: usize = 1024;
const MAX_ENTRIES: usize = 256;
/// Longest name of a rule, in bytes.
const MAX_LABEL: usize = 64;
/// Below this, numbers are the system's on every distribution.
const USUAL_MINIMUM: u32 = 1000;
/// What every account template may use; variables also what follows.
const ACCOUNT_VALUES: [&str; 1] = ["user"];
/// The values of a variable's template, in the order in which they are filled.
pub(super) const VARIABLE_VALUES: [&str; 3] = ["user", "account", "project"];

impl IdentityDoc {
    /// Checks all rules; fields are named from `identity.` on.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every field that was refused.
    pub fn check(&self) -> Result<IdentityMap, ConfigErrors> {
        let mut found = Findings::default();
        let least = self.least(&mut found);
        if self.rule.len() > MAX_RULES {
            let remedy = "write at most 1024; a pattern serves many users";
            found.refuse("identity.rule", self.rule.len(), remedy);
        }
        let mut rules = Vec::new();
        for (number, doc) in self.rule.iter().enumerate() {
            let mut one = RuleCheck {
                at: format!("identity.rule[{number}]"),
                doc,
                least,
                found: &mut found,
            };
            rules.push(one.rule(number + 1));
        }
        check_labels(&self.rule, &mut found);
        check_ranges(&rules, &mut found);
        let rules = rules.into_iter().collect();
        let (rules, warnings) = found.finish(rules)?;
        Ok(IdentityMap::new(rules, least, warnings))
    }

    fn least(&self, found: &mut Findings) -> Least {
        let remedy = "write 1 or more, and 1000 if nothing speaks against it";
        for (field, value) in [
            ("identity.minimum_uid", self.minimum_uid),
            ("identity.minimum_gid", self.minimum_gid),
        ] {
            if value == 0 {
                found.refuse(field, "0, which is root", remedy);
            }
        }
        if self.minimum_uid < USUAL_MINIMUM {
            let minimum = self.minimum_uid;
            found.warn(ConfigWarning::LowMinimumUid { minimum });
        }
        Least {
            uid: self.minimum_uid,
            gid: self.minimum_gid,
        }
    }
}

/// Two rules of one name could not be told apart in an error.
fn check_labels(rules: &[RuleDoc], found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (number, name) in rules.iter().enumerate() {
        if let Some(name) = &name.name
            && !seen.insert(name)
        {
            let field = format!("identity.rule[{number}].name");
            found.refuse(&field, "the name of a rule before", "give each its own");
        }
    }
}

/// Ranges are equal or apart, and hold no shared identity: else two users would
/// own each other's files.
fn check_ranges(rules: &[Option<Rule>], found: &mut Findings) {
    let targets: Vec<(usize, &Target)> = (rules.iter().enumerate())
        .filter_map(|(number, rule)| Some((number, &rule.as_ref()?.target)))
        .collect();
    for (place, (number, target)) in targets.iter().enumerate() {
        let Target::Managed(range) = target else {
            continue;
        };
        let field = format!("identity.rule[{number}].managed");
        let others = targets
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place);
        for (_, (other, target)) in others {
            let clash = match target {
                Target::Managed(second) => range != second && range.overlaps(second),
                Target::Shared { uid, gid, .. } => range.contains(*uid) || range.contains(*gid),
                Target::Account(_) => false,
            };
            if clash {
                let cause = format!("its ids are also those of identity.rule[{other}]");
                found.refuse(&field, cause, "keep the ids of rules apart");
            }
        }
    }
}

/// The check of one rule.
struct RuleCheck<'a> {
    at: String,
    doc: &'a RuleDoc,
    least: Least,
    found: &'a mut Findings,
}

impl RuleCheck<'_> {
    fn rule(&mut self, number: usize) -> Option<Rule> {
        let label = self.label(number);
        let user = self.user();
        let groups = self.groups();
        let project = match &self.doc.project {
            Some(text) => Some(self.pattern("project", Pattern::glob(text))?),
            None => None,
        };
        let user = user?;
        let target = self.target(&user);
        let variables = self.variables(&user);
        Some(Rule {
            label,
            user,
            groups: groups?,
            project,
            target: target?,
            variables: variables?,
        })
    }

    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    fn refuse(&mut self, name: &str, cause: &str, remedy: &str) {
        let field = self.field(name);
        self.found.refuse(&field, cause, remedy);
    }

    fn label(&mut self, number: usize) -> Label {
        let name = self.doc.name.clone();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        if let Some(name) = &name
            && (name.is_empty() || name.len() > MAX_LABEL || !name.chars().all(plain))
        {
            let remedy = "write 1 to 64 letters, digits, spaces and -_.";
            self.refuse("name", "not a name of a rule", remedy);
        }
        Label { number, name }
    }

    fn pattern<E: std::fmt::Display>(
        &mut self,
        name: &str,
        pattern: Result<Pattern, E>,
    ) -> Option<Pattern> {
        let field = self.field(name);
        let remedy = "correct the pattern; it matches the whole name";
        self.found.take(&field, pattern, remedy)
    }

    fn user(&mut self) -> Option<Pattern> {
        match (&self.doc.user, &self.doc.user_regex) {
            (Some(_), Some(_)) => {
                self.refuse("user_regex", "beside user", "write one of them");
                None
            }
            (Some(text), None) => self.pattern("user", Pattern::glob(text)),
            (None, Some(text)) => self.pattern("user_regex", Pattern::regex(text)),
            (None, None) if self.doc.groups.is_empty() && self.doc.project.is_none() => {
                let remedy =
                    "write user, user_regex, groups or project; user = \"*\" means everybody";
                self.refuse("user", "a rule without a condition", remedy);
                None
            }
            (None, None) => self.pattern("user", Pattern::glob("*")),
        }
    }

    fn groups(&mut self) -> Option<Vec<GroupName>> {
        if self.doc.groups.len() > MAX_ENTRIES {
            self.refuse("groups", "too many", "write at most 256");
        }
        let mut groups = Vec::new();
        for (number, name) in self.doc.groups.iter().enumerate() {
            let field = self.field(&format!("groups[{number}]"));
            let remedy = "write a group with its authenticator's prefix";
            groups.push(self.found.take(&field, GroupName::new(name), remedy));
        }
        groups.into_iter().collect()
    }

    fn target(&mut self, user: &Pattern) -> Option<Target> {
        let doc = self.doc;
        match (&doc.account, &doc.shared, &doc.managed) {
            (Some(account), None, None) => self.account(account, user),
            (None, Some(shared), None) => self.shared(shared),
            (None, None, Some(managed)) => self.managed(managed),
            _ => {
                let remedy = "write account, shared or managed";
                let at = self.at.clone();
                self.found.refuse(&at, "not exactly one identity", remedy);
                None
            }
        }
    }

    fn account(&mut self, text: &str, user: &Pattern) -> Option<Target> {
        let field = self.field("account");
        let remedy = "write a host account, such as \"$1\" or \"${user}\"";
        let template = Template::parse(text, user, &ACCOUNT_VALUES);
        let template = self.found.take(&field, template, remedy)?;
        Some(Target::Account(template))
    }

    fn shared(&mut self, doc: &SharedDoc) -> Option<Target> {
        if self.doc.project.is_none() {
            let remedy = "add project: everybody whom the rule matches shares all files";
            self.refuse("shared", "without a project", remedy);
        }
        self.id("shared.uid", doc.uid, self.least.uid);
        self.id("shared.gid", doc.gid, self.least.gid);
        let field = self.field("shared.name");
        let remedy = "write a name as of a host account";
        let name = self
            .found
            .take(&field, AccountName::new(&doc.name), remedy)?;
        Some(Target::Shared {
            uid: doc.uid,
            gid: doc.gid,
            name,
        })
    }

    fn managed(&mut self, doc: &ManagedDoc) -> Option<Target> {
        let least = self.least.uid.max(self.least.gid);
        self.id("managed.first", doc.first, least);
        self.id("managed.last", doc.last, least);
        if doc.first > doc.last {
            self.refuse("managed.last", "before the first", "write the larger one");
        }
        let range = ManagedRange::new(doc.first, doc.last);
        if super::map::RESERVED.iter().any(|id| range.contains(*id)) {
            let remedy = "leave out 65534, 65535 and 4294967295, which mean nobody";
            self.refuse("managed", "it holds a reserved id", remedy);
        }
        Some(Target::Managed(range))
    }

    fn id(&mut self, name: &str, id: u32, least: u32) {
        if !super::map::is_allowed(id, least) {
            let remedy = format!("write at least {least}, and not 65534, 65535 or 4294967295");
            let field = self.field(name);
            self.found.refuse(&field, id, &remedy);
        }
    }

    fn variables(&mut self, user: &Pattern) -> Option<Vec<(String, Template)>> {
        if self.doc.variables.len() > MAX_ENTRIES {
            self.refuse("variables", "too many", "write at most 256");
        }
        let mut variables = Vec::new();
        for (name, text) in &self.doc.variables {
            let field = self.field(&format!("variables.{}", crate::show::quoted(name)));
            let remedy = "write capital letters, digits and _, not beginning with LAKEKEEP_ or LD_";
            self.found.take(&field, check_variable(name), remedy);
            let remedy = "write text with $1, ${user}, ${account} or ${project}";
            let values = match self.doc.project {
                Some(_) => &VARIABLE_VALUES[..],
                None => &VARIABLE_VALUES[..2],
            };
            let template = Template::parse(text, user, values);
            let template = self.found.take(&field, template, remedy);
            variables.push(template.map(|template| (name.clone(), template)));
        }
        variables.into_iter().collect()
    }
}

/// Our own variables are not the rules' to set, nor those that choose the code
/// of every program.
fn check_variable(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        return Err("not a variable's name");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("begins with a digit");
    }
    if name.starts_with("LAKEKEEP_") || name.starts_with("LD_") {
        return Err("not the rules' to set");
    }
    Ok(())
}
