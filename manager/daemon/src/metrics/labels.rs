//! The words that metrics are labelled with. All of them are this program's own.

use lakekeep_sandbox::Kind as VerdictKind;
use prometheus_client::encoding::EncodeLabelSet;

use crate::meta::Kind;

/// One label with a word of a closed set.
pub type Labelled = [(&'static str, &'static str); 1];

/// A call: which method, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Called {
    /// `Service/Method`, of the interface's own description.
    pub method: String,
    /// The gRPC status.
    pub code: &'static str,
}

/// The method alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    /// `Service/Method`.
    pub method: String,
}

/// Which sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Of {
    /// What they are for.
    pub kind: &'static str,
    /// The profile's label.
    pub profile: String,
}

/// Which live sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Living {
    /// What they are for.
    pub kind: &'static str,
    /// The profile's label.
    pub profile: String,
    /// `running` or `frozen`.
    pub state: &'static str,
}

/// A stage on the way to a running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Identity, profile, policy, authorization and trust key of a sandbox.
    Resolve,
    /// Its place within the quotas, waited for.
    Admission,
    /// The look at its image, and its plan.
    Plan,
    /// The launcher's work.
    LauncherCreate,
    /// One that was made ahead becomes its caller's: volumes.
    Claim,
    /// Its init's socket is left with the launcher.
    KeepInit,
    /// A task's plan.
    TaskPlan,
    /// Its streams are left with the launcher.
    KeepStreams,
    /// The init's work.
    TaskStart,
    /// Its record, and its streams are taken up.
    TaskNote,
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Admission => "admission",
            Self::Plan => "plan",
            Self::LauncherCreate => "launcher_create",
            Self::Claim => "claim",
            Self::KeepInit => "keep_init",
            Self::TaskPlan => "task_plan",
            Self::KeepStreams => "keep_streams",
            Self::TaskStart => "task_start",
            Self::TaskNote => "task_note",
        }
    }
}

/// The word for what a sandbox is for.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Interactive => "interactive",
        Kind::Kernel => "kernel",
        Kind::Udf => "udf",
        Kind::Batch => "batch",
    }
}

/// The word for why something ended.
pub fn verdict(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Exit => "exit",
        VerdictKind::Signal => "signal",
        VerdictKind::OutOfMemory => "out_of_memory",
        VerdictKind::WallTime => "wall_time",
        VerdictKind::CpuTime => "cpu_time",
        VerdictKind::Pids => "pids",
        VerdictKind::ExecFailed => "exec_failed",
        VerdictKind::DeniedSyscall => "denied_syscall",
        VerdictKind::DiskFull => "disk_full",
        VerdictKind::FileSize => "file_size",
        VerdictKind::OutputLimit => "output_limit",
        VerdictKind::Killed => "killed",
        VerdictKind::Lost => "lost",
    }
}
