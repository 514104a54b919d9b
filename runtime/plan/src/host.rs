//! What the planner knows about the host: plain data, read by someone else.
//!
//! The planner performs no I/O. `lakekeep_sandbox::host::probe` fills these facts
//! from the kernel; golden tests use [`HostFacts::example_root`] and
//! [`HostFacts::example_rootless`]. A fact is what the kernel said, never what was
//! concluded from it: conclusions are the methods here, the planner and the doctor.

mod example;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that decides what can be enforced on this host, for this caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The running kernel.
    pub kernel: KernelRelease,
    /// Machine name as uname(2) gives it: `x86_64`, `aarch64`.
    pub arch: String,
    /// Who asks.
    pub caller: Caller,
    /// Whether, and for whom, user namespaces can be made.
    pub user_namespaces: UserNamespaceFacts,
    /// Ranges of a caller without root; `None` for root, or where none are granted.
    pub subordinate: Option<SubordinateIds>,
    /// Control groups.
    pub cgroup: CgroupFacts,
    /// Landlock's ABI version; 0 where the kernel has none, or has it switched off.
    pub landlock_abi: u32,
    /// What a seccomp filter may return here; empty where the kernel has no seccomp.
    pub seccomp_actions: Vec<String>,
    /// CPUs that are online.
    pub online_cpus: u32,
    /// Usable memory, in bytes.
    pub memory_total: u64,
    /// Swap, in bytes.
    pub swap_total: u64,
    /// The kernel's highest process id, plus one.
    pub pid_max: u32,
    /// Active security modules; `None` where securityfs is not mounted.
    pub lsm: Option<Vec<String>>,
    /// Filesystem types registered now (a module can add one later).
    pub filesystems: Filesystems,
    /// A fresh proc can be mounted in a user namespace: this /proc hides nothing.
    pub proc_fully_visible: bool,
}

/// The kernel's version, and the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRelease {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The release as uname(2) gives it.
    pub text: String,
}

/// The identity and the id maps of the process that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Effective user id, as seen in the caller's own user namespace.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// The user id map is not the identity: "root" here is not the host's root.
    pub in_user_namespace: bool,
    /// What the caller's user ids are one level up; a sandbox's range must lie in it.
    pub uid_map: Vec<IdExtent>,
    /// The same for groups.
    pub gid_map: Vec<IdExtent>,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdExtent {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id that it stands for outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The switches that allow or refuse user namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespaceFacts {
    /// The kernel was built with them.
    pub available: bool,
    /// `user.max_user_namespaces`; 0 switches them off.
    pub max: u64,
    /// `kernel.apparmor_restrict_unprivileged_userns` is on (Ubuntu 23.10 and later).
    pub apparmor_restricted: bool,
    /// `kernel.unprivileged_userns_clone`; `None` where the kernel has no such switch.
    pub unprivileged_clone_sysctl: Option<bool>,
}

/// The id ranges that /etc/subuid and /etc/subgid grant the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubordinateIds {
    /// First user id.
    pub uid_start: u32,
    /// How many user ids.
    pub uid_count: u32,
    /// First group id.
    pub gid_start: u32,
    /// How many group ids.
    pub gid_count: u32,
    /// The privileged helper that writes the user map; `None` where there is none.
    pub newuidmap: Option<PathBuf>,
    /// The same for groups.
    pub newgidmap: Option<PathBuf>,
}

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupMode {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Controllers on version 1, and a version 2 tree beside them.
    Hybrid,
    /// Not mounted.
    None,
}

/// The version of one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Control groups, as the caller can use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupFacts {
    /// How they are mounted.
    pub mode: CgroupMode,
    /// Each controller that can be used, by its kernel name.
    pub controllers: BTreeMap<String, ControllerFacts>,
    /// The version 2 tree, where it is mounted.
    pub unified: Option<UnifiedFacts>,
    /// Below each mount, the group in which `lakekeep/` is made: `/`, or on version 2
    /// the topmost group that was delegated to a caller without root.
    pub parent: PathBuf,
    /// `parent` was handed to a caller who is not root, and can be used.
    pub delegated: bool,
}

/// One controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerFacts {
    /// Version of the hierarchy that holds it.
    pub version: CgroupVersion,
    /// Where that hierarchy is mounted.
    pub mount: PathBuf,
    /// The caller may make groups in it below [`CgroupFacts::parent`].
    pub writable: bool,
    /// The caller's own group, below the mount; `None` if it lies outside of it.
    pub own_path: Option<PathBuf>,
}

/// The version 2 tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnifiedFacts {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The caller may make groups in it below [`CgroupFacts::parent`].
    pub writable: bool,
    /// The caller's own group, below the mount; `None` if it lies outside of it.
    pub own_path: Option<PathBuf>,
}

/// Filesystems that the storage layers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystems {
    /// overlayfs: writable layers over a read-only image.
    pub overlay: bool,
    /// erofs: read-only images with verified content.
    pub erofs: bool,
}

impl HostFacts {
    /// Root of the host itself: the initial user namespace and user id 0.
    #[must_use]
    pub fn is_host_root(&self) -> bool {
        self.caller.euid == 0 && !self.caller.in_user_namespace
    }

    /// Mounts can be given an id map of their own (`MOUNT_ATTR_IDMAP`, Linux 5.12).
    #[must_use]
    pub fn idmapped_mounts(&self) -> bool {
        self.kernel.at_least(5, 12)
    }

    /// Nothing that can be read forbids this caller a user namespace of its own.
    ///
    /// A seccomp filter or a security policy around the caller may still refuse:
    /// only making one would tell, and probing has no side effects.
    #[must_use]
    pub fn may_make_user_namespaces(&self) -> bool {
        let switches = &self.user_namespaces;
        let unprivileged =
            switches.unprivileged_clone_sysctl.unwrap_or(true) && !switches.apparmor_restricted;
        switches.available && switches.max > 0 && (self.caller.euid == 0 || unprivileged)
    }
}

impl KernelRelease {
    /// This kernel is `major.minor` or later.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl CgroupFacts {
    /// The caller may set limits of this controller.
    #[must_use]
    pub fn enforces(&self, controller: &str) -> bool {
        self.controllers
            .get(controller)
            .is_some_and(|facts| facts.writable)
    }

    /// The absolute cgroup path of a group of ours, for an OCI `cgroupsPath`.
    ///
    /// Always absolute: an empty or relative one would resolve to the caller's own
    /// group, and deleting the container would kill everything in it.
    #[must_use]
    pub fn absolute(&self, group: &Path) -> PathBuf {
        Path::new("/").join(&self.parent).join(group)
    }
}

impl SubordinateIds {
    /// Both helpers are there, so that a range and not one id can be mapped.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.newuidmap.is_some() && self.newgidmap.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let kernel = KernelRelease {
            major: 5,
            minor: 12,
            text: "5.12.0".to_owned(),
        };
        assert!(kernel.at_least(5, 9));
        assert!(kernel.at_least(5, 12));
        assert!(!kernel.at_least(6, 1));
    }

    #[test]
    fn apparmor_restricts_callers_without_root_only() {
        let mut facts = HostFacts::example_rootless();
        assert!(facts.may_make_user_namespaces());
        facts.user_namespaces.apparmor_restricted = true;
        assert!(!facts.may_make_user_namespaces());
        facts.caller.euid = 0;
        assert!(facts.may_make_user_namespaces());
    }

    #[test]
    fn group_paths_are_absolute_below_the_delegated_parent() {
        let group = Path::new("lakekeep/l1/s1");
        let root = HostFacts::example_root().cgroup;
        assert_eq!(root.absolute(group), Path::new("/lakekeep/l1/s1"));
        let rootless = HostFacts::example_rootless().cgroup;
        assert_eq!(
            rootless.absolute(group),
            Path::new("/user.slice/user-1000.slice/user@1000.service/lakekeep/l1/s1")
        );
    }

    #[test]
    fn facts_serialize_under_their_own_names() {
        let facts = serde_json::to_value(HostFacts::example_root()).unwrap();
        assert_eq!(facts["cgroup"]["mode"], "hybrid");
        assert_eq!(facts["cgroup"]["controllers"]["memory"]["version"], "v1");
        assert_eq!(facts["subordinate"], serde_json::Value::Null);
    }
}
