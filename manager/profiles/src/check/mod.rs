//! From document to profile: one function for each rule, and all faults at
//! once.

mod admin;
mod egress;
mod limits;
pub(crate) mod paths;
mod people;
pub(crate) mod quotas;
mod secrets;
pub(crate) mod volumes;

use lakekeep_policy::{Layer, Preset};

use crate::DOCUMENT_VERSION;
use crate::ceilings::Ceilings;
use crate::document::ProfileDoc;
use crate::fault::{Findings, ProfileErrors};
use crate::images::{HOST, ImageRule};
use crate::names::{NAME_RULE, ProfileName, RESERVED_PREFIX, is_variable};
use crate::profile::Profile;
use crate::quota::Quotas;
use crate::show::quoted;

/// Longest title, in bytes.
const LONGEST_TITLE: usize = 200;
/// Most entries of one list.
const LONGEST_LIST: usize = 1000;
/// The kernel's `MAX_ARG_STRLEN`, for `NAME=value` and its terminating NUL.
const LONGEST_VARIABLE: usize = 32 * 4096;

pub(crate) fn check(doc: &ProfileDoc, ceilings: &Ceilings) -> Result<Profile, ProfileErrors> {
    let mut findings = Findings::new(&doc.origin);
    let findings_ref = &mut findings;
    version(doc, findings_ref);
    let name = name(doc, findings_ref);
    title(doc, findings_ref);
    let owner = people::owner(doc, findings_ref);
    people::project(doc, findings_ref);
    let images = images(doc, findings_ref);
    let presets = presets(doc, findings_ref);
    let contributors = people::list("contributors", &doc.contributors, findings_ref);
    let viewers = people::list("viewers", &doc.viewers, findings_ref);
    quotas::contradictions(&doc.quotas, findings_ref);
    let quotas = Quotas::new(&doc.quotas, &ceilings.quotas);
    let admin = admin::check(&doc.admin, findings_ref);
    let maximum_limits = limits::check(doc, ceilings, findings_ref);
    let volumes = volumes::check(doc, findings_ref);
    env(doc, findings_ref);
    let secrets = secrets::check(doc, findings_ref);
    let egress = egress::check(doc, ceilings, findings_ref);
    let floor = floor(doc, findings_ref);
    findings.finish()?;
    // A missing name or owner is a finding, so both are here; said once more
    // rather than assumed.
    let (Some(name), Some(owner)) = (name, owner) else {
        let mut findings = Findings::new(&doc.origin);
        findings.add("name", "", "missing", "add a name and an owner");
        return Err(findings.all());
    };
    Ok(Profile {
        name,
        title: doc.title.clone().unwrap_or_default(),
        owner,
        project: doc.project.clone(),
        contributors,
        viewers,
        images,
        presets,
        quotas,
        default_limits: doc.limits.default.clone(),
        maximum_limits,
        volumes,
        env: doc.env.0.clone(),
        secrets,
        egress,
        floor,
        admin,
    })
}

/// A document of another version may mean something else by the same words.
fn version(doc: &ProfileDoc, findings: &mut Findings<'_>) {
    let remedy = format!("write version = {DOCUMENT_VERSION}");
    match doc.version {
        None => findings.add("version", "", "missing", remedy),
        Some(DOCUMENT_VERSION) => {}
        Some(version) => {
            findings.add(
                "version",
                version.to_string(),
                "this version is not known",
                remedy,
            );
        }
    }
}

fn name(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Option<ProfileName> {
    let Some(name) = &doc.name else {
        findings.add("name", "", "missing", "add name = \"…\" at the top");
        return None;
    };
    let checked = ProfileName::new(name).ok();
    if checked.is_none() {
        findings.add("name", quoted(name), "not a profile's name", NAME_RULE);
    }
    checked
}

fn title(doc: &ProfileDoc, findings: &mut Findings<'_>) {
    let Some(title) = &doc.title else { return };
    if title.chars().any(char::is_control) {
        findings.add(
            "title",
            quoted(title),
            "it holds a control character",
            "write one line of text",
        );
    }
    too_long("title", title.len(), LONGEST_TITLE, findings);
}

/// The bound of anything that can be counted in a document.
pub(crate) fn too_long(field: &str, length: usize, most: usize, findings: &mut Findings<'_>) {
    if length > most {
        findings.add(
            field,
            length.to_string(),
            "too long",
            format!("write at most {most}"),
        );
    }
}

fn images(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Vec<ImageRule> {
    if doc.images.is_empty() {
        findings.add(
            "images",
            "",
            "no image is allowed, so nothing could run",
            "add images = [\"/srv/images/python\"], or a pattern",
        );
    }
    too_long("images", doc.images.len(), LONGEST_LIST, findings);
    let mut rules: Vec<ImageRule> = Vec::new();
    for (number, text) in doc.images.iter().enumerate() {
        let field = format!("images[{number}]");
        match ImageRule::new(text) {
            Err((why, remedy)) => findings.add(&field, quoted(text), why, remedy),
            Ok(rule) if rules.contains(&rule) => {
                findings.add(&field, quoted(text), "named twice", "keep one of the two");
            }
            Ok(rule) => rules.push(rule),
        }
        if text == HOST && doc.admin.expose_host_image != Some(true) {
            findings.add(
                &field,
                quoted(text),
                "the host's own system folders are not exposed",
                "name another image, or have an administrator set admin.expose_host_image = true",
            );
        }
    }
    rules
}

fn presets(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Vec<Preset> {
    if doc.presets.is_empty() {
        findings.add(
            "presets",
            "",
            "no preset is allowed, so nothing could run",
            "add presets = [\"notebook\"]; the first is the default",
        );
    }
    each_once("presets", &doc.presets, findings);
    doc.presets.clone()
}

fn each_once<T: PartialEq + ToString>(field: &str, items: &[T], findings: &mut Findings<'_>) {
    for (number, item) in items.iter().enumerate() {
        if items[..number].contains(item) {
            let field = format!("{field}[{number}]");
            let value = quoted(&item.to_string());
            findings.add(&field, value, "named twice", "keep one of the two");
        }
    }
}

fn floor(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Vec<Layer> {
    each_once("floor.require", &doc.floor.require, findings);
    let mut layers = doc.floor.require.clone();
    layers.sort_unstable();
    layers
}

/// Values are never repeated.
fn env(doc: &ProfileDoc, findings: &mut Findings<'_>) {
    too_long("env", doc.env.0.len(), LONGEST_LIST, findings);
    for (name, value) in &doc.env.0 {
        let field = format!("env.{name}");
        if name.starts_with(RESERVED_PREFIX) {
            let why = format!("names that start with {RESERVED_PREFIX} are set by the runtime");
            findings.add(&field, "", why, "choose another name");
        } else if !is_variable(name) {
            let why = "the name is empty, or holds \"=\" or a NUL byte";
            findings.add(&field, "", why, "use letters, digits and \"_\"");
        }
        if value.contains('\0') {
            findings.add(
                &field,
                "",
                "the value holds a NUL byte",
                "remove the NUL byte",
            );
        }
        if name.len() + value.len() + "=\0".len() > LONGEST_VARIABLE {
            let why = format!("name and value are longer than {LONGEST_VARIABLE} bytes");
            findings.add(&field, "", why, "pass the value in a file of a volume");
        }
    }
}
