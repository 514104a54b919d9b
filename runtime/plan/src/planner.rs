//! Policy × host × image → plan.

use std::time::Duration;

use lakekeep_policy::{Egress, Layer, Policy};
use lakekeep_protocol::launch::{GroupLimits, IdSource, RootfsStep, SandboxSpec};
use lakekeep_protocol::relay::{RuleDocument, RuleLevel};
use lakekeep_protocol::task::TaskSpec;
use serde::{Deserialize, Serialize};

use crate::error::PlanError;
use crate::host::HostFacts;
use crate::image::{ImageFacts, MountFacts};
use crate::layers::{self, LayerPlan};
use crate::rootfs::{self, Parts};
use crate::task;

/// `CAP_CHOWN`, `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`, `CAP_SETPCAP`, `CAP_SYS_CHROOT`,
/// `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN`, `CAP_SYS_NICE`: what the init needs, in its own user
/// namespace, to make a task's namespaces and mounts, to enter the mount table of one that is
/// ready (for which setns(2) wants CAP_SYS_CHROOT too), to give its scratch
/// directories away, to become its user, to read it back, to choose its processors
/// (the last is good for nothing else outside the host's own user namespace) and to end it.
const INIT_CAPABILITIES: u64 =
    1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 21 | 1 << 23;

/// User and group inside, where there is more than one id.
const TASK_USER: u32 = 1000;

/// Ids of a sandbox: what programs expect to exist (nobody is 65534).
const ID_COUNT: u32 = 65_536;

/// Period of the CPU limit, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// Limits of execve(2) with the usual 8 MiB stack.
const ARGUMENTS: usize = 2 * 1024 * 1024 - 128 * 1024;
const ONE_ARGUMENT: usize = 128 * 1024 - 1;

/// The command to run and what the caller's side of it looks like.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Command and arguments.
    pub arguments: Vec<Vec<u8>>,
    /// `PATH` inside.
    pub path: String,
    /// Rows and columns, to give it a terminal.
    pub terminal: Option<(u16, u16)>,
    /// The caller's `TERM`, with a terminal.
    pub term: Option<String>,
    /// Report refused system calls.
    pub explain: bool,
}

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What is allowed.
    pub policy: &'a Policy,
    /// What the host can do.
    pub host: &'a HostFacts,
    /// Where the root file system comes from.
    pub image: &'a ImageFacts,
    /// The sources of the policy's mounts, in its order.
    pub mounts: &'a [MountFacts],
    /// What to run.
    pub command: &'a Command,
    /// The sandbox's identifier.
    pub id: &'a str,
}

/// Everything that will be done. A manager writes it down, without the task's
/// environment, so that its successor can judge how the task ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The launcher's part.
    pub sandbox: SandboxSpec,
    /// The init's part.
    pub task: TaskSpec,
    /// The manager's part: how long the task may take.
    pub wall_time: Option<Duration>,
    /// The manager's part: how much it may print, bytes.
    pub output: u64,
    /// The relay's part: what may leave; `None`: nothing.
    pub egress: Option<EgressPlan>,
    /// Which layers will be enforced, and why not the others.
    pub layers: Vec<LayerPlan>,
    /// Weakenings that the policy asked for.
    pub warnings: Vec<String>,
    /// Digest of the filter's instructions.
    pub filter_digest: String,
    /// Digest of the policy.
    pub policy_digest: String,
}

/// What may leave a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressPlan {
    /// The rules, as they were written.
    pub rules: Vec<String>,
    /// Their document, JSON: mode and limits too.
    pub json: String,
    /// Digest of what decides.
    pub digest: String,
    /// The documents that hold, where there are more than this one: what leaves must be allowed
    /// by each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<RuleDocument>,
}

impl EgressPlan {
    /// What a relay is told: each document that holds.
    #[must_use]
    pub fn documents(&self) -> Vec<RuleDocument> {
        match self.levels.as_slice() {
            [] => vec![RuleDocument {
                level: RuleLevel::User,
                json: self.json.clone(),
            }],
            levels => levels.to_vec(),
        }
    }

    /// The same without the documents, for whoever only tells of it.
    #[must_use]
    pub fn outline(&self) -> Self {
        Self {
            json: String::new(),
            levels: Vec::new(),
            ..self.clone()
        }
    }

    fn new(egress: &Egress) -> Self {
        Self {
            rules: egress.rules().to_vec(),
            json: egress.json().to_owned(),
            digest: egress.digest().to_owned(),
            levels: Vec::new(),
        }
    }
}

impl Plan {
    /// Makes the plan, or says which rule refuses it.
    ///
    /// # Errors
    /// One [`PlanError`] per rule; nothing has been done.
    pub fn new(inputs: &Inputs<'_>) -> Result<Self, PlanError> {
        check_command(inputs)?;
        check_namespaces(inputs.host)?;
        check_limits(inputs.policy, inputs.host)?;
        check_floor(inputs.policy, inputs.host)?;
        let filter = task::filter(inputs.policy, inputs.host, inputs.command.explain)?;
        let filter_digest = filter.program.digest();
        let hostname = hostname(inputs.id);
        let task = task::spec(inputs, filter, &hostname);
        Ok(Self {
            sandbox: sandbox(inputs, hostname)?,
            task,
            wall_time: inputs.policy.limits().wall_time(),
            output: inputs.policy.limits().output().get(),
            egress: inputs.policy.egress().map(EgressPlan::new),
            layers: layers::decide(inputs.policy, inputs.host),
            warnings: inputs
                .policy
                .warnings()
                .iter()
                .map(ToString::to_string)
                .collect(),
            filter_digest,
            policy_digest: inputs.policy.digest(),
        })
    }

    /// The same plan for a sandbox of another identifier, which the host name is made of.
    pub fn rename(&mut self, id: &str) {
        let hostname = hostname(id);
        let sandbox = &mut self.sandbox;
        for named in rootfs::names(&hostname) {
            let place = path_of(&named).map(str::to_owned);
            let same = |step: &&mut RootfsStep| path_of(step) == place.as_deref();
            if let Some(step) = sandbox.rootfs.iter_mut().find(same) {
                *step = named;
            }
        }
        id.clone_into(&mut sandbox.id);
        self.task.hostname.clone_from(&hostname);
        sandbox.hostname = hostname;
    }

    /// Leaves room for a task that is ready beside the policy's own processes: its first
    /// process and the one that waits for a command.
    pub fn allow_ready(&mut self) {
        if let Some(pids) = self.sandbox.limits.as_mut().and_then(|l| l.pids.as_mut()) {
            *pids += 2;
        }
    }
}

fn path_of(step: &RootfsStep) -> Option<&str> {
    match step {
        RootfsStep::File { path, .. } => Some(path),
        _ => None,
    }
}

fn sandbox(inputs: &Inputs<'_>, hostname: String) -> Result<SandboxSpec, PlanError> {
    let host = inputs.host;
    let root = host.is_host_root();
    let user = host.task_user();
    let parts = Parts {
        policy: inputs.policy,
        image: inputs.image,
        mounts: inputs.mounts,
        owner: (root && host.idmapped_mounts()).then_some((user, user)),
        user,
        hostname: &hostname,
        processors: task::processors(inputs.policy, host),
    };
    Ok(SandboxSpec {
        id: inputs.id.to_owned(),
        rootfs: rootfs::steps(&parts)?,
        hostname,
        ids: if root {
            IdSource::Lease { count: ID_COUNT }
        } else {
            IdSource::Own {
                count: if user == 0 { 1 } else { ID_COUNT },
            }
        },
        limits: group_limits(inputs.policy, host),
        init_capabilities: INIT_CAPABILITIES,
        nursery: 0,
        zygote: None,
        egress: inputs.policy.egress().is_some(),
    })
}

fn hostname(id: &str) -> String {
    format!("sandbox-{}", id.get(..8).unwrap_or(id))
}

fn group_limits(policy: &Policy, host: &HostFacts) -> Option<GroupLimits> {
    let has = |controller| host.cgroup.enforces(controller);
    if !(has("memory") || has("cpu") || has("pids")) {
        return None;
    }
    let limits = policy.limits();
    let quota = limits.cpus().quota(Duration::from_micros(CPU_PERIOD_US));
    let quota = u64::try_from(quota.as_micros()).unwrap_or(u64::MAX);
    Some(GroupLimits {
        memory: has("memory").then(|| limits.memory().get()),
        swap: has("memory").then(|| limits.swap().get()),
        cpu_quota_us: has("cpu").then_some(quota),
        cpu_period_us: CPU_PERIOD_US,
        // The sandbox's init and the task's stub are counted too.
        pids: has("pids").then(|| u64::from(limits.pids()) + 2),
    })
}

impl HostFacts {
    /// User id of a task inside: not 0, unless 0 is all there is.
    #[must_use]
    pub fn task_user(&self) -> u32 {
        let ranges = self.subordinate.as_ref().is_some_and(|ids| {
            ids.usable() && ids.uid_count >= ID_COUNT && ids.gid_count >= ID_COUNT
        });
        if self.is_host_root() || ranges {
            TASK_USER
        } else {
            0
        }
    }
}

fn check_command(inputs: &Inputs<'_>) -> Result<(), PlanError> {
    let arguments = &inputs.command.arguments;
    if arguments.first().is_none_or(Vec::is_empty) {
        return Err(PlanError::NoCommand);
    }
    if let Some(index) = arguments.iter().position(|text| text.contains(&0)) {
        return Err(PlanError::NulByte {
            what: format!("argument {index}"),
        });
    }
    if let Some(index) = arguments.iter().position(|text| text.len() > ONE_ARGUMENT) {
        return Err(PlanError::ArgumentTooLong {
            index,
            bytes: arguments.get(index).map_or(0, Vec::len),
            limit: ONE_ARGUMENT,
        });
    }
    // A pointer and a terminator for each string, as the kernel counts them.
    let each = size_of::<usize>() + 1;
    let variables = inputs.policy.env().iter();
    let bytes = arguments
        .iter()
        .map(|text| text.len() + each)
        .sum::<usize>()
        + variables
            .map(|(name, value)| name.len() + value.len() + 1 + each)
            .sum::<usize>();
    if bytes > ARGUMENTS {
        return Err(PlanError::ArgumentsTooLong {
            bytes,
            limit: ARGUMENTS,
        });
    }
    Ok(())
}

fn check_namespaces(host: &HostFacts) -> Result<(), PlanError> {
    if host.may_make_user_namespaces() {
        return Ok(());
    }
    let switches = &host.user_namespaces;
    let reason = if !switches.available {
        "the kernel was built without them"
    } else if switches.max == 0 {
        "user.max_user_namespaces is 0"
    } else if switches.apparmor_restricted {
        "kernel.apparmor_restrict_unprivileged_userns is 1"
    } else {
        "kernel.unprivileged_userns_clone is 0"
    };
    Err(PlanError::NoUserNamespace {
        reason: reason.to_owned(),
    })
}

fn check_limits(policy: &Policy, host: &HostFacts) -> Result<(), PlanError> {
    let limits = policy.limits();
    if limits.memory().get() > host.memory_total {
        return Err(PlanError::BeyondHost {
            limit: "memory",
            wanted: limits.memory().to_string(),
            available: lakekeep_policy::Bytes(host.memory_total).to_string(),
        });
    }
    if limits.cpus().millis() > host.online_cpus.saturating_mul(1000) {
        return Err(PlanError::BeyondHost {
            limit: "cpus",
            wanted: limits.cpus().to_string(),
            available: format!("{} processors", host.online_cpus),
        });
    }
    if limits.pids() > host.pid_max {
        return Err(PlanError::BeyondHost {
            limit: "pids",
            wanted: limits.pids().to_string(),
            available: format!("process numbers up to {}", host.pid_max),
        });
    }
    Ok(())
}

fn check_floor(policy: &Policy, host: &HostFacts) -> Result<(), PlanError> {
    let unmet = |layer: &Layer| {
        let reason = layers::refusal(*layer, policy, host)?;
        Some(PlanError::FloorUnmet {
            layer: *layer,
            reason,
        })
    };
    match policy.floor().iter().find_map(unmet) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
