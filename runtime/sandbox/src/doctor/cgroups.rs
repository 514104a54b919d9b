//! Control groups: how they are mounted, who may use them, what they can limit.

use lakekeep_plan::host::{CgroupMode, HostFacts};

use super::kernel::boot_with;
use super::{Check, Status, as_root};

/// A controller, how bad its absence is, and the limit that depends on it.
const CONTROLLERS: [(&str, Status, &str); 4] = [
    (
        "memory",
        Status::Missing,
        "limits: a sandbox can use all memory of the host",
    ),
    (
        "pids",
        Status::Missing,
        "limits: a sandbox can use all process ids of the host",
    ),
    (
        "cpu",
        Status::Missing,
        "limits: a sandbox can take the time of every CPU",
    ),
    (
        "cpuset",
        Status::Degraded,
        "limits: CPUs are limited by time only, not by number",
    ),
];

pub(super) fn mode(facts: &HostFacts) -> Check {
    let name = "cgroup_mode";
    let effect = "limits: out of memory ends one process and not its whole sandbox, and a \
                  group is ended process by process";
    let unified = || boot_with(facts, "systemd.unified_cgroup_hierarchy=1");
    match facts.cgroup.mode {
        CgroupMode::V2 => Check::ok(name, "version 2"),
        CgroupMode::Hybrid => Check::degraded(
            name,
            "hybrid: controllers on version 1, a version 2 tree beside them",
            effect,
            unified(),
        ),
        CgroupMode::V1 => Check::degraded(name, "version 1", effect, unified()),
        CgroupMode::None => Check::missing(
            name,
            "not mounted",
            "limits: none for memory, CPU or processes",
            as_root(facts, "mount -t cgroup2 none /sys/fs/cgroup"),
        ),
    }
}

/// Whether this caller may make groups anywhere at all.
pub(super) fn delegation(facts: &HostFacts) -> Check {
    let name = "cgroup_delegation";
    let groups = &facts.cgroup;
    let parent = groups.parent.display();
    let usable = groups.controllers.values().any(|c| c.writable)
        || groups.unified.as_ref().is_some_and(|tree| tree.writable);
    if usable && groups.delegated {
        return Check::ok(name, format!("{parent} is the caller's"));
    }
    if usable {
        return Check::ok(name, "the whole tree is the caller's");
    }
    let effect = "limits: no group can be made, so none for memory, CPU or processes";
    Check::missing(name, "none", effect, writable_remedy(facts))
}

pub(super) fn controllers(facts: &HostFacts) -> impl Iterator<Item = Check> {
    CONTROLLERS
        .iter()
        .map(|&(name, without, effect)| controller(facts, name, without, effect))
}

fn controller(facts: &HostFacts, name: &str, without: Status, effect: &str) -> Check {
    let label = format!("cgroup_{name}");
    match facts.cgroup.controllers.get(name) {
        Some(found) if found.writable => Check::ok(&label, found.mount.display().to_string()),
        Some(found) => {
            let text = format!("{}, not writable", found.mount.display());
            Check::bad(without, &label, text, effect).with(writable_remedy(facts))
        }
        None => Check::bad(without, &label, "absent", effect).with(enabling_remedy(facts, name)),
    }
}

/// Rights: of the hierarchy for root, of a group that systemd hands over for others.
fn writable_remedy(facts: &HostFacts) -> String {
    if facts.caller.euid == 0 {
        return "mount -o remount,rw /sys/fs/cgroup \
                (in a container: podman run --security-opt unmask=/sys/fs/cgroup --cgroupns=private IMAGE)"
            .to_owned();
    }
    match facts.cgroup.mode {
        CgroupMode::V2 => "systemd-run --user --scope -p Delegate=yes -- lakekeep run …".to_owned(),
        // Version 1 cannot be delegated to a user in safety.
        _ => boot_with(facts, "systemd.unified_cgroup_hierarchy=1"),
    }
}

/// Root has what the kernel has; others have what systemd passes on to them.
fn enabling_remedy(facts: &HostFacts, controller: &str) -> String {
    if facts.caller.euid != 0 && facts.cgroup.mode == CgroupMode::V2 {
        let command = "mkdir -p /etc/systemd/system/user@.service.d \
             && printf \"[Service]\\nDelegate=cpu cpuset io memory pids\\n\" \
             > /etc/systemd/system/user@.service.d/delegate.conf \
             && systemctl daemon-reload";
        return as_root(facts, command);
    }
    boot_with(facts, &format!("cgroup_enable={controller}"))
}
