//! Why a task ended, in words that help.

use lakekeep_plan::Plan;
use lakekeep_policy::{Bytes, printable};
use lakekeep_protocol::facts::{EndFacts, GroupUsageFacts};
use lakekeep_protocol::launch::SandboxSpec;
use lakekeep_protocol::task::{Exited, ResourceKind, TaskFailure, TaskStep};
use serde::Serialize;

use crate::egress::Traffic;
use crate::error::{SandboxError, errno_text};
use crate::sandbox::describe;
use crate::task::Interference;

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGSYS: i32 = 31;

/// Exit codes of env(1) and timeout(1).
const TIMED_OUT: i32 = 124;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const BY_SIGNAL: i32 = 128;

/// Names of the signals from 1 on (signal(7); x86-64 and aarch64).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// What ended a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command returned an exit code.
    Exit,
    /// A signal that no limit of the policy explains.
    Signal,
    /// The memory limit.
    OutOfMemory,
    /// The wall-clock limit.
    WallTime,
    /// The CPU-time limit.
    CpuTime,
    /// The limit on processes.
    Pids,
    /// The command could not be executed.
    ExecFailed,
    /// A system call for which the filter kills.
    DeniedSyscall,
    /// The scratch file system was full.
    DiskFull,
    /// A file reached the largest allowed size.
    FileSize,
    /// The limit on output.
    OutputLimit,
    /// Whoever may, or a rule of its profile, ended its sandbox.
    Killed,
    /// Its sandbox was lost: its launcher or its init was killed, or the host failed.
    Lost,
}

/// Why a task ended, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What ended it.
    pub kind: Kind,
    /// What `lakekeep run` exits with.
    pub exit_code: i32,
    /// The signal that ended the command, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The limit that was hit, in its own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much was used of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// What happened, on what.
    pub explanation: String,
    /// What to do about it; empty for an ordinary exit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Verdict {
    /// The verdict on a task that did not end by itself: its sandbox was ended, or lost.
    #[must_use]
    pub fn of_sandbox(kind: Kind, explanation: String, remedy: &str) -> Self {
        Self {
            kind,
            exit_code: BY_SIGNAL + SIGKILL,
            signal: Some(SIGKILL),
            limit: None,
            peak: None,
            explanation,
            remedy: remedy.to_owned(),
        }
    }
}

impl Verdict {
    /// Names the first flow that was not let out: it may be why the task ended as it did.
    #[must_use]
    pub(crate) fn mention(mut self, traffic: Option<&Traffic>) -> Self {
        if let Some(denial) = traffic.and_then(|traffic| traffic.first_denial.as_ref()) {
            self.explanation = format!("{}; {}", self.explanation, printable(denial));
        }
        self
    }
}

/// What is known at the end of a task.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    plan: &'a Plan,
    exited: &'a Exited,
    group: &'a GroupUsageFacts,
    interference: Interference,
}

/// The verdict on a task that ran. The first cause that explains the end wins;
/// our own interference comes before what the kernel says, for we know it.
pub(crate) fn of_end(
    plan: &Plan,
    exited: &Exited,
    group: &GroupUsageFacts,
    interference: Interference,
) -> Verdict {
    let end = End {
        plan,
        exited,
        group,
        interference,
    };
    let causes = [
        wall_time,
        output,
        out_of_memory,
        cpu_time,
        file_size,
        denied_syscall,
        pids,
        disk_full,
    ];
    let found = causes.iter().find_map(|cause| cause(&end));
    found.unwrap_or_else(|| ordinary(&end))
}

impl End<'_> {
    fn signal(&self) -> Option<i32> {
        match self.exited.ended {
            EndFacts::Signaled(signal) => Some(signal),
            EndFacts::Exited(_) => None,
        }
    }

    /// A shell reports a child's signal as 128 more.
    fn killed_by(&self, signal: i32) -> bool {
        self.signal() == Some(signal) || self.exited.ended == EndFacts::Exited(BY_SIGNAL + signal)
    }

    fn failed(&self) -> bool {
        self.exited.ended != EndFacts::Exited(0)
    }

    fn exit_code(&self) -> i32 {
        match self.exited.ended {
            EndFacts::Exited(code) => code,
            // An init of the sandbox says so, and may say anything.
            EndFacts::Signaled(signal) => BY_SIGNAL.saturating_add(signal),
        }
    }

    fn verdict(&self, kind: Kind, explanation: String, remedy: &str) -> Verdict {
        Verdict {
            kind,
            exit_code: self.exit_code(),
            signal: self.signal(),
            limit: None,
            peak: None,
            explanation,
            remedy: remedy.to_owned(),
        }
    }

    fn sandbox(&self) -> &SandboxSpec {
        &self.plan.sandbox
    }

    fn resource(&self, kind: ResourceKind) -> Option<u64> {
        let limits = &self.plan.task.limits;
        limits
            .iter()
            .find(|(limit, _)| *limit == kind)
            .map(|(_, value)| *value)
    }
}

fn wall_time(end: &End<'_>) -> Option<Verdict> {
    let limit = end.plan.wall_time.filter(|_| end.interference.timed_out)?;
    let explanation = format!(
        "ended after {}, the limit on elapsed time",
        lakekeep_policy::format_duration(limit)
    );
    Some(Verdict {
        exit_code: TIMED_OUT,
        limit: Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        ..end.verdict(
            Kind::WallTime,
            explanation,
            "raise limits.wall_time (--timeout), or make it do less",
        )
    })
}

fn output(end: &End<'_>) -> Option<Verdict> {
    if !end.interference.too_much_output {
        return None;
    }
    let limit = end.plan.output;
    let explanation = format!("ended after printing more than {}", Bytes(limit));
    Some(Verdict {
        limit: Some(limit),
        ..end.verdict(
            Kind::OutputLimit,
            explanation,
            "raise limits.output (--output-limit), or write to a mounted file",
        )
    })
}

fn out_of_memory(end: &End<'_>) -> Option<Verdict> {
    if end.group.oom_kills == 0 || !end.failed() {
        return None;
    }
    let limit = end
        .sandbox()
        .limits
        .as_ref()
        .and_then(|limits| limits.memory);
    let who = match end.killed_by(SIGKILL) {
        true => command_name(end.plan),
        false => "a child of the command".to_owned(),
    };
    let peak = end.group.memory_peak;
    let explanation = format!(
        "the kernel killed {who} for memory: limit {}, peak {}, {} killed in all",
        limit.map_or_else(|| "none".to_owned(), |bytes| Bytes(bytes).to_string()),
        peak.map_or_else(|| "unknown".to_owned(), |bytes| Bytes(bytes).to_string()),
        end.group.oom_kills
    );
    Some(Verdict {
        limit,
        peak,
        ..end.verdict(Kind::OutOfMemory, explanation, "raise limits.memory (--memory), or give it less data at a time; files in /tmp count too")
    })
}

fn cpu_time(end: &End<'_>) -> Option<Verdict> {
    let limit = end.resource(ResourceKind::CpuTime)?;
    let used = end.exited.usage.cpu_us();
    let over = end.killed_by(SIGXCPU)
        || (end.killed_by(SIGKILL) && used >= limit.saturating_mul(1_000_000));
    over.then(|| Verdict {
        limit: Some(limit),
        peak: Some(used / 1_000_000),
        ..end.verdict(
            Kind::CpuTime,
            format!("ended after {limit} s of CPU time, the limit"),
            "raise limits.cpu_time (--cpu-time), or make it do less",
        )
    })
}

fn file_size(end: &End<'_>) -> Option<Verdict> {
    let limit = end.resource(ResourceKind::FileSize)?;
    end.killed_by(SIGXFSZ).then(|| Verdict {
        limit: Some(limit),
        ..end.verdict(
            Kind::FileSize,
            format!("wrote a file beyond {}, the limit", Bytes(limit)),
            "raise limits.file_size (--file-size), or write smaller files",
        )
    })
}

fn denied_syscall(end: &End<'_>) -> Option<Verdict> {
    end.killed_by(SIGSYS).then(|| {
        end.verdict(
            Kind::DeniedSyscall,
            "made a system call of a foreign architecture, for which the filter kills".to_owned(),
            "run a program of this machine's own architecture; 32-bit and x32 programs are refused",
        )
    })
}

fn pids(end: &End<'_>) -> Option<Verdict> {
    let refused = end.group.pids_refused;
    if refused == 0 || !end.failed() {
        return None;
    }
    let limit = end.sandbox().limits.as_ref().and_then(|limits| limits.pids);
    let explanation = format!(
        "failed after {refused} refused forks: at most {} processes and threads",
        limit.unwrap_or_default()
    );
    Some(Verdict {
        limit,
        ..end.verdict(
            Kind::Pids,
            explanation,
            "raise limits.pids (--pids), or start fewer processes and threads",
        )
    })
}

fn disk_full(end: &End<'_>) -> Option<Verdict> {
    let (bytes, inodes) = end.exited.scratch_free;
    let scratch = &end.plan.task.scratch;
    let (what, limit, field) = match (bytes, inodes) {
        (0, _) => (
            "bytes",
            scratch.size,
            "limits.scratch_size (--scratch-size)",
        ),
        (_, 0) => (
            "files",
            scratch.inodes,
            "limits.scratch_inodes (--scratch-inodes)",
        ),
        _ => return None,
    };
    end.failed().then(|| Verdict {
        limit: Some(limit),
        ..end.verdict(
            Kind::DiskFull,
            format!("failed with its writable directories full: {limit} {what}, all together"),
            &format!("raise {field}, or write to a mounted folder"),
        )
    })
}

fn ordinary(end: &End<'_>) -> Verdict {
    match end.exited.ended {
        EndFacts::Exited(code) => end.verdict(Kind::Exit, format!("exited with code {code}"), ""),
        EndFacts::Signaled(signal) => {
            let explanation = format!("ended by signal {signal}{}", signal_name(signal));
            end.verdict(Kind::Signal, explanation, signal_remedy(signal))
        }
    }
}

fn signal_name(signal: i32) -> String {
    let index = usize::try_from(signal).ok().and_then(|n| n.checked_sub(1));
    match index.and_then(|index| SIGNALS.get(index)) {
        Some(name) => format!(" (SIG{name})"),
        None => String::new(),
    }
}

fn signal_remedy(signal: i32) -> &'static str {
    const SIGSEGV: i32 = 11;
    const SIGABRT: i32 = 6;
    match signal {
        SIGSEGV => {
            "a crash in native code: its own handler for crashes tells where (in Python, -X faulthandler)"
        }
        SIGABRT => "it aborted by itself: its last output says why",
        SIGKILL => {
            "killed from outside the policy's limits: by an administrator, or by the host short of memory"
        }
        _ => "",
    }
}

/// The verdict on a command that did not start.
///
/// # Errors
/// When it was not the command's fault.
pub(crate) fn of_failure(plan: &Plan, failure: &TaskFailure) -> Result<Verdict, SandboxError> {
    match failure.step {
        TaskStep::Exec | TaskStep::WorkingDirectory => Ok(not_executed(plan, failure)),
        _ => Err(SandboxError::Step {
            what: describe(failure).to_owned(),
            errno: failure.errno,
            remedy: format!(" (element {}); run `lakekeep doctor`", failure.index),
        }),
    }
}

fn not_executed(plan: &Plan, failure: &TaskFailure) -> Verdict {
    const ENOENT: i32 = 2;
    let name = printable(&command_name(plan));
    let (object, remedy) = match (failure.step, failure.errno) {
        (TaskStep::WorkingDirectory, _) => (
            format!(
                "the working directory {}",
                printable(&plan.task.working_directory)
            ),
            "choose one that exists in the image with --workdir",
        ),
        (_, ENOENT) if name.contains('/') => (
            name,
            "is it in the image, and is the interpreter of its first line? --mount or --interpreter add to it",
        ),
        (_, ENOENT) => (
            name,
            "it is in no directory of PATH inside; give a full path, or add it with --mount or --interpreter",
        ),
        _ => (
            name,
            "it must be a program of this machine, executable by everybody",
        ),
    };
    Verdict {
        kind: Kind::ExecFailed,
        exit_code: if failure.errno == ENOENT {
            NOT_FOUND
        } else {
            NOT_EXECUTABLE
        },
        signal: None,
        limit: None,
        peak: None,
        explanation: format!("{object}{}", errno_text(failure.errno)),
        remedy: remedy.to_owned(),
    }
}

fn command_name(plan: &Plan) -> String {
    let name = plan
        .task
        .arguments
        .first()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    name.unwrap_or_default()
}
