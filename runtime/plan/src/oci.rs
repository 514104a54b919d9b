//! The OCI runtime specification that libcontainer is given.
//!
//! It holds what libcontainer does well: namespaces but for the network's,
//! id maps, /proc and /dev, the pivot. The rest is done around it: the
//! root is assembled before (by descriptor), the seal is laid and read back by
//! our own executor, tasks are made by the init.

use std::path::{Path, PathBuf};

use lakekeep_protocol::launch::SandboxSpec;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, Mount, MountBuilder, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

/// Where the launcher put things.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// The assembled root file system.
    pub rootfs: &'a Path,
    /// First id of the sandbox in the launcher's user namespace.
    pub first_id: u32,
    /// Its ids: first inside, and how many, each range one to one from `first_id`.
    pub ids: &'a [(u32, u32)],
    /// Absolute path of the sandbox's cgroup.
    pub cgroup: &'a Path,
    /// The user namespace, if it was made before; its map agrees with `ids`.
    pub user_namespace: Option<&'a Path>,
}

/// The namespaces that libcontainer makes. The network's is the launcher's
/// doing: it must belong to the user namespace above the sandbox's. The cgroup's
/// is our executor's: its root is where its maker is, who joins the sandbox's
/// group only then.
const NAMESPACES: [LinuxNamespaceType; 5] = [
    LinuxNamespaceType::User,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
];

/// Builds the specification.
///
/// # Errors
/// When a builder refuses a value; none does for a checked plan.
pub fn spec(sandbox: &SandboxSpec, at: &Placement<'_>) -> Result<Spec, OciSpecError> {
    let namespaces = NAMESPACES
        .iter()
        .map(|kind| {
            let namespace = LinuxNamespaceBuilder::default().typ(*kind);
            match at.user_namespace {
                Some(path) if *kind == LinuxNamespaceType::User => namespace.path(path).build(),
                _ => namespace.build(),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let ids = id_mappings(at)?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .uid_mappings(ids.clone())
        .gid_mappings(ids)
        // Made and limited before; libcontainer joins it on version 2.
        .cgroups_path(PathBuf::from(at.cgroup))
        // The init is trusted and needs a /proc that hides nothing, or the
        // kernel would refuse a task its own; tasks get theirs masked.
        .masked_paths(Vec::new())
        .readonly_paths(Vec::new());
    SpecBuilder::default()
        .version("1.2.0")
        .hostname(sandbox.hostname.clone())
        .root(
            RootBuilder::default()
                .path(at.rootfs)
                .readonly(true)
                .build()?,
        )
        .mounts(mounts()?)
        .process(process(sandbox)?)
        .linux(without_resources(linux.build()?))
        .build()
}

/// The builder's default sets device rules, for which libcontainer's version 1
/// manager demands a devices hierarchy.
fn without_resources(mut linux: Linux) -> Linux {
    linux.set_resources(None);
    linux
}

/// Of more than one range, libcontainer has newuidmap write the map.
fn id_mappings(at: &Placement<'_>) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let mapping = |(inside, count): &(u32, u32)| {
        LinuxIdMappingBuilder::default()
            .container_id(*inside)
            .host_id(at.first_id + inside)
            .size(*count)
            .build()
    };
    at.ids.iter().map(mapping).collect()
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
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "noexec", "mode=755", "size=64k", "nr_inodes=64"],
        )?,
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        )?,
        // A place for a task's own part of its scratch file system.
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "nodev", "noexec", "ro", "mode=555", "size=4k"],
        )?,
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
        // The builder's default lowers the open files below what a policy may ask.
        .rlimits(Vec::new())
        .capabilities(sets)
        .no_new_privileges(true)
        .build()
}

fn capabilities(bits: u64) -> Capabilities {
    const NAMED: [(u64, Capability); 9] = [
        (0, Capability::Chown),
        (5, Capability::Kill),
        (6, Capability::Setgid),
        (7, Capability::Setuid),
        (8, Capability::Setpcap),
        (18, Capability::SysChroot),
        (19, Capability::SysPtrace),
        (21, Capability::SysAdmin),
        (23, Capability::SysNice),
    ];
    let held = NAMED.iter().filter(|(bit, _)| bits & (1 << bit) != 0);
    held.map(|(_, capability)| *capability).collect()
}
