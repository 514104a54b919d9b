//! What can go wrong with a control group, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::Controller;

/// A failure: the operation, the path, the errno (as source) and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The kernel refused an operation.
    #[error("cannot {operation} {}{}", path.display(), remedy_of(*operation, *errno))]
    Io {
        /// What was tried.
        operation: Operation,
        /// On which file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A kernel file was longer than any that the kernel writes.
    #[error("{} is longer than {limit} bytes: not a file of the kernel's", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read of it.
        limit: usize,
    },
    /// A kernel file holds something else than documented.
    #[error("{} holds {found:?}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The text that was refused, shortened.
        found: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The path of a group is not one of ours.
    #[error("refusing the control group {path:?}: {why}")]
    RefusedPath {
        /// The path, as given.
        path: String,
        /// The rule that it broke.
        why: &'static str,
    },
    /// No hierarchy is mounted, so nothing can be limited or even named.
    #[error(
        "no control group hierarchy is mounted; mount one: \
         mount -t cgroup2 none /sys/fs/cgroup"
    )]
    NotMounted,
    /// The controller is in no mounted hierarchy.
    #[error(
        "the {controller} controller is not available in any mounted hierarchy; \
         enable it at boot, or have it delegated"
    )]
    NoController {
        /// The controller.
        controller: Controller,
    },
    /// The calling process is itself in the group that was to be killed.
    #[error("refusing to kill {}: the calling process is in it", path.display())]
    ContainsCaller {
        /// The group.
        path: PathBuf,
    },
    /// Processes were still there when the deadline passed.
    #[error(
        "{} still holds {} after {waited:?}; a process in state D waits for a device: \
         see /proc/PID/stack",
        path.display(), survivors(pids)
    )]
    StillPopulated {
        /// The group.
        path: PathBuf,
        /// Those that could be seen; empty if they are in a foreign pid namespace.
        pids: Vec<Pid>,
        /// How long was waited.
        waited: Duration,
    },
    /// Processes still ran when the deadline for freezing passed.
    #[error(
        "{} is not frozen after {waited:?}; a process in state D waits for a device: try again",
        path.display()
    )]
    StillRunning {
        /// The group, or its file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// More groups below one of ours than any sandbox has reason to make.
    #[error("{} has more than {limit} groups below it", path.display())]
    TooManyGroups {
        /// The group.
        path: PathBuf,
        /// The most that are walked.
        limit: usize,
    },
}

impl CgroupError {
    /// The errno, where the kernel refused something.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// What was tried on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// open(2) or read(2).
    Read,
    /// A setting written to a control file.
    Write,
    /// A process moved into the group.
    Attach,
    /// A controller enabled for the children of a group.
    Enable,
    /// mkdir(2).
    Create,
    /// readdir(3).
    List,
    /// A signal to what runs in the group.
    Kill,
    /// poll(2) for the end of what runs in the group.
    Wait,
    /// rmdir(2).
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Attach => "move a process into",
            Self::Enable => "enable controllers in",
            Self::Create => "create",
            Self::List => "list",
            Self::Kill => "kill the processes of",
            Self::Wait => "wait for",
            Self::Remove => "remove",
        })
    }
}

/// The remedy, as the end of a sentence; empty where there is none.
fn remedy_of(operation: Operation, errno: Errno) -> &'static str {
    match (operation, errno) {
        (Operation::Read | Operation::List, _) => "",
        (_, Errno::ACCESS | Errno::PERM) => {
            "; run as root, or in a delegated group: \
             systemd-run --user --scope -p Delegate=yes COMMAND"
        }
        (_, Errno::ROFS) => "; the hierarchy is mounted read-only: remount it writable",
        (Operation::Enable, Errno::BUSY) => {
            "; it holds processes, and a version 2 group that does so cannot pass \
             controllers on: move them into a group below it"
        }
        (Operation::Enable, Errno::NOENT) => "; its parent does not pass the controller on",
        (Operation::Create, Errno::AGAIN) => {
            "; raise cgroup.max.descendants or cgroup.max.depth above it"
        }
        (Operation::Create, Errno::NOSPC) => "; the kernel has no free group id: remove old groups",
        (Operation::Write, Errno::INVAL) => "; the value exceeds what the parent group allows",
        (Operation::Write, Errno::BUSY) => "; more is in use already than the limit allows",
        (Operation::Remove, Errno::BUSY) => "; something was put into it meanwhile",
        _ => "",
    }
}

fn survivors(pids: &[Pid]) -> String {
    match pids {
        [] => "processes of a foreign pid namespace".to_owned(),
        [first, rest @ ..] => {
            let first = first.as_raw_nonzero();
            match rest.len() {
                0 => format!("process {first}"),
                more => format!("process {first} and {more} more"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn io_names_operation_path_and_remedy_but_not_its_source() {
        let error = CgroupError::Io {
            operation: Operation::Create,
            path: PathBuf::from("/sys/fs/cgroup/lakekeep/a"),
            errno: Errno::ACCESS,
        };
        let text = error.to_string();
        assert!(text.starts_with("cannot create /sys/fs/cgroup/lakekeep/a; run as root"));
        let source = error.source().unwrap().to_string();
        assert!(!text.contains(&source));
    }

    #[test]
    fn survivors_are_counted() {
        let pid = |raw| Pid::from_raw(raw).unwrap();
        assert_eq!(survivors(&[pid(7)]), "process 7");
        assert_eq!(survivors(&[pid(7), pid(8)]), "process 7 and 1 more");
    }
}
