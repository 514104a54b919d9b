//! What a broker answers its engine.

use lakekeep_sandbox::{Kind, Outcome};
use lakekeep_udf_packets::{Answer, Verdict, bounded};

/// There is no session, for this reason.
pub fn failed(number: u32, error: &(dyn std::error::Error + 'static)) -> Answer {
    Answer::Failed {
        number,
        message: bounded(lakekeep_sandbox::chain(error)),
        code: None,
        retry_after_ms: None,
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
