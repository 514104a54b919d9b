//! Why there is no measurement.

use std::path::{Path, PathBuf};

/// An error that ends the run, or one peer's part in it.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or folder could not be made, read or written.
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    /// A program that is not installed.
    #[error("{program} is not installed; {remedy}")]
    Missing {
        program: String,
        remedy: &'static str,
    },
    /// A program that could not be started.
    #[error("{program} cannot be started")]
    Start {
        program: String,
        #[source]
        error: std::io::Error,
    },
    /// A program that did not do its work.
    #[error("{program}: {status}{}{words}", if words.is_empty() { "" } else { ": " })]
    Failed {
        program: String,
        status: String,
        words: String,
    },
    /// A peer that only root can run.
    #[error("needs root")]
    NeedsRoot,
    /// The guest never said that it runs.
    #[error("{program}: the guest cannot be found among this host's processes")]
    NoGuest { program: String },
    /// A trace in which the run cannot be recognised.
    #[error("the trace of a run has no {0}")]
    Trace(&'static str),
    /// A file that holds no samples.
    #[error("{}, line {line}: lacks {lacks}; give a CSV file that --raw wrote", path.display())]
    Samples {
        path: PathBuf,
        line: usize,
        lacks: &'static str,
    },
    /// A picture that cannot be drawn.
    #[error("draw: {0}")]
    Draw(String),
    /// What a worker could not do, in its own words.
    #[error("{reason}")]
    Worker { absent: bool, reason: String },
    /// A worker ended, and what it said stands on standard error.
    #[error("a worker of this run has ended")]
    LostWorker,
    /// Whose turn it was not.
    #[error("{0} is out of turn")]
    OutOfTurn(&'static str),
    /// The scenarios that ask a manager, where none could be started.
    #[error("no manager runs")]
    NoManager,
    /// Figures that cannot be written as JSON.
    #[error("JSON")]
    Json(#[from] serde_json::Error),
    /// The manager refused something, or was lost.
    #[error("the manager")]
    Manager(#[from] lakekeep_client::ClientError),
    /// The sandboxes of this process.
    #[error(transparent)]
    Sandbox(#[from] lakekeep_sandbox::SandboxError),
    /// What cannot be planned.
    #[error("plan the sandbox")]
    Plan(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Who is not measured here.
    #[error("there is no peer {0} in this process")]
    NoPeer(String),
    /// What a peer of this process answered.
    #[error("{0}")]
    Answer(&'static str),
    /// A user function's session.
    #[error("the Rust client")]
    Udf(#[from] lakekeep_udf_client::UdfError),
    /// A record batch.
    #[error("Arrow")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Something of the kernel's.
    #[error("{operation}")]
    Io {
        operation: &'static str,
        #[source]
        error: std::io::Error,
    },
    /// The kernel does not say what children used.
    #[error("getrusage")]
    Usage(#[from] nix::errno::Errno),
}

impl BenchError {
    /// For `map_err`: what was done, and to what.
    pub fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::File {
            operation,
            path,
            error,
        }
    }

    /// For `map_err`: what was done.
    pub fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { operation, error }
    }

    /// For `map_err`.
    pub fn plan(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Plan(error.into())
    }

    /// Whether there is nothing to measure here, rather than something wrong.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::NeedsRoot | Self::Worker { absent: true, .. }
        )
    }
}
