//! The task's part of a plan: its seal, its limits, its view.

use std::time::Duration;

use lakekeep_policy::{MountMode, Policy, Preset};
use lakekeep_protocol::task::{LandlockRules, ResourceKind, Scratch, TaskSpec};
use lakekeep_seccomp::{
    Action, Arch, ProfileError, Program, Refusal, SeccompData, builtin_program, syscall_number,
};

use crate::error::PlanError;
use crate::host::HostFacts;
use crate::image::{ImageFacts, MountFacts};
use crate::planner::{Command, Inputs};
use crate::rootfs::HOME;
use crate::{layers, proc_view};

/// Above what any other process of the host usually has: under memory
/// pressure of the whole host the task goes first.
const OOM_SCORE_ADJ: i16 = 500;

const ENOSYS: u16 = 38;

/// Highest system call number that is asked for its answer; the tables end
/// well below.
const LAST_NUMBER: i32 = 511;

/// What a sealed process calls between its filter and its command, where it waits for the
/// command in between: messages, streams, working directory, memory.
const UNTIL_EXEC: [&str; 12] = [
    "recvmsg",
    "dup2",
    "dup3",
    "close",
    "close_range",
    "chdir",
    "read",
    "write",
    "brk",
    "mmap",
    "munmap",
    "execve",
];

/// A filter, the numbers that it answers with `ENOSYS`, and whether it can be installed
/// before the command is known.
#[derive(Debug, Clone)]
pub struct Filter {
    pub program: Program,
    pub missing: Option<Vec<i32>>,
    pub early: bool,
}

/// The program of a zygote whose tasks have the policy's profile.
pub fn zygote_filter(policy: &Policy, host: &HostFacts) -> Result<Program, PlanError> {
    let name = format!("{}-zygote", policy.seccomp_profile());
    program(&name, architecture(host)?, Refusal::Errno)
}

fn program(name: &str, arch: Arch, refusal: Refusal) -> Result<Program, PlanError> {
    let none = || ProfileError::UnknownProfile {
        name: name.to_owned(),
    };
    let program = builtin_program(name, arch, refusal)?;
    Ok(program.ok_or_else(none)?)
}

fn architecture(host: &HostFacts) -> Result<Arch, PlanError> {
    match host.arch.as_str() {
        "x86_64" => Ok(Arch::X86_64),
        "aarch64" => Ok(Arch::Aarch64),
        other => Err(PlanError::Architecture {
            arch: other.to_owned(),
        }),
    }
}

/// The program of the policy's profile for `host`.
pub fn filter(policy: &Policy, host: &HostFacts, explain: bool) -> Result<Filter, PlanError> {
    let arch = architecture(host)?;
    let program = |refusal| program(policy.seccomp_profile(), arch, refusal);
    let answering = program(Refusal::Errno)?;
    if !explain {
        let early = UNTIL_EXEC.into_iter().all(|name| {
            let number = syscall_number(arch, name).and_then(|number| i32::try_from(number).ok());
            // One that this architecture does not have is not called.
            number.is_none_or(|number| {
                let call = SeccompData::call(arch, number, [0; 6]);
                answering.evaluate(&call) == Action::Allow
            })
        });
        return Ok(Filter {
            program: answering,
            missing: None,
            early,
        });
    }
    let absent = |number: &i32| {
        answering.evaluate(&SeccompData::call(arch, *number, [0; 6])) == Action::Errno(ENOSYS)
    };
    Ok(Filter {
        program: program(Refusal::Notify)?,
        missing: Some((0..=LAST_NUMBER).filter(absent).collect()),
        early: false,
    })
}

/// The task's specification.
pub fn spec(inputs: &Inputs<'_>, filter: Filter, hostname: &str) -> TaskSpec {
    let Inputs {
        policy,
        host,
        command,
        ..
    } = *inputs;
    let user = host.task_user();
    TaskSpec {
        arguments: command.arguments.clone(),
        environment: environment(policy, command),
        working_directory: policy.workdir().as_str().to_owned(),
        user,
        group: user,
        hostname: hostname.to_owned(),
        scratch: scratch(policy, inputs.mounts, inputs.image),
        proc: proc_view::view(policy.proc_view()),
        limits: limits(policy, host),
        processors: processors(policy, host),
        oom_score_adj: OOM_SCORE_ADJ,
        filter: filter.program.to_bytes(),
        filter_early: filter.early,
        explain: filter.missing,
        landlock: landlock(policy, host),
        refuse_executable_gain: policy.preset() == Preset::Udf && host.kernel.at_least(6, 3),
        terminal: command.terminal,
        umask: 0o022,
        file_service: false,
        forked: false,
        // The manager adds them, past every text that a plan is shown as.
        secrets: Vec::new(),
    }
}

/// How many processors the task may use: its CPU limit, rounded up.
pub fn processors(policy: &Policy, host: &HostFacts) -> u32 {
    let wanted = policy.limits().cpus().millis().div_ceil(1000);
    wanted.clamp(1, host.online_cpus.max(1))
}

/// The sandbox's own variables, then the policy's, which win.
fn environment(policy: &Policy, command: &Command) -> Vec<Vec<u8>> {
    let mut variables = vec![
        ("HOME", HOME.to_owned()),
        // Intel's OpenMP aborts when it may not choose its processors, which the
        // filter refuses: the limit has chosen them.
        ("KMP_AFFINITY", "disabled".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", command.path.clone()),
        ("TMPDIR", "/tmp".to_owned()),
        ("USER", "user".to_owned()),
    ];
    if let Some(term) = &command.term {
        variables.push(("TERM", term.clone()));
    }
    let own = variables
        .iter()
        .filter(|(name, _)| !policy.env().contains_key(*name))
        .map(|(name, value)| format!("{name}={value}").into_bytes());
    let given = policy
        .env()
        .iter()
        .map(|(name, value)| format!("{name}={value}").into_bytes());
    own.chain(given).collect()
}

fn scratch(policy: &Policy, mounts: &[MountFacts], image: &ImageFacts) -> Scratch {
    let places = [
        ("/tmp", 0o1777),
        ("/var/tmp", 0o1777),
        ("/dev/shm", 0o1777),
        (HOME, 0o700),
    ];
    let rules = policy.mounts();
    // A mount on one of these places takes it over.
    let mounted = |path: &str| rules.iter().any(|rule| rule.target().as_str() == path);
    let places: Vec<(&str, u32)> = places
        .into_iter()
        .filter(|(path, _)| !mounted(path))
        .collect();
    let below = |target: &str| {
        places
            .iter()
            .any(|(path, _)| target.starts_with(&format!("{path}/")))
    };
    let kept = rules
        .iter()
        .zip(mounts)
        .map(|(rule, facts)| (rule.target().as_str(), facts.directory));
    let (prefixes, replicas) = match image {
        ImageFacts::Host(image) => (image.prefixes.as_slice(), image.replicas.as_slice()),
        ImageFacts::Folder(_) => (&[][..], &[][..]),
    };
    let kept = kept.chain(prefixes.iter().map(|prefix| (prefix.as_str(), true)));
    let parts = replicas
        .iter()
        .map(|part| (part.target.as_str(), part.directory));
    let kept = kept.chain(parts);
    Scratch {
        size: policy.limits().scratch_size().get(),
        inodes: policy.limits().scratch_inodes(),
        // A function computes; it has no business running what it wrote.
        executable: policy.preset() != Preset::Udf,
        directories: places
            .iter()
            .map(|(path, mode)| ((*path).to_owned(), *mode))
            .collect(),
        kept: kept
            .filter(|(target, _)| below(target))
            .map(|(target, directory)| (target.to_owned(), directory))
            .collect(),
        shared: false,
    }
}

fn limits(policy: &Policy, host: &HostFacts) -> Vec<(ResourceKind, u64)> {
    let wanted = policy.limits();
    let mut limits = vec![
        (ResourceKind::OpenFiles, wanted.open_files()),
        (ResourceKind::FileSize, wanted.file_size().get()),
        // 1, not 0: the kernel then starts no crash handler of the host's either,
        // which it does at 0 where core_pattern is a pipe (core(5)).
        (ResourceKind::CoreSize, 1),
        (ResourceKind::LockedMemory, 64 * 1024),
        (ResourceKind::MessageQueues, 0),
        (ResourceKind::RealTimePriority, 0),
        (ResourceKind::Nice, 0),
        (ResourceKind::PendingSignals, 1024),
    ];
    if let Some(time) = wanted.cpu_time() {
        limits.push((ResourceKind::CpuTime, whole_seconds(time)));
    }
    // Counted per user namespace since Linux 5.14: it holds where no cgroup does.
    if !host.cgroup.enforces("pids") {
        limits.push((ResourceKind::Processes, u64::from(wanted.pids())));
    }
    limits
}

/// RLIMIT_CPU counts whole seconds; a part of one is rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn landlock(policy: &Policy, host: &HostFacts) -> Option<LandlockRules> {
    if layers::refusal(lakekeep_policy::Layer::Landlock, policy, host).is_some() {
        return None;
    }
    let writable = policy
        .mounts()
        .iter()
        .filter(|mount| mount.mode() == MountMode::ReadWrite);
    Some(LandlockRules {
        abi: host.landlock_abi,
        read: vec!["/".to_owned()],
        write: writable
            .map(|mount| mount.target().as_str().to_owned())
            .collect(),
        devices: vec!["/dev".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_a_second() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
    }
}
