//! A sealed task, read back from the kernel and held against its plan.

use std::os::fd::OwnedFd;
use std::path::Path;

use lakekeep_protocol::facts::{ProcessFacts, TaskFacts};
use lakekeep_protocol::task::{ResourceKind, TaskSpec};
use lakekeep_sys::readback::{Mounts, NamespaceIds, Status, descriptors, limits, number};
use lakekeep_sys::{Errno, Error};

/// The limits that a plan may set.
const LIMITS: [ResourceKind; 11] = [
    ResourceKind::CpuTime,
    ResourceKind::FileSize,
    ResourceKind::OpenFiles,
    ResourceKind::CoreSize,
    ResourceKind::LockedMemory,
    ResourceKind::MessageQueues,
    ResourceKind::Processes,
    ResourceKind::AddressSpace,
    ResourceKind::RealTimePriority,
    ResourceKind::Nice,
    ResourceKind::PendingSignals,
];

/// Reads the process with this number in the init's own pid namespace.
pub fn read(pid: i32, scratch: &OwnedFd) -> Result<TaskFacts, Errno> {
    let space = rustix::fs::fstatvfs(scratch)?;
    let mut facts = read_process(pid).map_err(|error| error.errno)?;
    facts.scratch = (space.f_blocks * space.f_frsize, space.f_files);
    Ok(facts)
}

/// Reads again what a process of this number could change since `facts` were read. It has
/// no capability: its namespaces, its mounts and its hard limits stay what they are.
pub fn again(pid: i32, facts: &mut TaskFacts) -> Result<(), Errno> {
    let proc = Path::new("/proc");
    let name = pid.to_string();
    let status = Status::read(proc, &name).map_err(|error| error.errno)?;
    let open = descriptors(proc, &name).map_err(|error| error.errno)?;
    facts.processors = status.processors;
    facts.process = facts.process.renewed(&status, open);
    Ok(())
}

fn read_process(pid: i32) -> Result<TaskFacts, Error> {
    let proc = Path::new("/proc");
    let pid = pid.to_string();
    let status = Status::read(proc, &pid)?;
    let namespaces = NamespaceIds::read(proc, &pid)?;
    let mounts = Mounts::read(proc, &pid)?;
    let named = limits(proc, &pid)?;
    let limit = |kind: ResourceKind| {
        let found = named.iter().find(|(name, _)| name == kind.kernel_name());
        found.map(|(_, value)| (kind, *value))
    };
    let oom_score_adj = number(proc, &pid, "oom_score_adj")?;
    Ok(TaskFacts {
        process: ProcessFacts::new(&status, namespaces, descriptors(proc, &pid)?),
        processors: status.processors,
        oom_score_adj: i16::try_from(oom_score_adj).unwrap_or_default(),
        limits: LIMITS.into_iter().filter_map(limit).collect(),
        root_read_only: mounts.root_read_only && mounts.lax.is_empty(),
        writable: mounts.writable,
        covered: mounts.covered,
        scratch: (0, 0),
        forked: false,
    })
}

/// Holds the kernel's word against the plan; the number of the check that
/// failed is the failure's index.
pub fn verify(facts: &TaskFacts, spec: &TaskSpec) -> Result<(), usize> {
    let process = &facts.process;
    // A caller's own hard limit may be stricter than the plan.
    let limit = |(kind, value): &(ResourceKind, u64)| {
        let found = facts.limits.iter().find(|(found, _)| found == kind);
        found
            .and_then(|(_, limit)| *limit)
            .is_some_and(|limit| limit <= *value)
    };
    // The kernel lets nobody drop them where one id is all there is.
    let groups = process.supplementary_groups.is_empty() || spec.user == 0;
    let checks = [
        process.user == spec.user && process.group == spec.group && groups,
        process.capabilities == [0; 5],
        process.no_new_privileges,
        process.seccomp_mode == 2 && process.seccomp_filters >= 1,
        // stdio, the setup socket, and a listener or the init's own program, which
        // close at exec.
        process
            .descriptors
            .iter()
            .all(|fd| *fd <= 3 || ((spec.explain.is_some() || spec.file_service) && *fd == 4)),
        facts.root_read_only,
        spec.limits.iter().all(limit),
        spec.processors == 0 || facts.processors <= spec.processors,
        facts.oom_score_adj == spec.oom_score_adj,
        facts.covered >= u32::from(!spec.proc.only_processes),
    ];
    match checks.iter().position(|holds| !holds) {
        Some(index) => Err(index),
        None => Ok(()),
    }
}
