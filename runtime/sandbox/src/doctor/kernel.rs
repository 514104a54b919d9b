//! The kernel's version, its seccomp, and its security modules.

use lakekeep_plan::host::HostFacts;

use super::{Check, Status, as_root};

/// A feature that came with a version.
struct Feature {
    name: &'static str,
    major: u32,
    minor: u32,
    without: Status,
    effect: &'static str,
}

const FEATURES: [Feature; 5] = [
    Feature {
        name: "pidfd",
        major: 5,
        minor: 3,
        without: Status::Missing,
        effect: "no sandbox: processes could only be signalled by number, which may be reused",
    },
    Feature {
        name: "close_range",
        major: 5,
        minor: 9,
        without: Status::Missing,
        effect: "no sandbox: the host's descriptors could not be closed without a race",
    },
    Feature {
        name: "mount_setattr",
        major: 5,
        minor: 12,
        without: Status::Missing,
        effect: "no sandbox: a tree of mounts could not be restricted as a whole, nor its owners mapped",
    },
    Feature {
        name: "cgroup_kill",
        major: 5,
        minor: 14,
        without: Status::Degraded,
        effect: "limits: on cgroup version 2 a group is ended process by process",
    },
    Feature {
        name: "peak_accounting",
        major: 6,
        minor: 1,
        without: Status::Degraded,
        effect: "verdicts: the highest use of memory and processes is not known on version 2",
    },
];

/// What our filters answer with, and what is lost without it; the worst first.
const ACTIONS: [(&str, Status, &str); 4] = [
    (
        "errno",
        Status::Missing,
        "seccomp: a refused call could not be answered",
    ),
    (
        "kill_process",
        Status::Missing,
        "seccomp: foreign architectures could not be ended",
    ),
    (
        "log",
        Status::Degraded,
        "seccomp: refused calls could not be logged",
    ),
    (
        "user_notif",
        Status::Degraded,
        "seccomp: --explain-syscalls could not name what was refused",
    ),
];

pub(super) fn features(facts: &HostFacts) -> impl Iterator<Item = Check> {
    FEATURES.iter().map(|feature| version(facts, feature))
}

fn version(facts: &HostFacts, feature: &Feature) -> Check {
    let found = format!(
        "Linux {} ({}.{} has it)",
        facts.kernel.text, feature.major, feature.minor
    );
    if facts.kernel.at_least(feature.major, feature.minor) {
        return Check::ok(feature.name, found);
    }
    Check::bad(feature.without, feature.name, found, feature.effect).with(newer_kernel(facts))
}

pub(super) fn seccomp(facts: &HostFacts) -> Check {
    let name = "seccomp";
    let known = &facts.seccomp_actions;
    if known.is_empty() {
        let effect = "seccomp: no filter can be installed; the kernel is open to every call";
        return Check::missing(name, "absent", effect, newer_kernel(facts));
    }
    let found = known.join(" ");
    let lacking = ACTIONS
        .iter()
        .find(|(action, ..)| known.iter().all(|have| have != action));
    match lacking {
        None => Check::ok(name, found),
        Some(&(_, status, effect)) => {
            Check::bad(status, name, found, effect).with(newer_kernel(facts))
        }
    }
}

/// ABI 3 (Linux 6.2) is the first that also restricts truncation.
pub(super) fn landlock(facts: &HostFacts) -> Check {
    let name = "landlock";
    let abi = facts.landlock_abi;
    match abi {
        0 => {
            let effect = "landlock: no second layer under the mounts";
            Check::degraded(name, "absent", effect, landlock_remedy(facts))
        }
        1 | 2 => {
            let effect = "landlock: files that may not be written can be truncated";
            Check::degraded(name, format!("ABI {abi}"), effect, newer_kernel(facts))
        }
        _ => Check::ok(name, format!("ABI {abi}")),
    }
}

pub(super) fn security_modules(facts: &HostFacts) -> Check {
    let name = "security_modules";
    match &facts.lsm {
        Some(list) => Check::ok(name, list.join(",")),
        None => Check::ok(name, "not known: securityfs is not mounted"),
    }
}

/// Built in since 5.13 in most distributions, but active only if it is in the list. The
/// list replaces the kernel's own, so it must hold all that is active now: where that
/// is not known it has to be found out first.
fn landlock_remedy(facts: &HostFacts) -> String {
    if !facts.kernel.at_least(5, 13) {
        return newer_kernel(facts);
    }
    let Some(active) = &facts.lsm else {
        let mount = "mount -t securityfs none /sys/kernel/security";
        return format!("{} && lakekeep doctor", as_root(facts, mount));
    };
    // "capability" is always there and not for the list.
    let others = active
        .iter()
        .map(String::as_str)
        .filter(|name| !["capability", "landlock"].contains(name));
    let list: Vec<&str> = std::iter::once("landlock").chain(others).collect();
    boot_with(facts, &format!("lsm={}", list.join(",")))
}

/// A parameter for the next start; GRUB is what most servers have.
pub(super) fn boot_with(facts: &HostFacts, parameter: &str) -> String {
    let edit = format!(
        "sed -i \"s/^GRUB_CMDLINE_LINUX=\\\"/&{parameter} /\" /etc/default/grub && update-grub"
    );
    format!("{}  # then reboot", as_root(facts, &edit))
}

pub(super) fn newer_kernel(facts: &HostFacts) -> String {
    let package = match facts.arch.as_str() {
        "aarch64" => "linux-image-arm64",
        _ => "linux-image-amd64",
    };
    let install = as_root(facts, &format!("apt-get install {package}"));
    format!("{install}  # Ubuntu: linux-image-generic; Fedora: dnf upgrade kernel; then reboot")
}
