//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::fail;

/// How long anything on a loaded host may take that normally is immediate.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Polls until `get` gives a value; fails the test after a patient while.
#[track_caller]
pub fn eventually<T>(what: &str, get: impl FnMut() -> Option<T>) -> T {
    match eventually_within(PATIENCE, get) {
        Some(value) => value,
        None => fail(format_args!("not within {PATIENCE:?}: {what}")),
    }
}

/// Polls until `get` gives a value or the time is over.
pub fn eventually_within<T>(time: Duration, mut get: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
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
