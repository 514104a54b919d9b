//! Why a relay cannot serve.

use lakekeep_egress_rules::Service;
use lakekeep_protocol::ProtocolError;
use lakekeep_sys::Errno;

/// A failure of the relay itself, never of a flow.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A call of the kernel's.
    #[error("{operation}")]
    Kernel {
        /// What was attempted.
        operation: &'static str,
        /// What it answered.
        #[source]
        errno: Errno,
    },
    /// The file system rules.
    #[error("Landlock refused the rules; the kernel is older than Linux 5.13, or has it off")]
    Landlock(#[from] landlock::RulesetError),
    /// The filter of system calls was not built for this architecture.
    #[error("there is no seccomp filter for this architecture; run it on x86_64 or aarch64")]
    NoFilter,
    /// The filter of system calls cannot be read.
    #[error("the seccomp filter of this build; this is a bug, please report it")]
    Filter(#[from] lakekeep_seccomp::ProgramError),
    /// The asynchronous runtime.
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    /// The manager cannot be believed.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Whoever started it is gone.
    #[error("the supervisor ended while this process started")]
    Orphan,
    /// A thread that talks to the manager has ended.
    #[error("a thread of the relay ended; this is a bug, please report it")]
    Thread,
}

/// Names a failed call.
pub fn kernel(operation: &'static str) -> impl Fn(Errno) -> RelayError {
    move |errno| RelayError::Kernel { operation, errno }
}

/// Why a sandbox is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its rules.
    #[error(transparent)]
    Rules(#[from] lakekeep_egress_rules::DocumentErrors),
    /// No rules at all: they would allow everything.
    #[error("no document of rules came")]
    NoRules,
    /// The two sockets did not come.
    #[error("{0} descriptors came instead of two")]
    Descriptors(usize),
    /// A socket cannot be used.
    #[error("a socket of the sandbox's cannot be used")]
    Socket(#[from] std::io::Error),
    /// No addresses for its names.
    #[error(transparent)]
    Names(#[from] lakekeep_egress_names::PoolError),
    /// No randomness for them.
    #[error("getrandom")]
    Random(#[source] Errno),
    /// A Unix socket that a document grants.
    #[error(
        "the granted socket {} cannot be connected to (each folder on its way is opened through no link); start its server, write the path without links, or let the relay's user reach it",
        path.display()
    )]
    Grant {
        /// Where it was said to be.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        errno: Errno,
    },
    /// A service is granted, and whoever started the relay is no manager.
    #[error(
        "the service {0} is granted, and services need a manager, which answers them; run it through one (LAKEKEEP_SOCKET), or leave it out of services"
    )]
    NoManager(Service),
    /// A service is granted that the manager does not answer.
    #[error("the manager does not answer the service {0}; install lakekeep's binaries together")]
    NotServed(Service),
    /// It is served already.
    #[error("a sandbox of this identifier is served")]
    Known,
    /// Nothing of this identifier is served.
    #[error("no sandbox of this identifier is served")]
    Unknown,
    /// This host's own addresses.
    #[error("the host's own addresses cannot be read")]
    OwnAddresses(#[source] Errno),
}
