//! What a broker answers its engine.

use lakekeep_sandbox::{Outcome, Verdict};
use serde::Serialize;

/// Most of a message, bytes: the engine's buffer is bounded.
const LONGEST: usize = 16 * 1024;

/// One packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<'a> {
    /// The worker runs.
    Opened {
        number: u32,
        /// The sandbox's identifier.
        sandbox: &'a str,
        /// What is not as it should be, and slows the session down.
        #[serde(skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    },
    /// There is no session.
    Failed { number: u32, message: String },
    /// The worker has ended.
    Ended {
        number: u32,
        verdict: &'a Verdict,
        /// Bytes, of the whole sandbox.
        memory_peak: u64,
        /// Microseconds.
        cpu_us: u64,
    },
}

impl Answer<'_> {
    /// There is no session, for this reason.
    pub fn failed(number: u32, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed {
            number,
            message: bounded(lakekeep_sandbox::chain(error)),
        }
    }

    /// As one packet.
    pub fn to_packet(&self) -> Vec<u8> {
        // Of strings and numbers: it cannot fail, and an empty packet would say so.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl<'a> Answer<'a> {
    /// The end of a session.
    pub fn ended(number: u32, outcome: &'a Outcome) -> Self {
        Answer::Ended {
            number,
            verdict: &outcome.verdict,
            memory_peak: outcome.memory_peak,
            cpu_us: outcome.cpu_us,
        }
    }
}

/// No more of it than is answered.
pub fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}
