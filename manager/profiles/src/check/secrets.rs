//! Rules for the names of secrets.

use lakekeep_policy::GuestPath;

use super::volumes::protected;
use super::{LONGEST_LIST, too_long};
use crate::document::{ProfileDoc, SecretDoc, SecretForm};
use crate::fault::Findings;
use crate::names::{SECRET_RULE, is_secret_name, is_variable};
use crate::profile::{Secret, SecretTarget};
use crate::show::quoted;

/// Where files of secrets may be: a private in-memory file system.
const SECRETS_FOLDER: &str = "/run/secrets/";

pub(super) fn check(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Vec<Secret> {
    too_long("secret", doc.secret.len(), LONGEST_LIST, findings);
    let mut secrets: Vec<Secret> = Vec::new();
    for (number, secret) in doc.secret.iter().enumerate() {
        let name = name(number, secret, findings);
        let target = target(number, secret, doc, findings);
        let (Some(name), Some(target)) = (name, target) else {
            continue;
        };
        if secrets.iter().any(|other| other.target == target) {
            findings.add(
                &format!("secret[{number}].target"),
                "",
                "another secret has the same target",
                "choose another target",
            );
        }
        secrets.push(Secret { name, target });
    }
    secrets
}

fn name(number: usize, secret: &SecretDoc, findings: &mut Findings<'_>) -> Option<String> {
    let field = format!("secret[{number}].name");
    let Some(name) = &secret.name else {
        findings.add(&field, "", "missing", "add name = \"…\"");
        return None;
    };
    if !is_secret_name(name) {
        findings.add(&field, quoted(name), "not a secret's name", SECRET_RULE);
    }
    Some(name.clone())
}

fn target(
    number: usize,
    secret: &SecretDoc,
    doc: &ProfileDoc,
    findings: &mut Findings<'_>,
) -> Option<SecretTarget> {
    let field = format!("secret[{number}].target");
    let form = secret.form.unwrap_or_default();
    let text = match (&secret.target, &secret.name) {
        (Some(target), _) => target.clone(),
        (None, Some(name)) if form == SecretForm::File => format!("{SECRETS_FOLDER}{name}"),
        (None, _) => {
            findings.add(&field, "", "missing", "add target = \"NAME\", the variable");
            return None;
        }
    };
    match form {
        SecretForm::Variable => variable(&field, &text, doc, findings),
        SecretForm::File => file(&field, &text, findings),
    }
}

fn variable(
    field: &str,
    name: &str,
    doc: &ProfileDoc,
    findings: &mut Findings<'_>,
) -> Option<SecretTarget> {
    if !is_variable(name) {
        let remedy = "use letters, digits and \"_\", and no name of the runtime's (LAKEKEEP_…)";
        findings.add(field, quoted(name), "not a variable's name", remedy);
        return None;
    }
    if doc.env.0.contains_key(name) {
        let why = "[env] sets the same variable";
        findings.add(field, quoted(name), why, "keep one of the two");
    }
    Some(SecretTarget::Variable(name.to_owned()))
}

fn file(field: &str, text: &str, findings: &mut Findings<'_>) -> Option<SecretTarget> {
    match GuestPath::new(text) {
        Err(error) => {
            findings.add(field, quoted(text), error.to_string(), error.remedy());
            None
        }
        Ok(path) if !text.starts_with(SECRETS_FOLDER) || protected(&path).is_some() => {
            findings.add(
                field,
                quoted(text),
                "files of secrets are only on their own in-memory file system",
                format!("choose a path beneath \"{SECRETS_FOLDER}\""),
            );
            None
        }
        Ok(path) => Some(SecretTarget::File(path)),
    }
}
