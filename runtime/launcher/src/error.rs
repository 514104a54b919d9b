//! Why a launcher does not start, or a request fails.

use std::error::Error;

use lakekeep_protocol::launch::{Failure, LaunchStep, MAX_DETAIL};
use lakekeep_sys::Errno;
use lakekeep_sys::error::chain;

/// Why the launcher stops.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "usage: lakekeep-launcher STATE_DIR [UID_START GID_START NEWUIDMAP NEWGIDMAP]; it is started by lakekeep, not by hand"
    )]
    Usage,
    #[error("more than one thread: fork would be unsafe")]
    Threads(#[source] Errno),
    #[error("standard input is not a socket to a manager; this program is started by lakekeep")]
    NoChannel(#[source] Errno),
    #[error(
        "{path} is a link, another user's, or writable by others, and cannot hold the launcher's state; remove it, or set LAKEKEEP_STATE_DIR to a folder of your own"
    )]
    ForeignFolder { path: String },
    #[error("the launcher's watching process has ended")]
    NoWatcher,
    #[error("no mount namespace; CAP_SYS_ADMIN is needed")]
    MountNamespace(#[source] Errno),
    #[error("no network namespace; CAP_NET_ADMIN over the user namespace is needed")]
    NetworkNamespace(#[source] Errno),
    #[error("no user namespace; run `lakekeep doctor` for the switch to change")]
    UserNamespace(#[source] Errno),
    #[error(
        "{helper} failed with {status}; are the ranges in /etc/subuid and /etc/subgid the caller's?"
    )]
    MapHelper { helper: String, status: String },
    #[error(transparent)]
    Kernel(#[from] lakekeep_sys::Error),
    #[error("control groups")]
    Cgroup(#[from] lakekeep_sys::cgroup::CgroupError),
    #[error(transparent)]
    Protocol(#[from] lakekeep_protocol::ProtocolError),
}

impl StartError {
    /// The error and its sources on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// A request that failed: the step, the errno, and words for the log.
#[derive(Debug)]
pub struct Failed {
    step: LaunchStep,
    errno: i32,
    detail: String,
}

impl Failed {
    /// A failure with an errno and nothing to add.
    pub fn errno(step: LaunchStep, errno: Errno) -> Self {
        Self {
            step,
            errno: errno.raw_os_error(),
            detail: String::new(),
        }
    }

    /// A refusal that the kernel had no part in.
    pub fn refused(step: LaunchStep, detail: impl Into<String>) -> Self {
        Self {
            step,
            errno: 0,
            detail: detail.into(),
        }
    }

    /// Whether it is this step that failed.
    pub fn is_of(&self, step: LaunchStep) -> bool {
        self.step == step
    }

    /// One of the processes that take the step was killed by somebody else.
    pub fn interrupted(step: LaunchStep, signal: i32) -> Self {
        Self {
            step,
            errno: Errno::INTR.raw_os_error(),
            detail: format!("a process of it was ended by signal {signal}"),
        }
    }

    /// Wraps one of our own kernel errors.
    pub fn kernel(step: LaunchStep) -> impl Fn(lakekeep_sys::Error) -> Self {
        move |error| Self {
            step,
            errno: error.errno.raw_os_error(),
            detail: error.to_string(),
        }
    }

    /// Wraps any error, with what of its chain is a system error.
    pub fn other(step: LaunchStep, error: &(dyn Error + 'static)) -> Self {
        Self {
            step,
            errno: os_error(error),
            detail: chain(error),
        }
    }

    /// As it goes to the manager, bounded.
    pub fn to_wire(&self) -> Failure {
        let end = self.detail.floor_char_boundary(MAX_DETAIL);
        Failure {
            step: self.step,
            errno: self.errno,
            detail: self.detail.get(..end).unwrap_or_default().to_owned(),
        }
    }
}

fn os_error(error: &(dyn Error + 'static)) -> i32 {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(code) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
        {
            return code;
        }
        if let Some(errno) = error.downcast_ref::<Errno>() {
            return errno.raw_os_error();
        }
        current = error.source();
    }
    0
}
