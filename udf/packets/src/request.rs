//! What an engine asks of its broker.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Request {
    /// Starts a session.
    Open(Box<Open>),
    /// Ends one at once.
    Kill {
        /// Its number.
        number: u32,
    },
    /// Tells what one was used for, before it ends: for the log.
    Used {
        /// Its number.
        number: u32,
        /// The engine's own counts.
        counts: Counts,
    },
}

/// What an engine counted of a session. Data passes nobody else, so nobody else can.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counts {
    /// Batches that it sent.
    pub calls: u64,
    /// Their rows.
    pub rows_in: u64,
    /// Rows of the answers.
    pub rows_out: u64,
    /// Bytes that it sent.
    pub bytes_in: u64,
    /// Bytes of the answers.
    pub bytes_out: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Microseconds that it waited for answers: the function's time and the way there and
    /// back.
    pub waited_us: u64,
}

/// A session that shall be. Its `Debug` tells whether there is a token, and never the token.
#[derive(Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// By which it is called from now on; no other live session has it.
    pub number: u32,
    /// The Python of the function's environment: absolute. A broker shows its prefix; a
    /// manager starts what is there in the profile's image and volumes.
    pub interpreter: PathBuf,
    /// The digest of a captured environment, which is shown where it was on the client; its
    /// interpreter runs the worker then, and not the one above. A manager takes one that the user
    /// has sent, or that the profile shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What every worker of this environment imports, before any user's code is there.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How the function is called (`scalar`, `batches`...): for people who read the log.
    #[serde(default)]
    pub kind: Option<String>,
    /// For whom it is called. A manager asks for the right to act for somebody else.
    #[serde(default)]
    pub user: Option<String>,
    /// A manager's token that says that its bearer may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
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

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart whole, so that no field that comes later is forgotten, or shown unasked.
        let Self {
            number,
            interpreter,
            environment,
            modules,
            limits,
            kind,
            user,
            delegation,
            profile,
            code_owner,
            query,
        } = self;
        let delegation = delegation.as_ref().map(|_| format_args!("(hidden)"));
        f.debug_struct("Open")
            .field("number", number)
            .field("interpreter", interpreter)
            .field("environment", environment)
            .field("modules", modules)
            .field("limits", limits)
            .field("kind", kind)
            .field("user", user)
            .field("delegation", &delegation)
            .field("profile", profile)
            .field("code_owner", code_owner)
            .field("query", query)
            .finish()
    }
}

/// Limits of one session. What is left out comes from the preset `udf`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
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
#[error("the packet is no request")]
pub struct RequestError(#[from] serde_json::Error);

impl Request {
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
    pub fn parse(packet: &[u8]) -> Result<Self, RequestError> {
        Ok(serde_json::from_slice(packet)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn a_request_reads_as_it_was_written() {
        let asked = Request::Open(Box::new(Open {
            number: 7,
            interpreter: "/usr/bin/python3".into(),
            limits: Limits {
                memory: Some(1 << 30),
                ..Limits::default()
            },
            query: Some("q-1".to_owned()),
            ..Open::default()
        }));
        assert_eq!(Request::parse(&asked.to_packet()).unwrap(), asked);
    }

    #[test]
    fn a_token_is_never_printed() {
        let asked = Request::Open(Box::new(Open {
            user: Some("ada".to_owned()),
            delegation: Some("eyJhbGciOi".to_owned()),
            ..Open::default()
        }));
        let printed = format!("{asked:?} {asked:#?}");
        assert!(printed.contains("ada"), "{printed}");
        assert!(printed.contains("(hidden)"), "{printed}");
        assert!(!printed.contains("eyJ"), "{printed}");
    }

    #[test]
    fn what_is_left_out_is_nothing() {
        let asked = open(r#"{"open": {"number": 7, "interpreter": "/usr/bin/python3"}}"#).unwrap();
        let least = Open {
            number: 7,
            interpreter: "/usr/bin/python3".into(),
            ..Open::default()
        };
        assert_eq!(asked, Request::Open(Box::new(least)));
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
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            assert!(cause.is_some_and(|it| it.contains("line 1")), "{text}");
        }
    }
}
