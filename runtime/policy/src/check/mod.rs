//! From document to policy: one function for each rule, and all violations at
//! once.

mod env;
mod floor;
mod limits;
mod mounts;
mod places;

use crate::DOCUMENT_VERSION;
use crate::document::PolicyDoc;
use crate::names::UnknownName;
use crate::policy::Policy;
use crate::preset::{MountMode, NetworkMode, Preset, SeccompProfile};
use crate::show::quoted;
use crate::violation::{Findings, PolicyErrors};

pub use mounts::PROTECTED_TARGETS;

pub(crate) fn check(doc: PolicyDoc) -> Result<Policy, PolicyErrors> {
    let mut findings = Findings::new(&doc.origin);
    version(&doc, &mut findings);
    let preset = doc.preset.unwrap_or(Preset::General);
    let image = places::image(&doc, &mut findings);
    let workdir = places::workdir(&doc, &mut findings);
    let limits = limits::check(&doc.limits, preset, &mut findings);
    let mounts = mounts::check(&doc.mounts, &mut findings);
    env::check(&doc.env, &mut findings);
    let seccomp = seccomp(&doc, preset, &mut findings);
    let landlock = doc.landlock.enabled.unwrap_or(true);
    let floor = floor::check(&doc.floor, &mut findings);
    floor::contradictions(&floor, landlock, &limits, &mut findings);
    findings.finish()?;
    Ok(Policy {
        preset,
        image,
        workdir,
        limits,
        mounts,
        env: doc.env.0,
        network: doc.network.mode.unwrap_or(NetworkMode::None),
        seccomp,
        proc_view: doc.proc.view.unwrap_or(preset.proc_view()),
        landlock,
        floor,
    })
}

/// A document of another version may mean something else by the same words.
fn version(doc: &PolicyDoc, findings: &mut Findings<'_>) {
    if let Some(version) = doc.version.filter(|version| *version != DOCUMENT_VERSION) {
        findings.add(
            "version",
            version.to_string(),
            "this version is not known",
            format!("write version = {DOCUMENT_VERSION}"),
        );
    }
}

fn seccomp(doc: &PolicyDoc, preset: Preset, findings: &mut Findings<'_>) -> SeccompProfile {
    let usual = preset.seccomp_profile();
    match &doc.seccomp.profile {
        None => usual,
        Some(name) => name.parse().unwrap_or_else(|error| {
            unknown("seccomp.profile", &error, findings);
            usual
        }),
    }
}

fn unknown(field: &str, error: &UnknownName, findings: &mut Findings<'_>) {
    findings.add(
        field,
        quoted(error.given()),
        format!("not a {}", error.what()),
        error.remedy(),
    );
}

/// The mode of a mount that names none.
const DEFAULT_MOUNT_MODE: MountMode = MountMode::ReadOnly;
