//! What a broker answers its engine.

use std::time::Duration;

use lakekeep_sandbox::{Kind, Outcome};
use lakekeep_udf_packets::{Answer, Verdict, bounded};

/// There is no session, for this reason.
pub fn failed(number: u32, error: &(dyn std::error::Error + 'static)) -> Answer {
    refused(number, error, None, None)
}

/// There is no session, for this reason, for which there is a word; and after which time to ask
/// again may help.
pub fn refused(
    number: u32,
    error: &(dyn std::error::Error + 'static),
    code: Option<&'static str>,
    retry_after: Option<Duration>,
) -> Answer {
    let milliseconds = |after: Duration| u64::try_from(after.as_millis()).ok();
    Answer::Failed {
        number,
        message: bounded(lakekeep_sandbox::chain(error)),
        code: code.map(str::to_owned),
        retry_after_ms: retry_after.and_then(milliseconds),
    }
}

/// The end of a session.
pub fn ended(number: u32, outcome: &Outcome) -> Answer {
    Answer::Ended {
        number,
        verdict: verdict(&outcome.verdict),
        memory_peak: outcome.memory_peak,
        cpu_us: outcome.cpu_us,
    }
}

fn verdict(of: &lakekeep_sandbox::Verdict) -> Verdict {
    Verdict {
        kind: kind(of.kind).to_owned(),
        exit_code: of.exit_code,
        signal: of.signal,
        limit: of.limit,
        peak: of.peak,
        explanation: of.explanation.clone(),
        remedy: of.remedy.clone(),
    }
}

fn kind(of: Kind) -> &'static str {
    match of {
        Kind::Exit => "exit",
        Kind::Signal => "signal",
        Kind::OutOfMemory => "out_of_memory",
        Kind::WallTime => "wall_time",
        Kind::CpuTime => "cpu_time",
        Kind::Pids => "pids",
        Kind::ExecFailed => "exec_failed",
        Kind::DeniedSyscall => "denied_syscall",
        Kind::DiskFull => "disk_full",
        Kind::FileSize => "file_size",
        Kind::OutputLimit => "output_limit",
        Kind::Killed => "killed",
        Kind::Lost => "lost",
    }
}
