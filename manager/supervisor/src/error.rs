//! Why a supervisor cannot start or go on.

use lakekeep_sandbox::SandboxError;
use rustix::io::Errno;

/// What failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A folder or a socket.
    #[error("cannot {operation} {path}{remedy}")]
    Place {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: String,
        /// What to do.
        remedy: &'static str,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Another manager has the socket.
    #[error("another manager listens on {path}; stop it first, or set another `socket`")]
    InUse {
        /// The socket.
        path: String,
    },
    /// A launcher, or its socket.
    #[error(transparent)]
    Launcher(#[from] SandboxError),
    /// A program could not be started.
    #[error("{program} cannot be started")]
    Start {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The kernel refused.
    #[error("{operation}")]
    Kernel {
        /// What was attempted.
        operation: &'static str,
        /// The errno.
        #[source]
        errno: Errno,
    },
    /// The host's facts cannot be handed on.
    #[error("the host's facts cannot be written down")]
    Facts(#[from] serde_json::Error),
}

impl SupervisorError {
    pub(crate) fn kernel(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Kernel { operation, errno }
    }

    pub(crate) fn place(
        operation: &'static str,
        path: &std::path::Path,
        remedy: &'static str,
    ) -> impl Fn(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Place {
            operation,
            path: path.clone(),
            remedy,
            error,
        }
    }
}
