//! The policies: built in, and the site's.

use std::path::Path;
use std::str::FromStr;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use crate::folder::{Bounds, read_folder};
use crate::show::{quoted, shown_message};

/// The schema that policies are validated against.
pub const SCHEMA_TEXT: &str = include_str!("../../policies/schema.cedarschema");

const SCHEMA_NAME: &str = "schema.cedarschema";

/// The default policies.
const DEFAULTS: &[(&str, &str)] = &[
    (
        "administrator.cedar",
        include_str!("../../policies/administrator.cedar"),
    ),
    ("owner.cedar", include_str!("../../policies/owner.cedar")),
    (
        "contributor.cedar",
        include_str!("../../policies/contributor.cedar"),
    ),
    ("viewer.cedar", include_str!("../../policies/viewer.cedar")),
    (
        "delegation.cedar",
        include_str!("../../policies/delegation.cedar"),
    ),
];

const SITE: Bounds = Bounds {
    suffix: ".cedar",
    files: 100,
    bytes: 256 << 10,
};

/// A file of policies that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {why}; {remedy}", .place.map_or(String::new(), |(line, column)| format!(":{line}:{column}")))]
pub struct PolicyFileError {
    /// The file.
    pub file: String,
    /// Line and column, both from one, where known.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

pub(super) fn schema() -> Result<Schema, Vec<PolicyFileError>> {
    let text = File {
        name: SCHEMA_NAME,
        text: SCHEMA_TEXT,
    };
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA_TEXT)
        .map_err(|error| vec![text.wrong(&error, "correct the schema")])?;
    Ok(schema)
}

/// The default policies, checked.
pub(super) fn defaults(validator: &Validator) -> Result<PolicySet, Vec<PolicyFileError>> {
    let mut set = PolicySet::new();
    let mut errors = Vec::new();
    for (name, text) in DEFAULTS {
        add(&File { name, text }, validator, &mut set, &mut errors);
    }
    whole(set, errors)
}

/// Those of the site's folder beside `defaults`, which were checked once and for all.
pub(super) fn with_site(
    defaults: &PolicySet,
    validator: &Validator,
    site: &Path,
) -> Result<PolicySet, Vec<PolicyFileError>> {
    let mut set = defaults.clone();
    let (files, faults) = read_folder(site, SITE);
    let unread = faults.into_iter().map(|fault| PolicyFileError {
        file: fault.path.display().to_string(),
        place: None,
        why: fault.why(),
        remedy: fault.remedy().to_owned(),
    });
    let mut errors: Vec<PolicyFileError> = unread.collect();
    for (path, text) in &files {
        let name = path.display().to_string();
        add(
            &File { name: &name, text },
            validator,
            &mut set,
            &mut errors,
        );
    }
    whole(set, errors)
}

fn whole(set: PolicySet, errors: Vec<PolicyFileError>) -> Result<PolicySet, Vec<PolicyFileError>> {
    if errors.is_empty() {
        Ok(set)
    } else {
        Err(errors)
    }
}

/// A text and its name.
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn wrong(&self, error: &dyn Diagnostic, remedy: &str) -> PolicyFileError {
        let offset = error.labels().and_then(|mut labels| labels.next());
        let help = error.help().map(|help| shown_message(&help.to_string()));
        PolicyFileError {
            file: self.name.to_owned(),
            place: offset.map(|label| self.place(label.offset())),
            why: shown_message(&error.to_string()),
            remedy: help.unwrap_or_else(|| remedy.to_owned()),
        }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }

    fn plain(&self, why: String, remedy: &str) -> PolicyFileError {
        PolicyFileError {
            file: self.name.to_owned(),
            place: None,
            why,
            remedy: remedy.to_owned(),
        }
    }
}

/// Adds the policies of one file under the names that they give themselves.
fn add(
    file: &File<'_>,
    validator: &Validator,
    set: &mut PolicySet,
    errors: &mut Vec<PolicyFileError>,
) {
    let parsed = match PolicySet::from_str(file.text) {
        Ok(parsed) => parsed,
        Err(found) => {
            errors.extend(
                found
                    .iter()
                    .map(|error| file.wrong(error, "correct the policy")),
            );
            return;
        }
    };
    let before = errors.len();
    let validated = validator.validate(&parsed, ValidationMode::Strict);
    for error in validated.validation_errors() {
        errors.push(file.wrong(error, "use what the schema defines"));
    }
    if parsed.num_of_templates() > 0 {
        let why = "a template, with a slot that nothing fills".to_owned();
        errors.push(file.plain(why, "write a whole policy"));
    }
    if errors.len() > before {
        return;
    }
    for policy in parsed.policies() {
        if let Err(error) = named(file, policy, set) {
            errors.push(error);
        }
    }
}

/// Every policy has a name and a sentence, so that each decision has a reason.
fn named(file: &File<'_>, policy: &Policy, set: &mut PolicySet) -> Result<(), PolicyFileError> {
    let text = |key| policy.annotation(key).filter(|text| !text.is_empty());
    let Some(id) = text("id") else {
        let why = "a policy without a name".to_owned();
        return Err(file.plain(why, "write @id(\"…\") before the policy"));
    };
    if text("reason").is_none() {
        let why = format!("policy {} gives no reason", quoted(id));
        return Err(file.plain(
            why,
            "write @reason(\"…\"), a sentence for whoever is concerned",
        ));
    }
    set.add(policy.new_id(PolicyId::new(id))).map_err(|_| {
        let why = format!("policy {} exists already", quoted(id));
        file.plain(why, "choose another @id")
    })
}
