//! From document to policy: one function for each rule, and all violations at
//! once.

mod egress;
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
    let egress = egress::check(&doc, seccomp, &mut findings);
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
        egress,
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

/// Shorthands of the tests of the rules.
#[cfg(test)]
mod testing {
    use super::*;

    /// The policy of the TOML `body`, which must be valid.
    pub(super) fn accept(body: &str) -> Policy {
        let doc = PolicyDoc::from_toml("t", &format!("version = 1\n{body}")).unwrap();
        Policy::check(doc).unwrap()
    }

    /// The violations of the TOML `body` as `field: why`; there must be some.
    pub(super) fn refuse(body: &str) -> Vec<String> {
        let doc = PolicyDoc::from_toml("t", &format!("version = 1\n{body}")).unwrap();
        refuse_doc(doc)
    }

    pub(super) fn refuse_doc(doc: PolicyDoc) -> Vec<String> {
        let errors = Policy::check(doc).unwrap_err();
        for violation in errors.violations() {
            assert!(!violation.why().is_empty() && !violation.remedy().is_empty());
        }
        errors
            .violations()
            .iter()
            .map(|violation| format!("{}: {}", violation.field(), violation.why()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{accept, refuse, refuse_doc};
    use super::*;
    use crate::preset::ProcView;

    #[test]
    fn an_empty_document_is_the_general_preset() {
        let policy = Policy::check(PolicyDoc::default()).unwrap();
        assert_eq!(policy.preset(), Preset::General);
        assert_eq!(policy.limits(), &Preset::General.limits());
        assert_eq!(policy.workdir().as_str(), "/home/user");
        assert!(policy.landlock() && policy.env().is_empty() && policy.mounts().is_empty());
        assert_eq!(policy.warnings(), []);
    }

    #[test]
    fn presets_bring_their_profile_and_view_of_proc() {
        for preset in Preset::ALL {
            let policy = accept(&format!("preset = \"{preset}\""));
            assert_eq!(policy.seccomp_profile(), preset.as_str());
            assert_eq!(policy.proc_view(), preset.proc_view());
        }
        assert_eq!(accept("preset = \"udf\"").proc_view(), ProcView::Pids);
    }

    #[test]
    fn another_version_is_refused() {
        let doc = PolicyDoc {
            version: Some(2),
            ..PolicyDoc::default()
        };
        assert_eq!(refuse_doc(doc), ["version: this version is not known"]);
    }

    #[test]
    fn an_unknown_profile_is_refused() {
        assert_eq!(
            refuse("seccomp.profile = \"none\""),
            ["seccomp.profile: not a seccomp profile"]
        );
        assert_eq!(accept("seccomp.profile = \"udf\"").seccomp_profile(), "udf");
    }

    #[test]
    fn all_violations_are_reported_together() {
        let found = refuse(
            "image = \"x\"\nworkdir = \"y\"\n[limits]\npids = 0\nmemory = 1\nscratch_size = 1",
        );
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
