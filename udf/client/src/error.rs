//! Why a call failed: one variant for each way.

use arrow_schema::ArrowError;

/// A user's function could not be run, or what it answered cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdfError {
    /// The function raised an exception; the session goes on.
    #[error("the function raised {0}")]
    Raised(Box<Raised>),
    /// The function needed more memory than its sandbox may have.
    #[error("the function ran out of memory at a batch of {rows} rows{}", figures(*limit, *peak))]
    OutOfMemory {
        /// Bytes that the sandbox may have, where known.
        limit: Option<u64>,
        /// Bytes that it had at most, where known.
        peak: Option<u64>,
        /// Rows of the batch at which it happened.
        rows: u64,
    },
    /// The function took longer than it may; its session was ended.
    #[error("{name} {what}")]
    TimedOut {
        /// The function's.
        name: String,
        /// Which time was over.
        what: String,
    },
    /// The function's process ended in the middle of its work.
    #[error("{0}")]
    Crashed(Box<Crash>),
    /// Another thread cancelled; the session was ended.
    #[error("the call was cancelled")]
    Cancelled,
    /// The sandbox sent what no worker sends: it is broken or hostile, and was ended.
    #[error("the worker broke the protocol: {0}")]
    Protocol(String),
    /// The function answered with other types, rows or bytes than were declared.
    #[error("{message}")]
    Refused {
        /// What is wrong with the answer.
        message: String,
        /// The worker refused it, and the session goes on; else the engine did, and ended it.
        by_worker: bool,
    },
    /// The session had ended before.
    #[error("the session has ended: {0}")]
    Closed(String),
    /// No sandbox can be had: the broker cannot be started, has ended, or refused.
    #[error("{message}")]
    Unavailable {
        /// What failed, on what, why.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The function, or how it was declared, cannot be used.
    #[error("{0}")]
    BadFunction(String),
    /// What the engine gave is not what it had declared; the worker has not seen it.
    #[error("the input cannot be sent")]
    Input(#[source] ArrowError),
}

/// An exception of the user's, in its own words: they come from a sandbox, bounded and
/// without control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}: {message}{}", in_row(*row), after_line(traceback))]
pub struct Raised {
    /// The exception's class.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// The user's frames.
    pub traceback: String,
    /// The index of the row in its batch, where the kind tells it.
    pub row: Option<u64>,
    /// What the function had printed in its session, at most 64 KiB.
    pub output: String,
}

/// The end of a function's process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", in_library(library))]
pub struct Crash {
    /// What happened.
    pub what: String,
    /// The signal's name, such as `SIGSEGV`; empty when it was none.
    pub signal: String,
    /// The library whose code ran, as the process itself said; may be empty.
    pub library: String,
    /// Python's frames, as the process itself said; may be empty.
    pub stack: String,
    /// What to do, where the broker knows.
    pub remedy: String,
    /// What the function had printed in its session, at most 64 KiB.
    pub output: String,
}

impl UdfError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::Raised(_) => "mend the function",
            Self::OutOfMemory { .. } => "raise the limit of memory, or send smaller batches",
            Self::TimedOut { .. } => {
                "raise the time-out, send smaller batches, or make the function do less"
            }
            Self::Crashed(crash) if !crash.remedy.is_empty() => &crash.remedy,
            Self::Crashed(_) => "open another session; halve the batch to find the row",
            Self::Cancelled => "open another session, if the call is still wanted",
            Self::Protocol(_) => {
                "the function's code tampers with its worker, or the two are of different versions"
            }
            Self::Refused { .. } => "declare what the function returns, or mend it",
            Self::Closed(_) => "open another session",
            Self::Unavailable { remedy, .. } => remedy,
            Self::BadFunction(_) => "mend the declaration, or what the function imports",
            Self::Input(_) => "send what was declared as the function's arguments",
        }
    }

    /// Whether the same call can succeed when it is made again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::Closed(_) | Self::Unavailable { .. }
        )
    }

    /// Whether the session can be called again.
    #[must_use]
    pub fn survived(&self) -> bool {
        matches!(
            self,
            Self::Raised(_)
                | Self::Input(_)
                | Self::Refused {
                    by_worker: true,
                    ..
                }
        )
    }

    /// A stable word for logs and protocols.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Raised(_) => "UDF_RAISED",
            Self::OutOfMemory { .. } => "UDF_OUT_OF_MEMORY",
            Self::TimedOut { .. } => "UDF_TIMED_OUT",
            Self::Crashed(_) => "UDF_CRASHED",
            Self::Cancelled => "UDF_CANCELLED",
            Self::Protocol(_) => "UDF_PROTOCOL",
            Self::Refused { .. } => "UDF_RESULT_REFUSED",
            Self::Closed(_) => "UDF_SESSION_CLOSED",
            Self::Unavailable { .. } => "UDF_BROKER_UNAVAILABLE",
            Self::BadFunction(_) => "UDF_BAD_FUNCTION",
            Self::Input(_) => "UDF_BAD_INPUT",
        }
    }

    pub(crate) fn unavailable(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self::Unavailable { message, remedy }
    }
}

fn figures(limit: Option<u64>, peak: Option<u64>) -> String {
    let named = [("limit", limit), ("peak", peak)];
    let told: Vec<String> = named
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name} {value} bytes")))
        .collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(" ({})", told.join(", ")),
    }
}

fn in_row(row: Option<u64>) -> String {
    row.map(|row| format!(" in row {row}")).unwrap_or_default()
}

fn after_line(traceback: &str) -> String {
    match traceback.trim_end() {
        "" => String::new(),
        lines => format!("\n{lines}"),
    }
}

fn in_library(library: &str) -> String {
    match library {
        "" => String::new(),
        library => format!(" in {library}"),
    }
}
