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
            "the host's whole file system, \"/\", cannot be made writable",
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

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse};
    use super::*;

    fn mount(source: &str, target: &str, mode: &str) -> String {
        format!("[[mounts]]\nsource = \"{source}\"\ntarget = \"{target}\"\nmode = \"{mode}\"\n")
    }

    #[test]
    fn mounts_are_read_only_unless_they_say_otherwise() {
        let policy = accept("[[mounts]]\nsource = \"/srv/x\"\ntarget = \"/data/x\"");
        let rule = &policy.mounts()[0];
        assert_eq!(rule.source(), Path::new("/srv/x"));
        assert_eq!(rule.target().as_str(), "/data/x");
        assert_eq!(rule.mode(), MountMode::ReadOnly);
    }

    #[test]
    fn a_folder_precedes_what_is_mounted_beneath_it() {
        let text = [("/b-c", "ro"), ("/b/c", "ro"), ("/a", "rw"), ("/b", "ro")]
            .map(|(target, mode)| mount("/srv/x", target, mode))
            .concat();
        let policy = accept(&text);
        let targets: Vec<&str> = policy
            .mounts()
            .iter()
            .map(|rule| rule.target().as_str())
            .collect();
        assert_eq!(targets, ["/a", "/b", "/b/c", "/b-c"]);
    }

    #[test]
    fn bad_sources_are_refused() {
        for (source, why) in [
            ("", "not absolute"),
            ("x.csv", "not absolute"),
            ("/srv/../etc/shadow", "whose meaning depends on links"),
            ("/a\\u0000b", "NUL byte"),
            ("/proc/sys/kernel", "configure the host's kernel"),
            ("/dev/sda", "configure the host's kernel"),
            ("//sys/./fs", "configure the host's kernel"),
        ] {
            let found = refuse(&mount(source, "/data", "ro"));
            assert!(
                found[0].starts_with("mounts[0].source") && found[0].contains(why),
                "{found:?}"
            );
        }
        accept(&mount("/dev/shm/batch", "/data", "ro"));
    }

    #[test]
    fn the_whole_host_is_never_writable() {
        let found = refuse(&mount("/", "/data", "rw"));
        assert!(found[0].starts_with("mounts[0].mode"), "{found:?}");
        assert_eq!(accept(&mount("/", "/data", "ro")).warnings().len(), 1);
    }

    #[test]
    fn bad_targets_are_refused() {
        for target in ["", "data", "/data/", "/data/../x", "/d//x", "/a\\u0000b"] {
            let found = refuse(&mount("/srv/x", target, "ro"));
            assert!(
                found[0].starts_with("mounts[0].target: the path"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn protected_targets_are_refused() {
        for protected in PROTECTED_TARGETS {
            for target in [(*protected).to_owned(), format!("{protected}/x")] {
                let found = refuse(&mount("/srv/x", &target, "ro"));
                assert!(
                    found[0].contains("belongs to the sandbox's system"),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn targets_that_would_hide_a_protected_path_are_refused() {
        for target in ["/", "/run"] {
            let found = refuse(&mount("/srv/x", target, "ro"));
            assert!(found[0].contains("it would hide"), "{found:?}");
        }
        for target in ["/run/user", "/library", "/usrdata", "/tmp/x", "/home/user"] {
            accept(&mount("/srv/x", target, "ro"));
        }
    }

    #[test]
    fn a_target_twice_is_refused() {
        let found = refuse(&(mount("/a", "/data", "ro") + &mount("/b", "/data", "ro")));
        assert_eq!(found, ["mounts[1].target: mounts[0] has the same target"]);
    }
}
