//! Processes that are killed at random moments.
//!
//! LAKEKEEP_KILLS  how often
//! LAKEKEEP_SEED   repeats the moments of an earlier run, which printed it

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const SEED: &str = "LAKEKEEP_SEED";

/// A number of the environment's.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

/// How often something is killed, where nothing is said.
pub fn times(usual: u64) -> u64 {
    number("LAKEKEEP_KILLS").unwrap_or(usual)
}

/// What chooses the moments. Its seed is printed.
pub fn dice() -> fastrand::Rng {
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    println!("{SEED}={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A moment before this time has passed.
pub fn moment(dice: &mut fastrand::Rng, before: Duration) -> Duration {
    before.mul_f64(dice.f64())
}

/// Whether a process ends by itself before this time has passed.
pub fn ends_within(child: &Child, time: Duration) -> bool {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    let until = Timespec::try_from(time).unwrap();
    poll(&mut ends, Some(&until)).unwrap() > 0
}

/// Kills a process when this time has passed. Whether it would have gone on.
pub fn kill_after(child: &mut Child, time: Duration) -> bool {
    let ended = ends_within(child, time);
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

/// A process that runs this ignored test, which finds a folder in this variable. It is killed at a
/// moment before `most` has passed since it said so many lines. What it said.
pub fn killed(
    dice: &mut fastrand::Rng,
    test: &str,
    folder: (&str, &Path),
    lines: Range<usize>,
    most: Duration,
) -> Vec<String> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(folder.0, folder.1)
        .env(SEED, dice.u64(..).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    let lines = output.by_ref().take(dice.usize(lines));
    let mut said: Vec<String> = lines.map(Result::unwrap).collect();
    let going = kill_after(&mut process, moment(dice, most));
    assert!(going, "{test} ended by itself: {said:?}");
    said.extend(output.map(Result::unwrap));
    said
}
