//! User namespaces, the ids that they may map, and /proc.

use lakekeep_plan::host::{HostFacts, IdExtent, SubordinateIds};

use super::kernel::newer_kernel;
use super::{Check, Surroundings, as_root};

/// What one sandbox maps.
const RANGE: u64 = 65_536;

pub(super) fn user_namespaces(facts: &HostFacts) -> Check {
    let name = "user_namespaces";
    let effect = "no sandbox: every one has a user namespace of its own";
    let switches = &facts.user_namespaces;
    if !switches.available {
        return Check::missing(
            name,
            "not built into this kernel",
            effect,
            newer_kernel(facts),
        );
    }
    if switches.max == 0 {
        let remedy = as_root(facts, "sysctl -w user.max_user_namespaces=63000");
        return Check::missing(name, "user.max_user_namespaces = 0", effect, remedy);
    }
    if facts.caller.euid != 0 && switches.unprivileged_clone_sysctl == Some(false) {
        let remedy = as_root(facts, "sysctl -w kernel.unprivileged_userns_clone=1");
        let found = "kernel.unprivileged_userns_clone = 0";
        return Check::missing(name, found, effect, remedy);
    }
    Check::ok(name, format!("up to {}", switches.max))
}

/// The namespace can be made, but has no capabilities in it: nothing can be mounted.
pub(super) fn apparmor(facts: &HostFacts, around: &Surroundings) -> Check {
    let name = "apparmor_user_namespaces";
    if !facts.user_namespaces.apparmor_restricted {
        return Check::ok(name, "not restricted");
    }
    if facts.caller.euid == 0 {
        return Check::ok(name, "restricted for others than root");
    }
    let effect = "no sandbox without root: the user namespace would have no capabilities";
    let found = "kernel.apparmor_restrict_unprivileged_userns = 1";
    Check::missing(name, found, effect, apparmor_profile(facts, around))
}

/// A profile for this one program, instead of lifting the restriction for all.
fn apparmor_profile(facts: &HostFacts, around: &Surroundings) -> String {
    let program = around.executable.as_deref().map_or_else(
        || "/usr/bin/lakekeep".to_owned(),
        |path| path.display().to_string(),
    );
    let profile = format!(
        "abi <abi/4.0>,\\nprofile lakekeep {program} flags=(unconfined) {{\\n  userns,\\n}}\\n"
    );
    let install = format!(
        "printf \"{profile}\" > /etc/apparmor.d/lakekeep \
         && apparmor_parser -r /etc/apparmor.d/lakekeep"
    );
    as_root(facts, &install)
}

pub(super) fn id_ranges(facts: &HostFacts, around: &Surroundings) -> Check {
    if facts.caller.euid == 0 {
        return ids_of_root(facts);
    }
    let name = "id_ranges";
    match &facts.subordinate {
        None => {
            let effect = "user namespace: only one id can be mapped, so the workload has the \
                          id of its init and could signal it";
            Check::degraded(name, "none granted", effect, grant(facts, around))
        }
        Some(ids) if !ids.usable() => {
            let effect = "user namespace: the granted ids cannot be mapped; the workload has \
                          the id of its init";
            let remedy = as_root(facts, "apt-get install uidmap");
            Check::degraded(name, described(ids), effect, remedy)
        }
        Some(ids) if u64::from(ids.uid_count.min(ids.gid_count)) < RANGE => {
            let effect = "user namespace: fewer ids than one sandbox maps";
            Check::degraded(name, described(ids), effect, grant(facts, around))
        }
        Some(ids) => Check::ok(name, described(ids)),
    }
}

fn ids_of_root(facts: &HostFacts) -> Check {
    let name = "id_ranges";
    let total = |map: &[IdExtent]| {
        map.iter()
            .map(|extent| u64::from(extent.count))
            .sum::<u64>()
    };
    let (uids, gids) = (total(&facts.caller.uid_map), total(&facts.caller.gid_map));
    let found = format!("{uids} user ids, {gids} group ids");
    // Ids of our own besides those of one sandbox.
    if uids.min(gids) >= 2 * RANGE {
        return Check::ok(name, found);
    }
    let effect = "user namespace: too few ids for ranges that do not overlap";
    let remedy = "start the container around this with more ids, such as: \
                  podman run --userns=auto:size=1048576 IMAGE";
    Check::degraded(name, found, effect, remedy.to_owned())
}

fn described(ids: &SubordinateIds) -> String {
    let helpers = if ids.usable() {
        "newuidmap and newgidmap present"
    } else {
        "newuidmap or newgidmap absent"
    };
    format!(
        "uid {}+{}, gid {}+{}, {helpers}",
        ids.uid_start, ids.uid_count, ids.gid_start, ids.gid_count
    )
}

/// Beyond everything granted so far: two users with the same ids would own each
/// other's sandboxes. The shell of the caller knows the name that usermod takes.
fn grant(facts: &HostFacts, around: &Surroundings) -> String {
    let first = around.free_ids;
    let last = u64::from(first) + RANGE - 1;
    let command =
        format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} $(id -un)");
    as_root(facts, &command)
}

pub(super) fn proc_visible(facts: &HostFacts) -> Check {
    let name = "proc_visible";
    if facts.proc_fully_visible {
        return Check::ok(name, "in full");
    }
    let effect = "pid namespace: a sandbox cannot have a /proc of its own";
    let remedy = "start the container around this with nothing masked, such as: \
                  podman run --security-opt unmask=ALL IMAGE \
                  (docker run --security-opt systempaths=unconfined IMAGE)";
    Check::missing(name, "masked or read-only", effect, remedy.to_owned())
}
