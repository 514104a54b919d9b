//! One run of one command: wall time and CPU time.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use crate::error::BenchError;
use crate::ground::Ground;

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// From before the spawn until its end was collected.
    pub wall: Duration,
    /// User and system time of the command and of all its descendants that were
    /// waited for. What kernel workers do on its behalf is not in it. None for a call to
    /// a process that was there before.
    pub cpu: Option<Duration>,
}

/// No run takes so long; one that does is ended and counts as failed.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// Runs `command` to its end.
///
/// This process has one such child at a time, so what its children have used grows
/// by exactly this one's use, as wait4(2) would tell, and that of the processes it leaves
/// behind, whose end is not in the wall time.
pub fn once(command: &mut Command, ground: &Ground) -> Result<Sample, BenchError> {
    // Never /dev/null: some runtimes give their standard streams to the container's
    // user, the device's own node on the host too.
    command
        .stdin(Stdio::piped())
        .stdout(ground.words()?)
        .stderr(ground.words()?);
    let program = command.get_program().to_string_lossy().into_owned();
    let known = below();
    let used = used_by_children()?;
    let start = Instant::now();
    let status = command.spawn().and_then(|mut child| end(&mut child));
    let wall = start.elapsed();
    wait_for_orphans(&known)?;
    let cpu = used_by_children()?.saturating_sub(used);
    succeed(status, program, ground)?;
    Ok(Sample {
        wall,
        cpu: Some(cpu),
    })
}

/// Waits for a child, which is killed when it takes too long.
pub fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    if !readable(pidfd.as_fd())? {
        child.kill()?;
    }
    child.wait()
}

/// Whether there is something to read before patience is over.
pub fn readable(fd: BorrowedFd<'_>) -> std::io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&PATIENCE))? > 0)
}

/// An error unless the program ended well.
pub fn succeed(
    status: std::io::Result<ExitStatus>,
    program: String,
    ground: &Ground,
) -> Result<(), BenchError> {
    let status = status.map_err(|error| BenchError::Start {
        program: program.clone(),
        error,
    })?;
    if status.success() {
        return Ok(());
    }
    let late = if status.signal() == Some(9) {
        " (it took too long)"
    } else {
        ""
    };
    Err(BenchError::Failed {
        program,
        status: format!("{status}{late}"),
        words: ground.read_words(),
    })
}

/// From now on, who is left behind by a child becomes a child of this process.
pub fn adopt_orphans() -> Result<(), BenchError> {
    // Any process id that is not nobody's switches it on (prctl(2)).
    let adopted = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    adopted.map_err(|errno| BenchError::io("become a subreaper")(errno.into()))
}

/// This process's children.
fn below() -> Vec<Pid> {
    let own = std::process::id();
    // Only the first thread has children: no other makes any.
    let path = format!("/proc/self/task/{own}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pids = text.split_whitespace().flat_map(str::parse);
    pids.filter_map(Pid::from_raw).collect()
}

/// Waits for all children but the known ones; one that stays too long is left alone.
fn wait_for_orphans(known: &[Pid]) -> Result<(), BenchError> {
    let failed = |errno: Errno| BenchError::io("wait for an orphan")(errno.into());
    loop {
        let mut orphans = below();
        orphans.retain(|pid| !known.contains(pid));
        let Some(orphan) = orphans.first() else {
            return Ok(());
        };
        let pidfd = pidfd_open(*orphan, PidfdFlags::empty()).map_err(failed)?;
        if !readable(pidfd.as_fd()).map_err(BenchError::io("poll"))? {
            return Ok(());
        }
        waitpid(Some(*orphan), WaitOptions::empty()).map_err(failed)?;
    }
}

fn used_by_children() -> Result<Duration, BenchError> {
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
        // Not "at most the wall time": tests beside this one have children too.
        assert!(sample.cpu > Some(Duration::from_millis(1)));
    }
}
