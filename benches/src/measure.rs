//! One run of one command: wall time and CPU time.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::error::BenchError;
use crate::ground::Ground;

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// From before the spawn until its end was collected.
    pub wall: Duration,
    /// User and system time of the command and of all its descendants that were
    /// waited for. What kernel workers do on its behalf is not in it.
    pub cpu: Duration,
}

/// Runs `command` to its end.
///
/// This process has one child at a time, so what its children have used grows
/// by exactly this one's use, as wait4(2) would tell.
pub fn once(command: &mut Command, ground: &Ground) -> Result<Sample, BenchError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(ground.words()?);
    let program = command.get_program().to_string_lossy().into_owned();
    let used = children()?;
    let start = Instant::now();
    let status = command.status();
    let wall = start.elapsed();
    let cpu = children()?.saturating_sub(used);
    match status {
        Ok(status) if status.success() => Ok(Sample { wall, cpu }),
        Ok(status) => Err(BenchError::Failed {
            program,
            status: status.to_string(),
            words: ground.read_words(),
        }),
        Err(error) => Err(BenchError::Start { program, error }),
    }
}

fn children() -> Result<Duration, BenchError> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_words() {
        let ground = Ground::make().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; false"]);
        let error = once(&mut command, &ground).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
    }

    #[test]
    fn cpu_time_is_the_childs() {
        let ground = Ground::make().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
        let sample = once(&mut command, &ground).unwrap();
        assert!(sample.cpu > Duration::from_millis(1) && sample.cpu <= sample.wall * 2);
    }
}
