//! Rules for volumes.

use std::path::Path;

use lakekeep_policy::{GuestPath, MountMode, PROTECTED_TARGETS};

use super::paths::bad_host_folder;
use super::{LONGEST_LIST, too_long};
use crate::document::{ProfileDoc, VolumeDoc, VolumeOwner};
use crate::fault::Findings;
use crate::names::{NAME_RULE, is_name};
use crate::profile::Volume;
use crate::show::quoted;

/// What stands for the account in the source of a home.
pub(crate) const ACCOUNT: &str = "{account}";

/// The source of a home that names none.
const DEFAULT_HOME: &str = "/home/{account}";

pub(super) fn check(doc: &ProfileDoc, findings: &mut Findings<'_>) -> Vec<Volume> {
    too_long("volume", doc.volume.len(), LONGEST_LIST, findings);
    let mut volumes: Vec<(usize, Volume)> = Vec::new();
    for (number, volume) in doc.volume.iter().enumerate() {
        let name = name(number, volume, findings);
        let source = source(number, volume, findings);
        let target = target(number, volume, findings);
        project(number, volume, doc, findings);
        let (Some(name), Some(source), Some(target)) = (name, source, target) else {
            continue;
        };
        volumes.push((
            number,
            Volume {
                name,
                source,
                home: volume.home == Some(true),
                target,
                mode: volume.mode.unwrap_or(MountMode::ReadOnly),
                owner: volume.owner.unwrap_or_default(),
                quota: volume.quota,
                optional: volume.optional == Some(true),
            },
        ));
    }
    same_names(&volumes, findings);
    overlapping(&volumes, findings);
    volumes.into_iter().map(|(_, volume)| volume).collect()
}

fn name(number: usize, volume: &VolumeDoc, findings: &mut Findings<'_>) -> Option<String> {
    let field = format!("volume[{number}].name");
    let Some(name) = &volume.name else {
        findings.add(&field, "", "missing", "add name = \"…\"");
        return None;
    };
    if !is_name(name) {
        findings.add(&field, quoted(name), "not a volume's name", NAME_RULE);
    }
    Some(name.clone())
}

fn source(number: usize, volume: &VolumeDoc, findings: &mut Findings<'_>) -> Option<String> {
    let field = format!("volume[{number}].source");
    let home = volume.home == Some(true);
    let source = match &volume.source {
        Some(source) => source.as_str(),
        None if home => DEFAULT_HOME,
        None => {
            let remedy = "add source = \"/…\", or home = true";
            findings.add(&field, "", "missing", remedy);
            return None;
        }
    };
    if let Some((why, remedy)) = bad_host_folder(source) {
        findings.add(&field, quoted(source), why, remedy);
        return None;
    }
    let accounts = source.split('/').filter(|part| *part == ACCOUNT).count();
    let rest = source.replace(&format!("/{ACCOUNT}"), "");
    if home && accounts != 1 {
        findings.add(
            &field,
            quoted(source),
            "each account has its own home, and the path does not tell them apart",
            "write {account} once, as one whole part of the path: \"/home/{account}\"",
        );
    }
    let misplaced = (!home && accounts > 0) || rest.contains(['{', '}']);
    if misplaced && !(home && accounts != 1) {
        findings.add(
            &field,
            quoted(source),
            "only a home has {account} in its path, as one whole part",
            "add home = true, or write the path without \"{\" and \"}\"",
        );
    }
    Some(source.to_owned())
}

fn target(number: usize, volume: &VolumeDoc, findings: &mut Findings<'_>) -> Option<GuestPath> {
    let field = format!("volume[{number}].target");
    let Some(text) = &volume.target else {
        findings.add(
            &field,
            "",
            "missing",
            "add target = \"/…\", the path inside",
        );
        return None;
    };
    let target = match GuestPath::new(text.as_str()) {
        Ok(target) => target,
        Err(error) => {
            findings.add(&field, quoted(text), error.to_string(), error.remedy());
            return None;
        }
    };
    if let Some(hidden) = protected(&target) {
        findings.add(
            &field,
            quoted(text),
            format!("{hidden} belongs to the sandbox's system and cannot be replaced or hidden"),
            "choose another path, such as one beneath \"/data\"",
        );
        return None;
    }
    Some(target)
}

/// The protected path that a mount at `target` would replace, change or hide.
pub(super) fn protected(target: &GuestPath) -> Option<&'static str> {
    PROTECTED_TARGETS.iter().copied().find(|hidden| {
        target.as_path().starts_with(hidden) || Path::new(hidden).starts_with(target)
    })
}

fn project(number: usize, volume: &VolumeDoc, doc: &ProfileDoc, findings: &mut Findings<'_>) {
    if volume.owner == Some(VolumeOwner::Project) && doc.project.is_none() {
        findings.add(
            &format!("volume[{number}].owner"),
            "\"project\"",
            "the profile has no project whose identity the files could have",
            "add project = \"…\" at the top, or write owner = \"user\"",
        );
    }
}

fn same_names(volumes: &[(usize, Volume)], findings: &mut Findings<'_>) {
    for (index, (number, volume)) in volumes.iter().enumerate() {
        let earlier = volumes[..index]
            .iter()
            .find(|(_, other)| other.name == volume.name);
        if let Some((first, _)) = earlier {
            findings.add(
                &format!("volume[{number}].name"),
                quoted(&volume.name),
                format!("volume[{first}] has the same name"),
                "choose another name",
            );
        }
    }
}

/// Of two targets of which one holds the other, the order of mounting would
/// decide what is seen, and one volume's files would appear in another's tree.
fn overlapping(volumes: &[(usize, Volume)], findings: &mut Findings<'_>) {
    for (index, (number, volume)) in volumes.iter().enumerate() {
        let target = &volume.target;
        let earlier = volumes[..index].iter().find(|(_, other)| {
            target.starts_with(&other.target) || other.target.starts_with(target)
        });
        if let Some((first, other)) = earlier {
            let how = if other.target == *target {
                "has the same target"
            } else {
                "overlaps"
            };
            findings.add(
                &format!("volume[{number}].target"),
                quoted(target.as_str()),
                format!("volume[{first}] at {} {how}", quoted(other.target.as_str())),
                "choose targets of which none holds another",
            );
        }
    }
}
