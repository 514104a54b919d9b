//! Why a stream ended, in the protocol's three kinds.

use lakekeep_udf_client::UdfError;

use super::proto::execution_error::Kind;
use super::proto::{ExecutionError, ProtocolError, UserError, WorkerError};

/// A failure that the engine is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The function's own exception.
    User {
        /// What it says, and what to do.
        message: String,
        /// The user's frames.
        traceback: String,
        /// The exception's class.
        class: String,
    },
    /// What befell the worker.
    Worker(String),
    /// What the engine should not have sent.
    Protocol(String),
}

impl From<Failure> for ExecutionError {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::User {
                message,
                traceback,
                class,
            } => Kind::User(UserError {
                message,
                traceback: (!traceback.is_empty()).then_some(traceback),
                error_class: (!class.is_empty()).then_some(class),
            }),
            Failure::Worker(message) => Kind::Worker(WorkerError {
                message,
                traceback: None,
            }),
            Failure::Protocol(message) => Kind::Protocol(ProtocolError { message }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<UdfError> for Failure {
    /// A function that answers something else than was declared is the user's to mend, as is
    /// one that cannot be opened; a batch that is not as declared is the engine's.
    fn from(error: UdfError) -> Self {
        let message = with_remedy(&error);
        match error {
            UdfError::Raised(raised) => Self::User {
                message: raised.message,
                traceback: raised.traceback,
                class: raised.kind,
            },
            UdfError::Refused { .. } | UdfError::BadFunction(_) => Self::User {
                message,
                traceback: String::new(),
                class: String::new(),
            },
            UdfError::Input(_) => Self::Protocol(message),
            _ => Self::Worker(message),
        }
    }
}

/// The error with its causes, and what to do.
fn with_remedy(error: &UdfError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    format!("{text}; {}", error.remedy())
}
