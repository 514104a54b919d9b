//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::{fail, number_from_env};

/// How long anything on a loaded host may take that normally is immediate.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// How many times longer than usual anything may take here: `LAKEKEEP_TESTS_SLACK`.
/// 1 unless set; a machine that emulates its processor needs more.
///
/// # Panics
/// When the variable is set to something else than a number.
#[must_use]
pub fn slack() -> u32 {
    u32::try_from(number_from_env("LAKEKEEP_TESTS_SLACK", 1)).unwrap_or(u32::MAX)
}

/// Polls until `get` gives a value; fails the test after a patient while.
#[track_caller]
pub fn eventually<T>(what: &str, get: impl FnMut() -> Option<T>) -> T {
    match eventually_within(PATIENCE, get) {
        Some(value) => value,
        None => fail(format_args!("not within {:?}: {what}", PATIENCE * slack())),
    }
}

/// Polls until `get` gives a value or the time, with this host's slack, is over.
pub fn eventually_within<T>(time: Duration, mut get: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time * slack();
    loop {
        if let Some(value) = get() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
