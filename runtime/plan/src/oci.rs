//! The OCI runtime specification that libcontainer is given.
//!
//! It holds what libcontainer does well: namespaces but for the network's,
//! id maps, /proc and /dev, the pivot, cgroups. The rest is done around it: the
//! root is assembled before (by descriptor), the seal is laid and read back by
//! our own executor, tasks are made by the init.

use std::path::{Path, PathBuf};

use lakekeep_protocol::launch::SandboxSpec;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder,
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, Mount,
    MountBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

/// Where the launcher put things.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// The assembled root file system.
    pub rootfs: &'a Path,
    /// First id of the sandbox in the launcher's user namespace.
    pub first_id: u32,
    /// How many ids.
    pub id_count: u32,
    /// Absolute path of the sandbox's cgroup.
    pub cgroup: &'a Path,
    /// Whether the launcher is root of the host.
    pub privileged: bool,
}

/// The namespaces that libcontainer makes. The network's is the launcher's
/// doing: it must belong to the user namespace above the sandbox's.
const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::User,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Cgroup,
];

/// Builds the specification.
///
/// # Errors
/// When a builder refuses a value; none does for a checked plan.
pub fn spec(sandbox: &SandboxSpec, at: &Placement<'_>) -> Result<Spec, OciSpecError> {
    let namespaces = NAMESPACES
        .iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(*kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let ids = vec![id_mapping(at)?];
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .uid_mappings(ids.clone())
        .gid_mappings(ids)
        .cgroups_path(PathBuf::from(at.cgroup))
        // The init is trusted and needs a /proc that hides nothing, or the
        // kernel would refuse a task its own; tasks get theirs masked.
        .masked_paths(Vec::new())
        .readonly_paths(Vec::new());
    if let Some(resources) = resources(sandbox)? {
        linux = linux.resources(resources);
    }
    SpecBuilder::default()
        .version("1.2.0")
        .hostname(sandbox.hostname.clone())
        .root(RootBuilder::default().path(at.rootfs).readonly(true).build()?)
        .mounts(mounts()?)
        .process(process(sandbox)?)
        .linux(linux.build()?)
        .build()
}

/// One contiguous range: more would need the newuidmap helper, even for root.
fn id_mapping(at: &Placement<'_>) -> Result<LinuxIdMapping, OciSpecError> {
    LinuxIdMappingBuilder::default()
        .container_id(0u32)
        .host_id(at.first_id)
        .size(at.id_count)
        .build()
}

fn mounts() -> Result<Vec<Mount>, OciSpecError> {
    let mount = |target: &str, kind: &str, options: &[&str]| {
        MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(kind)
            .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
            .build()
    };
    Ok(vec![
        mount("/proc", "proc", &["nosuid", "nodev", "noexec"])?,
        mount("/dev", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k", "nr_inodes=64"])?,
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])?,
        // A place for a task's own part of its scratch file system.
        mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "ro", "mode=555", "size=4k"])?,
    ])
}

fn process(sandbox: &SandboxSpec) -> Result<Process, OciSpecError> {
    let kept = capabilities(sandbox.init_capabilities);
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(kept.clone())
        .effective(kept.clone())
        .permitted(kept)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()?;
    ProcessBuilder::default()
        .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
        .args(vec!["lakekeep-init".to_owned()])
        .env(Vec::new())
        .cwd("/")
        .capabilities(sets)
        .no_new_privileges(true)
        .build()
}

fn capabilities(bits: u64) -> Capabilities {
    const NAMED: [(u64, Capability); 7] = [
        (0, Capability::Chown),
        (5, Capability::Kill),
        (6, Capability::Setgid),
        (7, Capability::Setuid),
        (8, Capability::Setpcap),
        (19, Capability::SysPtrace),
        (21, Capability::SysAdmin),
    ];
    let held = NAMED.iter().filter(|(bit, _)| bits & (1 << bit) != 0);
    held.map(|(_, capability)| *capability).collect()
}

fn resources(sandbox: &SandboxSpec) -> Result<Option<LinuxResources>, OciSpecError> {
    let Some(limits) = &sandbox.limits else {
        return Ok(None);
    };
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(memory) = limits.memory {
        let total = memory.saturating_add(limits.swap.unwrap_or(0));
        resources = resources.memory(
            LinuxMemoryBuilder::default()
                .limit(signed(memory))
                .swap(signed(total))
                .build()?,
        );
    }
    if let Some(quota) = limits.cpu_quota_us {
        let cpu = LinuxCpuBuilder::default().quota(signed(quota)).period(limits.cpu_period_us);
        resources = resources.cpu(cpu.build()?);
    }
    if let Some(pids) = limits.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(signed(pids)).build()?);
    }
    // An empty list, not the default one: device rules are not for a user
    // namespace, in which no device node can be made or opened anyway.
    resources.devices(Vec::new()).build().map(Some)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
