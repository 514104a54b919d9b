//! Why a request is refused or fails, for whoever sent it.

use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::{Reason, bounded};
use lakekeep_sandbox::{PlanningError, SandboxError, chain};
use lakekeep_store::audit::Event;
use tonic::Status;

/// A failed request: the reason as a word, what happened to what, and the remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    reason: Reason,
    message: String,
    retry: Option<Duration>,
    event: Option<Box<Event>>,
}

impl Fault {
    /// A fault with its message: what, on what, and what to do; bounded as headers are.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: bounded(message.into()),
            retry: None,
            event: None,
        }
    }

    /// There is no such sandbox, or it is not to be seen: in the same words.
    pub fn no_sandbox(id: &str) -> Self {
        let shown = shown(id);
        Self::new(
            Reason::NotFound,
            format!("no sandbox {shown:?} of yours; `lakekeep ps` lists them"),
        )
    }

    /// Trying again after `delay` may help.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self {
            retry: Some(delay),
            ..self
        }
    }

    /// The audit log tells more of it than its caller may know: this event, written
    /// where the answer leaves (`refusals`).
    #[must_use]
    pub fn noted_as(self, event: Event) -> Self {
        Self {
            event: Some(Box::new(event)),
            ..self
        }
    }

    /// What the audit log tells of it, if that was said.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_deref()
    }

    /// Of the manager's own making.
    pub fn internal(operation: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(Reason::Internal, format!("{operation}: {}", chain(error)))
    }

    /// When trying again may help, where it may.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The word for it.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

/// The beginning of a name that a caller gave: enough to know it again.
pub fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

impl From<SandboxError> for Fault {
    fn from(error: SandboxError) -> Self {
        let reason = match &error {
            SandboxError::NotEnforced { .. } => Reason::NotEnforced,
            SandboxError::SandboxEnded => Reason::Ended,
            SandboxError::LauncherEnded { .. }
            | SandboxError::LauncherSilent { .. }
            | SandboxError::Interrupted { .. }
            | SandboxError::NoService { .. } => Reason::Unavailable,
            _ => Reason::Internal,
        };
        let fault = Self::new(reason, chain(&error));
        match reason {
            Reason::Unavailable => fault.retry_after(Duration::from_secs(1)),
            _ => fault,
        }
    }
}

impl From<PlanningError> for Fault {
    fn from(error: PlanningError) -> Self {
        Self::new(Reason::BadPolicy, chain(&error))
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut status = fault.reason.status(&fault.message, fault.retry);
        // Goes no further than the layer that notes refusals.
        status.set_source(Arc::new(fault));
        status
    }
}
