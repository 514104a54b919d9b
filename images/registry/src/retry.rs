//! When to ask again, and how often.

use std::time::{Duration, Instant};

use crate::error::RequestError;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause of our own choice.
const LONGEST: Duration = Duration::from_secs(8);

/// The longest pause that a registry can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Attempts of one request, and no longer than until a moment.
#[derive(Debug)]
pub struct Attempts {
    left: u32,
    most: u32,
    pause: Duration,
    until: Instant,
}

impl Attempts {
    /// As many as `most`, until `until`.
    pub fn new(most: u32, until: Instant) -> Attempts {
        Attempts {
            left: most,
            most,
            pause: FIRST,
            until,
        }
    }

    /// Something came of the last one: the count begins anew.
    pub fn progressed(&mut self) {
        self.left = self.most;
        self.pause = FIRST;
    }

    /// Waits, if asking again may help; else gives the error back.
    pub fn after(&mut self, error: RequestError) -> Result<(), RequestError> {
        self.left = self.left.saturating_sub(1);
        let pause = match &error {
            RequestError::Status {
                wait: Some(wait), ..
            } => *wait,
            _ => self.pause,
        };
        let over = Instant::now() + pause >= self.until;
        if !error.is_passing() || self.left == 0 || pause > LONGEST_ASKED || over {
            return Err(error);
        }
        self.pause = (self.pause * 2).min(LONGEST);
        std::thread::sleep(pause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn status(code: u16, wait: Option<u64>) -> RequestError {
        RequestError::Status {
            code,
            told: String::new(),
            wait: wait.map(Duration::from_secs),
        }
    }

    #[test]
    fn attempts_end() {
        let mut attempts = Attempts::new(3, soon());
        assert!(attempts.after(status(503, Some(0))).is_ok());
        assert!(attempts.after(status(503, Some(0))).is_ok());
        assert!(attempts.after(status(503, Some(0))).is_err());
    }

    #[test]
    fn progress_begins_the_count_anew() {
        let mut attempts = Attempts::new(2, soon());
        for _ in 0..10 {
            assert!(attempts.after(status(503, Some(0))).is_ok());
            attempts.progressed();
        }
    }

    #[test]
    fn what_does_not_pass_is_not_waited_for() {
        for error in [status(404, None), status(429, Some(3600))] {
            assert!(Attempts::new(3, soon()).after(error).is_err());
        }
        let over = Instant::now();
        assert!(Attempts::new(3, over).after(status(503, Some(0))).is_err());
    }
}
