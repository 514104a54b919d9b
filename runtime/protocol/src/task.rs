//! Between the manager and a sandbox's init.

use serde::{Deserialize, Serialize};

use crate::facts::{EndFacts, TaskFacts, UsageFacts};

/// What a manager may ask of an init.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InitRequest {
    /// Start a task. Descriptors: stdin, stdout, stderr; none with a terminal.
    Spawn {
        /// The manager's number for it.
        task: u32,
        /// Have one more ready afterwards, sealed as this one.
        again: bool,
        /// What to start, and how it is sealed.
        spec: Box<TaskSpec>,
    },
    /// Have a task ready that is sealed like this one, instead of what was ready: its
    /// namespaces and its seal, all but the command. A later `Spawn` that is sealed alike
    /// makes it its own. What cannot be made ready is made when it is asked for.
    Prepare {
        /// How it is sealed; its command, its variables and its working directory are
        /// not looked at.
        spec: Box<TaskSpec>,
    },
    /// Send a signal to a task's command; 9 ends the whole task.
    Signal {
        /// Which task.
        task: u32,
        /// signal(7).
        signal: i32,
    },
    /// Say which tasks there are. A manager that took over another's sandbox asks
    /// first: whatever comes before the answer was meant for the other.
    List {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// Mount a tree, for tasks that start from now on. One descriptor: the tree.
    Place {
        /// Absolute, inside: an empty directory of the root.
        target: String,
    },
    /// Mount trees, for the task that is ready and for those that start from now on. As many
    /// descriptors, in the order of their places. After a failure some may be mounted: end
    /// the sandbox then.
    Show {
        /// Absolute, inside: directories or files of the root, as what is shown there.
        targets: Vec<String>,
    },
    /// The end of a task is known: it need not be told again.
    Acknowledge {
        /// Which task.
        task: u32,
    },
}

/// What an init says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InitReply {
    /// It runs and listens.
    Started,
    /// The task is sealed, was read back, and is about to run. One descriptor
    /// with a terminal: its controller.
    Spawned {
        /// Which task.
        task: u32,
        /// The task, read back from the kernel by the init.
        facts: Box<TaskFacts>,
    },
    /// The task did not start; nothing of it is left.
    SpawnFailed {
        /// Which task.
        task: u32,
        /// Where it failed.
        failure: TaskFailure,
    },
    /// The task has ended, with all its processes.
    Exited(Exited),
    /// A task is ready: whoever asks for one that is sealed alike waits for nothing that
    /// can be made before.
    Ready {
        /// It was forked from the sandbox's zygote.
        forked: bool,
    },
    /// What was to be mounted was, or not.
    Placed {
        /// 0, or why not.
        errno: i32,
    },
    /// The tasks that run, and the ends of those that were not acknowledged.
    Tasks {
        /// Of the question.
        nonce: u64,
        /// Numbers.
        running: Vec<u32>,
        /// Ends, the oldest first, at most [`MAX_ENDS`].
        ended: Vec<Exited>,
    },
}

/// Most ends that an init remembers for a later manager; the oldest are forgotten.
pub const MAX_ENDS: usize = 32;

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    /// Which task.
    pub task: u32,
    /// How its command ended.
    pub ended: EndFacts,
    /// What it used.
    pub usage: UsageFacts,
    /// Free bytes and inodes of its scratch file system at the end.
    pub scratch_free: (u64, u64),
    /// Refused system calls, number and count, when they were asked for.
    pub refused: Vec<(i32, u32)>,
}

/// Why a task did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    /// Which step.
    pub step: TaskStep,
    /// The kernel's errno.
    pub errno: i32,
    /// For a step over a list (masks, limits, paths tried), which element.
    pub index: u16,
}

/// The steps of starting a task, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum TaskStep {
    /// The request itself was refused.
    Check,
    /// Terminal, rule set, scratch file system: before the clone.
    Prepare,
    /// The clone into new namespaces.
    Clone,
    /// Its own /proc.
    MountProc,
    /// Masked and read-only paths in /proc.
    MaskProc,
    /// Its writable directories.
    MountScratch,
    /// The host name.
    Hostname,
    /// The fork of the command.
    Fork,
    /// The fork of the command by the sandbox's zygote.
    Zygote,
    /// Session and controlling terminal.
    Session,
    /// Resource limits.
    Limits,
    /// Its score for the out-of-memory killer.
    OomScore,
    /// A keyring of its own.
    Keyring,
    /// Capabilities.
    Capabilities,
    /// User and groups.
    Identity,
    /// No new privileges.
    NoNewPrivileges,
    /// No memory that becomes executable.
    ExecutableGain,
    /// Landlock.
    Landlock,
    /// What a task that was ready shall execute.
    Order,
    /// stdin, stdout and stderr.
    Stdio,
    /// The processors it may use.
    Affinity,
    /// Working directory.
    WorkingDirectory,
    /// The seccomp filter.
    Seccomp,
    /// The seal, read back from the kernel.
    ReadBack,
    /// The exec of the command.
    Exec,
}

impl TaskStep {
    /// All steps, in order.
    pub const ALL: [Self; 25] = [
        Self::Check,
        Self::Prepare,
        Self::Clone,
        Self::MountProc,
        Self::MaskProc,
        Self::MountScratch,
        Self::Hostname,
        Self::Fork,
        Self::Zygote,
        Self::Session,
        Self::Limits,
        Self::OomScore,
        Self::Keyring,
        Self::Capabilities,
        Self::Identity,
        Self::NoNewPrivileges,
        Self::ExecutableGain,
        Self::Landlock,
        Self::Order,
        Self::Stdio,
        Self::Affinity,
        Self::WorkingDirectory,
        Self::Seccomp,
        Self::ReadBack,
        Self::Exec,
    ];

    /// The step with this number, as a child reports it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A command and everything that seals it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The command and its arguments, no NUL inside.
    pub arguments: Vec<Vec<u8>>,
    /// `NAME=value`, no NUL inside. The command is looked up in its `PATH`.
    pub environment: Vec<Vec<u8>>,
    /// Absolute, inside.
    pub working_directory: String,
    /// User id inside.
    pub user: u32,
    /// Group id inside.
    pub group: u32,
    /// The task's host name.
    pub hostname: String,
    /// Its writable directories.
    pub scratch: Scratch,
    /// Its /proc.
    pub proc: ProcView,
    /// Resource limits: kind and value, soft and hard alike.
    pub limits: Vec<(ResourceKind, u64)>,
    /// How many processors it may use; 0: all.
    pub processors: u32,
    /// Raised score for the out-of-memory killer: the task dies before the init.
    pub oom_score_adj: i16,
    /// The seccomp filter, 8 bytes an instruction.
    pub filter: Vec<u8>,
    /// It allows what a process calls until its exec: one that waits for its command can
    /// have it already.
    pub filter_early: bool,
    /// Report refused calls: the filter then notifies instead of answering, and
    /// the init answers `EPERM`, or `ENOSYS` for the numbers listed here.
    pub explain: Option<Vec<i32>>,
    /// The second layer over the file system; `None` where the kernel has none.
    pub landlock: Option<LandlockRules>,
    /// Refuse memory that is writable and becomes executable.
    pub refuse_executable_gain: bool,
    /// Rows and columns, for a task with a terminal.
    pub terminal: Option<(u16, u16)>,
    /// File mode creation mask.
    pub umask: u32,
    /// Not a program of the image, but the init's own file service ([`FILES`]), sealed as
    /// any command. The filter has to allow execveat(2).
    pub file_service: bool,
    /// One that is made ready is forked from the sandbox's zygote, where it has one; any
    /// other is executed.
    pub forked: bool,
    /// Files in [`SECRETS_DIRECTORY`], by name, which this task alone sees: on a file
    /// system of its own, in memory, read-only, for its user alone.
    pub secrets: Vec<(String, Vec<u8>)>,
}

impl TaskSpec {
    /// Whether a task can be ready before its command is known: what it is given does not
    /// have to be made for it.
    #[must_use]
    pub fn can_be_ready(&self) -> bool {
        self.terminal.is_none()
            && self.explain.is_none()
            && self.secrets.is_empty()
            && !self.file_service
    }

    /// Whether the two are the same but for command, variables and working directory.
    #[must_use]
    pub fn seals_like(&self, other: &Self) -> bool {
        // Taken apart, so that a new field is not forgotten.
        let Self {
            arguments: _,
            environment: _,
            working_directory: _,
            user,
            group,
            hostname,
            scratch,
            proc,
            limits,
            processors,
            oom_score_adj,
            filter,
            filter_early,
            explain,
            landlock,
            refuse_executable_gain,
            terminal,
            umask,
            file_service,
            forked,
            secrets,
        } = self;
        (*user, *group, *umask) == (other.user, other.group, other.umask)
            && (*processors, *oom_score_adj) == (other.processors, other.oom_score_adj)
            && *refuse_executable_gain == other.refuse_executable_gain
            && *filter_early == other.filter_early
            && (*terminal, *file_service) == (other.terminal, other.file_service)
            && *forked == other.forked
            && *hostname == other.hostname
            && *scratch == other.scratch
            && *proc == other.proc
            && *limits == other.limits
            && *filter == other.filter
            && *explain == other.explain
            && *landlock == other.landlock
            && *secrets == other.secrets
    }
}

/// One size-limited tmpfs and the places where parts of it appear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    /// Bytes, all together.
    pub size: u64,
    /// Files and directories, all together.
    pub inodes: u64,
    /// Programs on it can be run.
    pub executable: bool,
    /// Where each part appears, and its permission bits.
    pub directories: Vec<(String, u32)>,
    /// Mounts of the root file system that lie below one of these places and
    /// stay in sight, and whether each is a directory.
    pub kept: Vec<(String, bool)>,
    /// One for all tasks of the sandbox that say so, made with the first of them:
    /// what one leaves, the next one finds. Their sizes and places are the same.
    pub shared: bool,
}

/// First argument of the file service. The others are one of
///
/// - `read PATH OFFSET LENGTH`: bytes of a file on standard output; LENGTH 0: to its end;
/// - `write PATH MODE new|replace`: a file from standard input, there when it is whole;
/// - `list PATH LIMIT`: a [`FileEntry`] for each name, as a sequence of postcard values.
///
/// What fails is told by the errno on standard error, in decimal, and exit code 1.
pub const FILES: &str = "lakekeep-files";

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name, as the file system has it.
    pub name: Vec<u8>,
    /// What it names; a link is not followed.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe.
    Other,
}

/// Where [`TaskSpec::secrets`] are.
pub const SECRETS_DIRECTORY: &str = "/run/secrets";

/// Bytes of a task's secrets, all together.
pub const MAX_SECRETS: u64 = 1 << 20;

/// What of /proc a task sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcView {
    /// Only processes (`subset=pid`): nothing of the machine at all.
    pub only_processes: bool,
    /// What can be read as it is, by name below /proc. All else at its top that
    /// is no process and no link reads as empty, whatever this kernel has there.
    pub shown: Vec<String>,
    /// What can be read, not written.
    pub read_only: Vec<String>,
    /// What reads as another file: name below /proc, path inside.
    pub replaced: Vec<(String, String)>,
}

/// The kinds of setrlimit(2) that a policy sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceKind {
    /// Seconds of CPU time.
    CpuTime,
    /// Bytes of a file.
    FileSize,
    /// Open descriptors.
    OpenFiles,
    /// Bytes of a core file.
    CoreSize,
    /// Bytes of locked memory.
    LockedMemory,
    /// Bytes in POSIX message queues.
    MessageQueues,
    /// Processes of the user, where no cgroup counts them.
    Processes,
    /// Bytes of address space, where no cgroup counts memory.
    AddressSpace,
    /// Real-time priority.
    RealTimePriority,
    /// How far niceness can be lowered.
    Nice,
    /// Queued signals.
    PendingSignals,
}

impl ResourceKind {
    /// The limit's name in `/proc/<pid>/limits` (proc_pid_limits(5)).
    #[must_use]
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::CpuTime => "Max cpu time",
            Self::FileSize => "Max file size",
            Self::OpenFiles => "Max open files",
            Self::CoreSize => "Max core file size",
            Self::LockedMemory => "Max locked memory",
            Self::MessageQueues => "Max msgqueue size",
            Self::Processes => "Max processes",
            Self::AddressSpace => "Max address space",
            Self::RealTimePriority => "Max realtime priority",
            Self::Nice => "Max nice priority",
            Self::PendingSignals => "Max pending signals",
        }
    }
}

/// Which paths a task may read, write and execute, whatever the mounts say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRules {
    /// The ABI that the rules are made for.
    pub abi: u32,
    /// Read and execute.
    pub read: Vec<String>,
    /// Read, write, make and remove; the scratch directories besides.
    pub write: Vec<String>,
    /// Read, write and ioctl: devices.
    pub devices: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_numbers_name_their_steps() {
        for (number, step) in TaskStep::ALL.iter().enumerate() {
            assert_eq!(*step as usize, number);
            assert_eq!(TaskStep::from_number(number as u8), Some(*step));
        }
        assert_eq!(TaskStep::from_number(TaskStep::ALL.len() as u8), None);
    }
}
