//! Closed sets of words in columns.

use crate::words::words;

words! {
    /// What a sandbox is for.
    pub enum SandboxKind {
        Udf = "udf", "Functions of a query; ends with its engine.";
        Interactive = "interactive", "A person's commands.";
        Kernel = "kernel", "A notebook's kernel.";
        Batch = "batch", "One job.";
    }
}

words! {
    /// Where a sandbox is in its life.
    pub enum SandboxState {
        Creating = "creating", "Asked for, not yet there.";
        Live = "live", "There.";
        Frozen = "frozen", "There, and stopped.";
        Ended = "ended", "It ended.";
        Failed = "failed", "It could not be made.";
        Lost = "lost", "It ended, and nobody saw how.";
    }
}

words! {
    /// Where a task is in its life.
    pub enum TaskState {
        Running = "running", "It runs.";
        Ended = "ended", "It ended.";
        Lost = "lost", "It ended, and nobody saw how.";
    }
}

words! {
    /// Whose a variable or a secret is. A later one replaces an earlier one.
    pub enum Scope {
        Profile = "profile", "A profile's, for everybody in it.";
        Project = "project", "A project's, for everybody in it.";
        User = "user", "A user's own.";
    }
}

impl SandboxState {
    /// Whether nothing comes after it.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            SandboxState::Ended | SandboxState::Failed | SandboxState::Lost
        )
    }
}
