//! A zygote's sandbox: as that of its tasks, with ids set aside and a wider filter.

use lakekeep_protocol::launch::MAX_NURSERY;
use lakekeep_protocol::task::ResourceKind;
use lakekeep_protocol::zygote::ZygoteSpec;

use crate::error::PlanError;
use crate::planner::{Inputs, Plan};
use crate::task;

/// The least memory for an interpreter and what it imports, bytes: its tasks, which share
/// it, may have less.
const LEAST_MEMORY: u64 = 1 << 30;

/// Room for the connections of as many sandboxes as one may serve, and for imports.
const CONNECTIONS: u64 = 2 * MAX_NURSERY as u64;

/// What a zygote imports, and for how many sandboxes it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// A Python of 3.9 or later: absolute, in the root file system.
    pub interpreter: String,
    /// Names of modules, in the order of their import.
    pub modules: Vec<String>,
    /// After so many, another zygote takes over: what is alike in all of them (where things
    /// lie in memory, the seed of their hashes) is alike in few. At most [`MAX_NURSERY`].
    pub sandboxes: u16,
}

impl Preload {
    /// Whether there can be such a zygote, whatever the host.
    ///
    /// # Errors
    /// `Zygote` for no or too many sandboxes, an interpreter or a module that is not named
    /// as such.
    pub fn check(&self) -> Result<(), PlanError> {
        if !(1..=MAX_NURSERY).contains(&self.sandboxes) {
            return Err(refuse("it serves 1 to 128 sandboxes"));
        }
        if !self.interpreter.starts_with('/') || self.interpreter.contains('\0') {
            return Err(refuse("its interpreter is not an absolute path"));
        }
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.split('.')
                .all(|part| !part.is_empty() && part.bytes().all(plain))
        };
        match self.modules.iter().find(|name| !is_name(name)) {
            Some(name) => Err(refuse(&format!("{name:?} is not the name of a module"))),
            None => Ok(()),
        }
    }
}

fn refuse(reason: &str) -> PlanError {
    PlanError::Zygote {
        reason: reason.to_owned(),
    }
}

/// A zygote and its sandbox, as they will be made.
#[derive(Debug, Clone)]
pub struct ZygotePlan {
    /// Its sandbox.
    pub plan: Plan,
    /// The zygote itself.
    pub spec: ZygoteSpec,
}

impl ZygotePlan {
    /// Plans a zygote for tasks that are planned from the same inputs, but for the command.
    ///
    /// # Errors
    /// As of a plan; `Zygote` for what cannot be one: without root on the host, for no or
    /// too many sandboxes, an interpreter or a module that is not named as such.
    pub fn new(inputs: &Inputs<'_>, preload: &Preload) -> Result<Self, PlanError> {
        if !inputs.host.is_host_root() {
            return Err(refuse(
                "it needs lakekeep to be the host's root: without, there are no ids to give to each of its sandboxes",
            ));
        }
        preload.check()?;
        let mut plan = Plan::new(inputs)?;
        plan.sandbox.nursery = preload.sandboxes;
        let group = plan.sandbox.limits.as_mut();
        if let Some(memory) = group.and_then(|group| group.memory.as_mut()) {
            *memory = (*memory).max(LEAST_MEMORY);
        }
        let task = &plan.task;
        let mut environment = task.environment.clone();
        environment.extend([
            format!("OPENBLAS_NUM_THREADS={}", task.processors.max(1)).into_bytes(),
            // A pool with a thread of its own would not be there in a forked process.
            b"ARROW_DEFAULT_MEMORY_POOL=system".to_vec(),
            // What batches are in is kept for the next ones. Left to itself, mallopt(3), glibc gives
            // a block of a megabyte at the heap's end back to the kernel as soon as it is free,
            // and every page of the next one is a fault: twice the time of a call.
            b"MALLOC_MMAP_THRESHOLD_=16777216".to_vec(),
            b"MALLOC_TRIM_THRESHOLD_=33554432".to_vec(),
        ]);
        let spec = ZygoteSpec {
            interpreter: preload.interpreter.clone().into_bytes(),
            modules: preload
                .modules
                .iter()
                .map(|name| name.clone().into_bytes())
                .collect(),
            environment,
            user: task.user,
            limits: limits(&task.limits),
            oom_score_adj: task.oom_score_adj,
            filter: task::zygote_filter(inputs.policy, inputs.host)?.to_bytes(),
        };
        Ok(Self { plan, spec })
    }
}

/// Those of its tasks, where what it serves does not add up: the time of all its forks, the
/// connections of all its sandboxes.
fn limits(task: &[(ResourceKind, u64)]) -> Vec<(ResourceKind, u64)> {
    let serving = |(kind, value): &(ResourceKind, u64)| match kind {
        ResourceKind::CpuTime => None,
        ResourceKind::OpenFiles => Some((*kind, (*value).max(CONNECTIONS))),
        _ => Some((*kind, *value)),
    };
    task.iter().filter_map(serving).collect()
}

impl Plan {
    /// Has tasks that are made ready forked from the zygote of this sandbox.
    pub fn fork_from(&mut self, zygote: &str) {
        self.sandbox.zygote = Some(zygote.to_owned());
        self.task.forked = true;
    }
}
