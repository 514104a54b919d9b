//! What an engine asks of its broker.

use std::path::PathBuf;
use std::time::Duration;

use lakekeep_policy::{Bytes, Cpus, PolicyDoc, Preset};
use serde::Deserialize;

/// Largest packet, bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// A session without a limit of its own ends after so long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a function that sets no limit has for its files, or half of its memory.
const SCRATCH: u64 = 64 << 20;

/// One packet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Request {
    /// Starts a session.
    Open(Box<Open>),
    /// Ends one at once.
    Kill {
        /// Its number.
        number: u32,
    },
}

/// A session that shall be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// By which it is called from now on; no other live session has it.
    pub number: u32,
    /// The Python of the function's environment: absolute.
    pub interpreter: PathBuf,
    /// What every worker of this environment imports, before any user's code is there.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How the function is called (`scalar`, `batches`...): for people who read the log.
    #[serde(default)]
    pub kind: Option<String>,
    /// For whom it is called.
    #[serde(default)]
    pub user: Option<String>,
    /// The tenant.
    #[serde(default)]
    pub profile: Option<String>,
    /// Who wrote the function.
    #[serde(default)]
    pub code_owner: Option<String>,
    /// The engine's name of its query.
    #[serde(default)]
    pub query: Option<String>,
}

/// Limits of one session. What is left out comes from the preset `udf`.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Processors.
    pub cpu: Option<f64>,
    /// Milliseconds, from start to end.
    pub wall_time_ms: Option<u64>,
}

/// Why a packet is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It does not read as one.
    #[error("the packet is no request")]
    Json(#[from] serde_json::Error),
    /// A limit that there cannot be.
    #[error("limits.cpu: {0}")]
    Cpu(#[from] lakekeep_policy::CpusError),
}

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    /// `Json`, with line and column.
    pub fn parse(packet: &[u8]) -> Result<Self, RequestError> {
        Ok(serde_json::from_slice(packet)?)
    }
}

impl Limits {
    /// What a session with them may do.
    ///
    /// # Errors
    /// `Cpu`.
    pub fn policy(&self) -> Result<PolicyDoc, RequestError> {
        let mut doc = PolicyDoc {
            version: Some(1),
            preset: Some(Preset::Udf),
            ..PolicyDoc::default()
        };
        let limits = &mut doc.limits;
        limits.memory = self.memory.map(Bytes);
        limits.scratch_size = self.memory.map(|memory| Bytes(SCRATCH.min(memory / 2)));
        limits.cpus = self.cpu.map(Cpus::new).transpose()?;
        limits.wall_time = Some(self.wall_time_ms.map_or(LONGEST, Duration::from_millis));
        Ok(doc)
    }
}

#[cfg(test)]
mod tests {
    use lakekeep_policy::Policy;

    use super::*;

    fn open(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn a_session_without_limits_has_the_presets() {
        let asked = open(r#"{"open": {"number": 7, "interpreter": "/usr/bin/python3"}}"#).unwrap();
        let Request::Open(asked) = asked else {
            panic!("{asked:?}")
        };
        let policy = Policy::check(asked.limits.policy().unwrap()).unwrap();
        assert_eq!(policy.preset(), Preset::Udf);
        assert_eq!(policy.limits().memory(), Bytes(1 << 30));
        assert_eq!(policy.limits().wall_time(), Some(LONGEST));
    }

    #[test]
    fn limits_are_taken_as_they_are() {
        let limits = Limits {
            memory: Some(32 << 20),
            cpu: Some(0.5),
            wall_time_ms: Some(1500),
        };
        let policy = Policy::check(limits.policy().unwrap()).unwrap();
        assert_eq!(policy.limits().memory(), Bytes(32 << 20));
        assert_eq!(policy.limits().scratch_size(), Bytes(16 << 20));
        assert_eq!(policy.limits().cpus(), Cpus::from_millis(500));
        assert_eq!(
            policy.limits().wall_time(),
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_place() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"open": {"number": 7}}"#,
            r#"{"open": {"number": -7, "interpreter": "/p"}}"#,
            r#"{"open": {"number": 7, "interpreter": "/p", "root": true}}"#,
            r#"{"kill": {"number": 7, "signal": 9}}"#,
            r#"{"kill": {"number": 7}, "open": {"number": 7, "interpreter": "/p"}}"#,
        ] {
            let error = open(text).unwrap_err();
            assert!(matches!(error, RequestError::Json(_)), "{text}: {error}");
        }
        let limits = Limits {
            cpu: Some(f64::NAN),
            ..Limits::default()
        };
        assert!(matches!(limits.policy(), Err(RequestError::Cpu(_))));
    }
}
