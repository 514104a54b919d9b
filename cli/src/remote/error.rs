//! Why a manager's command failed.

use lakekeep_client::{ClientError, TargetError};

use crate::environment::EnvironmentError;
use crate::request::RequestError;
use crate::run::RunError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(
        "the manager asks for a file that is none of the environment's; is it of another version?"
    )]
    Foreign,
    #[error("the thread that reads the environment's files has ended early")]
    Thread(#[source] tokio::task::JoinError),
    /// Nobody reads what is printed: that is no error.
    #[error("nobody reads the output")]
    NobodyReads,
    #[error("standard output cannot be written")]
    Output(#[source] std::io::Error),
    #[error("the runtime of this program cannot be started")]
    Runtime(#[source] std::io::Error),
    #[error("{path} cannot be {done}; check the path and its permissions")]
    File {
        path: String,
        done: &'static str,
        #[source]
        error: std::io::Error,
    },
    #[error("{0}; write lakekeep cp LOCAL SANDBOX:/PATH, or lakekeep cp SANDBOX:/PATH LOCAL")]
    Copy(&'static str),
    #[error("the manager's {what} is no JSON; is it of another version?")]
    NotJson {
        what: &'static str,
        #[source]
        error: serde_json::Error,
    },
    #[error("{0:?} is no time; write 2026-01-31T12:00:00Z, or how long ago, such as 2h")]
    Time(String),
    #[error("{0:?} is no text; a manager takes UTF-8 here")]
    NotText(std::ffi::OsString),
    #[error(
        "the flows cannot be written to {path}; check the path, its permissions and the room on its disk"
    )]
    Arrow {
        path: String,
        #[source]
        error: arrow_schema::ArrowError,
    },
    #[error("a secret is at most {0} bytes")]
    LongSecret(usize),
    #[error(
        "the manager closed the task's streams before its end; `lakekeep events` says what happened"
    )]
    NoEnd,
    #[error("{0} of {1} failed")]
    Some(usize, usize),
}

impl From<std::io::Error> for RemoteError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Output(error),
        }
    }
}
