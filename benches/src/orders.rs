//! What is said between a run and its workers, one JSON line each.
//!
//! | order | answered by |
//! |---|---|
//! | [`Order::Enter`] | `Entered` or `Failed` |
//! | [`Order::Settle`] | `Settled` or `Failed` |
//! | [`Order::Run`] | `Ran` or `Failed` |
//!
//! Every worker is told to settle before any is told to run, and the next order is given
//! when all have answered. The end of its input ends a worker. One that failed has cleaned
//! up, and is asked for this peer no more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::Sample;
use crate::peers::Name;

/// From a run to each of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Find this peer and prepare it; and look at what it isolates, if `look` says so.
    Enter { name: Name, look: bool },
    /// Wait until what is kept ready for it is there.
    Settle { name: Name },
    /// Run it once.
    Run { name: Name, serial: u32 },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Entered {
        /// Empty when nobody looked.
        isolation: String,
        version: String,
    },
    Settled,
    Ran {
        wall: Duration,
        cpu: Option<Duration>,
    },
    Failed {
        /// There is nothing to measure here, rather than something wrong.
        absent: bool,
        reason: String,
    },
}

impl From<Sample> for Answer {
    fn from(Sample { wall, cpu }: Sample) -> Self {
        Self::Ran { wall, cpu }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_are_lines() {
        let order = Order::Run {
            name: Name::ClaimGrpc,
            serial: 7,
        };
        let answer = Answer::Ran {
            wall: Duration::from_nanos(1_000_000_001),
            cpu: None,
        };
        let line = serde_json::to_string(&order).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}
