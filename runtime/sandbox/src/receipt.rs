//! What was in fact enforced, layer by layer, as the kernel says.

use lakekeep_plan::{Enforcement, Plan};
use lakekeep_policy::Layer;
use lakekeep_protocol::facts::TaskFacts;
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::ResourceKind;
use lakekeep_sys::readback::NamespaceIds;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::SandboxError;

/// Whether a layer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerState {
    /// It did.
    Enforced,
    /// It could not be, or the policy gave it up.
    Unenforced,
}

/// One layer of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerReceipt {
    /// Its name.
    pub layer: String,
    /// Whether it held.
    pub state: LayerState,
    /// What was read back, or set where nothing can be read back.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Why it did not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was enforced for one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The sandbox's identifier.
    pub sandbox: String,
    /// Digest of the policy.
    pub policy: String,
    /// Name and manifest's digest of the image, where it is one of a manager's store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Digest of the seccomp filter.
    pub filter: String,
    /// What of the network there is: `none`, or `relay: 3 rules, DIGEST`.
    pub network: String,
    /// Every layer.
    pub layers: Vec<LayerReceipt>,
    /// Weakenings that the policy asked for.
    pub warnings: Vec<String>,
}

/// What a receipt is made of.
struct Evidence<'a> {
    plan: &'a Plan,
    created: &'a Created,
    /// The manager's own namespaces.
    own: [u64; 7],
    /// The task; absent when it did not start.
    task: Option<&'a TaskFacts>,
}

/// Builds the receipt; `own` are the manager's namespaces, for comparison.
pub(crate) fn build(
    plan: &Plan,
    created: &Created,
    own: &NamespaceIds,
    task: Option<&TaskFacts>,
) -> Receipt {
    let evidence = Evidence {
        plan,
        created,
        own: [
            own.user,
            own.mount,
            own.pid,
            own.network,
            own.ipc,
            own.uts,
            own.cgroup,
        ],
        task,
    };
    let layers = plan.layers.iter().map(|planned| {
        let found = match &planned.enforcement {
            Enforcement::Unenforced { reason } => Err(reason.clone()),
            Enforcement::Enforced => evidence.of(&planned.layer),
        };
        match found {
            Ok(value) => LayerReceipt {
                layer: planned.layer.clone(),
                state: LayerState::Enforced,
                value,
                reason: None,
            },
            Err(reason) => LayerReceipt {
                layer: planned.layer.clone(),
                state: LayerState::Unenforced,
                value: Value::Null,
                reason: Some(reason),
            },
        }
    });
    let unmapped = created.unmapped_mounts.len();
    let mut warnings = plan.warnings.clone();
    if unmapped > 0 {
        warnings.push(format!("{unmapped} mounts are on file systems whose owners cannot be mapped: their files belong to nobody inside"));
    }
    if let Some(groups) = task
        .map(|task| &task.process.supplementary_groups)
        .filter(|groups| !groups.is_empty())
    {
        warnings.push(format!("the caller's {} supplementary groups could not be dropped: files that they may read, the sandbox may read", groups.len()));
    }
    if task.is_some_and(|task| task.forked) {
        warnings.push("the task was forked from a zygote: where things lie in its memory, and the seed of its hashes, are those of the zygote's other tasks".to_owned());
    }
    Receipt {
        sandbox: plan.sandbox.id.clone(),
        policy: plan.policy_digest.clone(),
        image: None,
        filter: plan.filter_digest.clone(),
        network: network(plan),
        layers: layers.collect(),
        warnings,
    }
}

fn network(plan: &Plan) -> String {
    match &plan.egress {
        None => "none".to_owned(),
        Some(egress) => format!("relay: {} rules, {}", egress.rules.len(), egress.digest),
    }
}

/// Position of each namespace in the facts.
const USER: usize = 0;
const MOUNT: usize = 1;
const PID: usize = 2;
const NETWORK: usize = 3;
const IPC: usize = 4;
const UTS: usize = 5;
const CGROUP: usize = 6;

impl Evidence<'_> {
    /// What was found of a layer that the plan enforces, or why it did not hold.
    fn of(&self, layer: &str) -> Result<Value, String> {
        let layer: Layer = layer
            .parse()
            .map_err(|_| "unknown to this version".to_owned())?;
        match (self.value(layer), layer) {
            (Value::Null, Layer::SwapLimit) => Err(
                "the kernel does not account for swap: boot with swapaccount=1, or without swap"
                    .to_owned(),
            ),
            (Value::Null, _) => Err("the task did not start".to_owned()),
            (value, _) => Ok(value),
        }
    }

    /// The value of a layer; null when there is none.
    fn value(&self, layer: Layer) -> Value {
        match layer {
            Layer::UserNamespace => self.namespace(USER),
            Layer::MountNamespace => self.namespace(MOUNT),
            Layer::PidNamespace => self.namespace(PID),
            Layer::NetworkNamespace => self.namespace(NETWORK),
            Layer::IpcNamespace => self.namespace(IPC),
            Layer::UtsNamespace => self.namespace(UTS),
            Layer::CgroupNamespace => self.namespace(CGROUP),
            Layer::IdRange => {
                json!({ "first": self.created.id_range.0, "count": self.created.id_range.1 })
            }
            Layer::MemoryLimit => json!(self.created.limits.memory),
            Layer::SwapLimit => json!(self.created.limits.swap),
            Layer::CpuLimit => json!({
                "quota_us": self.created.limits.cpu_quota_us,
                "period_us": self.created.limits.cpu_period_us,
            }),
            other => self.task_value(other),
        }
    }

    fn namespace(&self, which: usize) -> Value {
        json!({
            "task": self.task.and_then(|task| task.process.namespaces.get(which)),
            "sandbox": self.created.init.namespaces.get(which),
            "host": self.own.get(which),
        })
    }

    /// As read back from the task; what nothing of the kernel's tells is as set.
    fn task_value(&self, layer: Layer) -> Value {
        let Some(task) = self.task else {
            return Value::Null;
        };
        let process = &task.process;
        let plan = &self.plan.task;
        match layer {
            Layer::SeparateUid => json!({ "task": process.user, "init": 0 }),
            Layer::Capabilities => json!(process.capabilities),
            Layer::NoNewPrivileges => json!(process.no_new_privileges),
            Layer::Seccomp => json!({
                "mode": process.seccomp_mode,
                "filters": process.seccomp_filters,
                "digest": self.plan.filter_digest,
                "instructions": plan.filter.len() / 8,
            }),
            // 3 and above are the setup's, and close at exec.
            Layer::Descriptors => json!(
                process
                    .descriptors
                    .iter()
                    .filter(|fd| **fd < 3)
                    .collect::<Vec<_>>()
            ),
            Layer::Landlock => json!({ "abi": plan.landlock.as_ref().map(|rules| rules.abi) }),
            Layer::ReadOnlyRoot => json!({ "writable": task.writable }),
            Layer::MaskedProc if plan.proc.only_processes => json!({ "subset": "pid" }),
            Layer::MaskedProc => json!({ "covered": task.covered }),
            Layer::PidsLimit => match self.created.limits.pids {
                Some(pids) => json!(pids),
                None => json!({ "rlimit": rlimit(task, ResourceKind::Processes) }),
            },
            Layer::OpenFilesLimit => json!(rlimit(task, ResourceKind::OpenFiles)),
            Layer::FileSizeLimit => json!(rlimit(task, ResourceKind::FileSize)),
            Layer::CpuTimeLimit => json!(rlimit(task, ResourceKind::CpuTime)),
            Layer::CpuAffinity => json!(task.processors),
            Layer::OomScore => json!(task.oom_score_adj),
            Layer::ScratchLimit => json!({ "bytes": task.scratch.0, "inodes": task.scratch.1 }),
            Layer::OutputLimit => json!(self.plan.output),
            Layer::WallTimeLimit => json!(
                self.plan
                    .wall_time
                    .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            ),
            _ => Value::Bool(true),
        }
    }
}

fn rlimit(task: &TaskFacts, kind: ResourceKind) -> Option<u64> {
    task.limits
        .iter()
        .find(|(limit, _)| *limit == kind)
        .and_then(|(_, value)| *value)
}

/// Refuses a sandbox whose cgroup does not hold what the plan says.
pub(crate) fn check_limits(plan: &Plan, created: &Created) -> Result<(), SandboxError> {
    const PAGE: u64 = 64 * 1024;
    let Some(wanted) = &plan.sandbox.limits else {
        return Ok(());
    };
    let found = &created.limits;
    // The kernel rounds memory down to a page, of at most 64 KiB.
    let memory = (wanted.memory, found.memory);
    if !holds(memory, |wanted, found| {
        found <= wanted && wanted - found < PAGE
    }) {
        return Err(not_enforced("memory_limit", memory));
    }
    for (layer, pair) in [
        ("cpu_limit", (wanted.cpu_quota_us, found.cpu_quota_us)),
        // Where swap is not accounted for, the receipt says so.
        (
            "swap_limit",
            (wanted.swap.filter(|_| found.swap.is_some()), found.swap),
        ),
        ("pids_limit", (wanted.pids, found.pids)),
    ] {
        if !holds(pair, |wanted, found| wanted == found) {
            return Err(not_enforced(layer, pair));
        }
    }
    Ok(())
}

fn holds(pair: (Option<u64>, Option<u64>), same: impl Fn(u64, u64) -> bool) -> bool {
    match pair {
        (None, _) => true,
        (Some(wanted), Some(found)) => same(wanted, found),
        (Some(_), None) => false,
    }
}

fn not_enforced(layer: &'static str, (wanted, found): (Option<u64>, Option<u64>)) -> SandboxError {
    SandboxError::NotEnforced {
        layer,
        found: format!("asked for {wanted:?}, the kernel holds {found:?}"),
    }
}
