//! Rules for mounts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::DEFAULT_MOUNT_MODE;
use super::places::bad_host_path;
use crate::document::MountDoc;
use crate::guest_path::GuestPath;
use crate::policy::MountRule;
use crate::preset::MountMode;
use crate::show::quoted;
use crate::violation::Findings;

/// Paths inside a sandbox that no mount may replace, hide or add to: the
/// system's own folders and the runtime's.
///
/// A mount beneath them would shadow what the other layers rely on; a mount
/// over one of their parents would hide them.
pub const PROTECTED_TARGETS: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run/lakekeep",
    "/sbin",
    "/sys",
    "/usr",
];

pub(super) fn check(docs: &[MountDoc], findings: &mut Findings<'_>) -> Vec<MountRule> {
    let mut rules = Vec::new();
    for (number, doc) in docs.iter().enumerate() {
        let mode = doc.mode.unwrap_or(DEFAULT_MOUNT_MODE);
        source(number, doc, findings);
        writable_root(number, doc, findings);
        if let Some(target) = target(number, doc, findings) {
            let source = PathBuf::from(&doc.source);
            rules.push((
                number,
                MountRule {
                    source,
                    target,
                    mode,
                },
            ));
        }
    }
    duplicates(&rules, findings);
    let mut rules: Vec<MountRule> = rules.into_iter().map(|(_, rule)| rule).collect();
    rules.sort_by(|a, b| a.target.components().cmp(b.target.components()));
    rules
}

fn source(number: usize, doc: &MountDoc, findings: &mut Findings<'_>) {
    let fault = bad_host_path(&doc.source).or_else(|| {
        is_kernel_interface(Path::new(&doc.source)).then_some((
            "files of /proc, /sys and /dev configure the host's kernel and devices",
            "copy what is needed into an ordinary file and mount that",
        ))
    });
    if let Some((why, remedy)) = fault {
        findings.add(
            &format!("mounts[{number}].source"),
            quoted(&doc.source),
            why,
            remedy,
        );
    }
}

/// Writing to the host's whole file system leaves nothing that a sandbox is for.
fn writable_root(number: usize, doc: &MountDoc, findings: &mut Findings<'_>) {
    if doc.mode == Some(MountMode::ReadWrite) && Path::new(&doc.source) == Path::new("/") {
        findings.add(
            &format!("mounts[{number}].mode"),
            "\"rw\"",
            "the host's whole file system cannot be made writable",
            "mount the folder that is needed, or use mode = \"ro\"",
        );
    }
}

fn target(number: usize, doc: &MountDoc, findings: &mut Findings<'_>) -> Option<GuestPath> {
    let field = format!("mounts[{number}].target");
    let target = match GuestPath::new(&doc.target) {
        Ok(target) => target,
        Err(error) => {
            findings.add(
                &field,
                quoted(&doc.target),
                error.to_string(),
                error.remedy(),
            );
            return None;
        }
    };
    if let Some(hidden) = hides(&target) {
        let why = if target.is_root() {
            "it would hide the sandbox's whole system".to_owned()
        } else if target.as_path().starts_with(hidden) {
            format!("{hidden} belongs to the sandbox's system")
        } else {
            format!("it would hide {hidden}")
        };
        findings.add(
            &field,
            quoted(target.as_str()),
            why,
            "choose another path, such as one beneath \"/data\"",
        );
    }
    Some(target)
}

/// The protected path that a mount at `target` would replace, change or hide.
fn hides(target: &GuestPath) -> Option<&'static str> {
    PROTECTED_TARGETS.iter().copied().find(|hidden| {
        target.as_path().starts_with(hidden) || Path::new(hidden).starts_with(target)
    })
}

fn duplicates(rules: &[(usize, MountRule)], findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<&GuestPath, usize> = BTreeMap::new();
    for (number, rule) in rules {
        if let Some(first) = seen.get(&rule.target) {
            findings.add(
                &format!("mounts[{number}].target"),
                quoted(rule.target.as_str()),
                format!("mounts[{first}] has the same target"),
                "keep one of the two",
            );
        } else {
            seen.insert(&rule.target, *number);
        }
    }
}

/// Whether a path lies in a file system that is an interface of the kernel.
/// `/dev/shm` is ordinary memory.
pub(super) fn is_kernel_interface(path: &Path) -> bool {
    let shared_memory = path.starts_with("/dev/shm") && path != Path::new("/dev/shm");
    let kernel = ["/proc", "/sys", "/dev"];
    !shared_memory && kernel.iter().any(|top| path.starts_with(top))
}
