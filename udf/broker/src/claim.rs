//! What a session that waits gets: a sandbox, or the reason why there is none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_policy::PolicyErrors;
use lakekeep_sandbox::{Claimed, PlanningError, SandboxError};
use lakekeep_tree::Environment;

use crate::environment::EnvironmentError;
use crate::kind::QUEUE;
use crate::limits::LimitsError;
use crate::pools::KINDS;
use crate::waiting::Waiting;

/// When to ask again where others are in the way.
const LATER: Duration = Duration::from_secs(1);

/// A sandbox for one session, and what is not as it should be.
#[derive(Debug)]
pub struct Claim {
    /// It serves nobody else.
    pub sandbox: Claimed,
    /// What runs its worker.
    pub interpreter: PathBuf,
    /// What slows it down.
    pub warning: Option<String>,
    /// Its environment stays in the store for as long as it lives.
    pub pinned: Option<Arc<Environment>>,
}

/// A session that waits no more, and why: all who waited for one kind share its error.
pub type Served = (Waiting, Result<Claim, Arc<ClaimError>>);

/// Why there is no sandbox for a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Of what was asked.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The limits are not to be had.
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
    /// Of the host, or of the interpreter.
    #[error(transparent)]
    Planning(#[from] PlanningError),
    /// Of the captured environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Of the sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What every worker of the environment imports cannot be imported.
    #[error(
        "the environment of {} cannot import {modules}; do so outside of a sandbox, and mend it, or name other modules. Its interpreter said: {words}",
        .interpreter.display()
    )]
    Imports {
        /// The environment's.
        interpreter: PathBuf,
        /// Their names.
        modules: String,
        /// What the interpreter wrote last: a traceback, most often.
        words: String,
    },
    /// It takes too long.
    #[error(
        "the environment of {} has not imported {modules} within {} s; raise the broker's --zygote-timeout (zygote_timeout=), or import less{}",
        .interpreter.display(), .patience.as_secs_f64(), wrote(.words)
    )]
    Slow {
        /// The environment's.
        interpreter: PathBuf,
        /// Their names.
        modules: String,
        /// How long it was waited for.
        patience: Duration,
        /// What the interpreter wrote meanwhile.
        words: String,
    },
    /// Too many wait for one environment.
    #[error(
        "{QUEUE} sessions wait for the environment of {}, and no more may; ask again when it has made its imports",
        .interpreter.display()
    )]
    Crowded {
        /// The environment's.
        interpreter: PathBuf,
    },
    /// Too many environments are waited for.
    #[error("{KINDS} environments are being started, and no more may; ask again later")]
    Busy,
}

impl ClaimError {
    /// The word for it in the answer, where an engine may want to tell it from others.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Imports { .. } | Self::Environment(_) => Some("ENVIRONMENT_FAILED"),
            Self::Slow { .. } => Some("ENVIRONMENT_SLOW"),
            Self::Crowded { .. } | Self::Busy => Some("QUEUE_FULL"),
            Self::Limits(_) | Self::Policy(_) | Self::Planning(_) | Self::Sandbox(_) => None,
        }
    }

    /// After which time to ask again may help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Crowded { .. } | Self::Busy).then_some(LATER)
    }
}

fn wrote(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(". Its interpreter said meanwhile: {words}"),
    }
}
