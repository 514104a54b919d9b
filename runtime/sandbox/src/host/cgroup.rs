//! Control groups, as facts.

use std::collections::BTreeMap;
use std::path::Path;

use lakekeep_plan::host::{
    Caller, CgroupFacts, CgroupMode, CgroupVersion, ControllerFacts, UnifiedFacts,
};
use lakekeep_sys::cgroup::{Hierarchy, Mode, Mount, Version};

use super::ProbeError;
use super::read::{self, LINE};

pub(super) fn facts(mountinfo: &str, caller: &Caller) -> Result<CgroupFacts, ProbeError> {
    // A kernel without control groups has no such file.
    let own = read::read("/proc/self/cgroup", LINE)?.unwrap_or_default();
    let hierarchy = Hierarchy::from_texts(mountinfo, &own)?;
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    for mount in hierarchy.mounts() {
        let writable = hierarchy.writable(mount);
        if mount.version == Version::V2 {
            unified = Some(unified_facts(mount, writable));
        }
        let names = mount.controllers.iter().cloned();
        controllers.extend(names.map(|name| (name, controller(mount, writable))));
    }
    let usable = unified.as_ref().is_some_and(|tree| tree.writable);
    Ok(CgroupFacts {
        mode: mode(hierarchy.mode()),
        controllers,
        unified,
        parent: hierarchy.parent().to_owned(),
        delegated: usable && is_delegated(hierarchy.parent(), caller),
    })
}

/// Root owns the root of the tree; whoever else may write has been given it.
fn is_delegated(parent: &Path, caller: &Caller) -> bool {
    caller.euid != 0 || caller.in_user_namespace || parent != Path::new("/")
}

fn controller(mount: &Mount, writable: bool) -> ControllerFacts {
    ControllerFacts {
        version: match mount.version {
            Version::V1 => CgroupVersion::V1,
            Version::V2 => CgroupVersion::V2,
        },
        mount: mount.point.clone(),
        writable,
        own_path: mount.own.clone(),
    }
}

fn unified_facts(mount: &Mount, writable: bool) -> UnifiedFacts {
    UnifiedFacts {
        mount: mount.point.clone(),
        writable,
        own_path: mount.own.clone(),
    }
}

fn mode(mode: Mode) -> CgroupMode {
    match mode {
        Mode::V1 => CgroupMode::V1,
        Mode::V2 => CgroupMode::V2,
        Mode::Hybrid => CgroupMode::Hybrid,
        Mode::None => CgroupMode::None,
    }
}
