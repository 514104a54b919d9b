//! What a broker answers its engine.

use serde::{Deserialize, Serialize};

/// Most of a message, bytes: the engine's buffer is bounded.
const LONGEST: usize = 16 * 1024;

/// One packet. What an older engine does not know of it, it may ignore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The worker runs.
    Opened {
        /// The session's.
        number: u32,
        /// The sandbox's identifier.
        sandbox: String,
        /// What is not as it should be, and slows the session down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    },
    /// There is no session.
    Failed {
        /// The one that was asked for; 0 where the packet did not read.
        number: u32,
        /// Why, and what to do.
        message: String,
        /// The word for it, of those that a manager's interface has; a broker's are
        /// `ENVIRONMENT_FAILED`, `ENVIRONMENT_SLOW` and `QUEUE_FULL`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Milliseconds after which to ask again may help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The worker has ended.
    Ended {
        /// The session's.
        number: u32,
        /// Why.
        verdict: Verdict,
        /// Bytes, of the whole sandbox.
        memory_peak: u64,
        /// Microseconds.
        cpu_us: u64,
    },
}

/// Why a worker ended; the words of a sandbox's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `exit`, `signal`, `out_of_memory`, `wall_time`, `cpu_time`, `denied_syscall`...
    pub kind: String,
    /// What `lakekeep run` would exit with.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The limit that was hit, in its own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much was used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
    /// What happened, on what.
    pub explanation: String,
    /// What to do about it; empty for an ordinary exit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Answer {
    /// As one packet.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        // Of strings and numbers: it cannot fail, and an empty packet would say so.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// With line and column.
    pub fn parse(packet: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(packet)
    }
}

/// No more of a message than is answered.
#[must_use]
pub fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_it_was_written() {
        let verdict = Verdict {
            kind: "out_of_memory".to_owned(),
            exit_code: 137,
            signal: Some(9),
            limit: Some(1 << 30),
            peak: None,
            explanation: "it used too much".to_owned(),
            remedy: "raise limits.memory".to_owned(),
        };
        let answer = Answer::Ended {
            number: 7,
            verdict,
            memory_peak: 1 << 30,
            cpu_us: 12,
        };
        assert_eq!(Answer::parse(&answer.to_packet()).unwrap(), answer);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = bounded("é".repeat(LONGEST));
        assert!(text.len() <= LONGEST && text.ends_with('é'));
    }
}
