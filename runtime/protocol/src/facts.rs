//! What was read back from the kernel, as it crosses between processes.

use lakekeep_sys::process::{Ended, ResourceUsage};
use lakekeep_sys::readback::{NamespaceIds, Status};
use serde::{Deserialize, Serialize};

use crate::task::ResourceKind;

/// A process as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Effective user id, in the reader's user namespace.
    pub user: u32,
    /// Effective group id.
    pub group: u32,
    /// Supplementary groups.
    pub supplementary_groups: Vec<u32>,
    /// Effective, permitted, inheritable, bounding, ambient capabilities.
    pub capabilities: [u64; 5],
    /// No exec can gain privileges.
    pub no_new_privileges: bool,
    /// 2 when a filter is in force.
    pub seccomp_mode: u32,
    /// How many filters are stacked.
    pub seccomp_filters: u32,
    /// Inode numbers of user, mnt, pid, net, ipc, uts, cgroup namespaces.
    pub namespaces: [u64; 7],
    /// Open descriptors.
    pub descriptors: Vec<u32>,
}

impl ProcessFacts {
    /// Joins the three read-backs of one process.
    pub fn new(status: &Status, namespaces: NamespaceIds, descriptors: Vec<u32>) -> Self {
        let n = namespaces;
        let namespaces = [n.user, n.mount, n.pid, n.network, n.ipc, n.uts, n.cgroup];
        Self::joined(status, namespaces, descriptors)
    }

    /// The same process, read again, in the namespaces that it had.
    #[must_use]
    pub fn renewed(&self, status: &Status, descriptors: Vec<u32>) -> Self {
        Self::joined(status, self.namespaces, descriptors)
    }

    fn joined(status: &Status, namespaces: [u64; 7], descriptors: Vec<u32>) -> Self {
        let sets = status.capabilities;
        Self {
            user: status.users[1],
            group: status.groups[1],
            supplementary_groups: status.supplementary.clone(),
            capabilities: [
                sets.effective,
                sets.permitted,
                sets.inheritable,
                sets.bounding,
                sets.ambient,
            ],
            no_new_privileges: status.no_new_privileges,
            seccomp_mode: status.seccomp_mode,
            seccomp_filters: status.seccomp_filters,
            namespaces,
            descriptors,
        }
    }
}

/// A sealed task as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// Its identity, seal and namespaces.
    pub process: ProcessFacts,
    /// How many processors it may run on.
    pub processors: u32,
    /// Its score for the out-of-memory killer.
    pub oom_score_adj: i16,
    /// Its resource limits; `None` is unlimited.
    pub limits: Vec<(ResourceKind, Option<u64>)>,
    /// Whether its root is read-only.
    pub root_read_only: bool,
    /// Where it can write.
    pub writable: Vec<String>,
    /// How many paths of /proc are covered.
    pub covered: u32,
    /// Bytes and inodes of its scratch file system.
    pub scratch: (u64, u64),
    /// It was forked from a zygote, and has its memory's layout in common with others.
    pub forked: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndFacts {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl From<Ended> for EndFacts {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exited(code) => Self::Exited(code),
            Ended::Signaled(signal) => Self::Signaled(signal),
        }
    }
}

/// What a task used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageFacts {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Largest resident set, bytes.
    pub max_rss: u64,
}

impl UsageFacts {
    /// CPU time in both modes, microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.user_us.saturating_add(self.system_us)
    }
}

impl From<ResourceUsage> for UsageFacts {
    fn from(usage: ResourceUsage) -> Self {
        Self {
            user_us: usage.user_us,
            system_us: usage.system_us,
            max_rss: usage.max_rss,
        }
    }
}

/// A sandbox's cgroup limits as read back; `None` where the kernel has no such
/// file or says "max".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitFacts {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of swap alone.
    pub swap: Option<u64>,
    /// Microseconds of CPU time per `cpu_period_us`.
    pub cpu_quota_us: Option<u64>,
    /// Microseconds.
    pub cpu_period_us: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The processors, as cpuset(7) lists them.
    pub cpuset: Option<String>,
}

/// What a sandbox's cgroups counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupUsageFacts {
    /// Largest memory charge, bytes.
    pub memory_peak: Option<u64>,
    /// Processes that the kernel killed for memory.
    pub oom_kills: u64,
    /// Forks that the pids limit refused.
    pub pids_refused: u64,
    /// CPU time of all its processes, microseconds.
    pub cpu_us: Option<u64>,
    /// Time that the CPU limit held it back, microseconds.
    pub throttled_us: Option<u64>,
    /// Memory charged now, bytes.
    pub memory: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
}

/// A volume's bound on its disk, as read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaFacts {
    /// The file system enforces it.
    Enforced {
        /// The folder's project.
        project: u32,
        /// Bytes.
        limit: u64,
        /// Bytes in use.
        used: u64,
    },
    /// It does not.
    Missing(QuotaObstacle),
}

/// Why a volume's bound is not enforced. Nothing was changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaObstacle {
    /// The file system knows no projects.
    NoProjects,
    /// It does not enforce limits of projects.
    NotEnforcing,
    /// The folder is of this project already, which is not for us to bound.
    OtherProject(u32),
    /// It holds files that are of no project; this would be its number.
    HoldsFiles(u32),
    /// The launcher may not.
    Unprivileged,
}
