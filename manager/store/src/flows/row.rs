//! One flow.

use std::net::IpAddr;

use rusqlite::Row;

use crate::Timestamp;
use crate::words::words;

/// Longest names of users, identities, profiles, sandboxes and queries that are kept, bytes.
const LONGEST_NAME: usize = 256;
/// Longest rule that is kept, bytes; the rules' own bound is 400.
const LONGEST_RULE: usize = 512;
/// Longest words that are kept, bytes; as long as a relay's.
const LONGEST_WORDS: usize = 1024;

words! {
    /// What the code inside did.
    pub enum FlowKind {
        Connection = "connection", "It connected.";
        Name = "name", "It asked for a name.";
    }
}

words! {
    /// What was done with the rules when the flow was decided: the strictest level's mode.
    pub enum FlowMode {
        Enforce = "enforce", "What no rule allowed was refused.";
        DryRun = "dry-run", "It passed, and was recorded.";
        Off = "off", "The rules were not looked at.";
    }
}

words! {
    /// Whether a flow was let out.
    pub enum FlowVerdict {
        Allowed = "allowed", "It was.";
        WouldBeDenied = "would_be_denied", "It was, and would not be if the rules were enforced.";
        Denied = "denied", "It was not.";
        Failed = "failed", "It was allowed, and the other side was not reached.";
    }
}

/// What became of one connection, or of one question for a name, and whose it was. Texts
/// that are too long are cut when they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// When it ended.
    pub at: Timestamp,
    /// The user for whom the sandbox was made.
    pub principal: String,
    /// What the user is mapped to.
    pub identity: String,
    /// The profile.
    pub profile: String,
    /// The sandbox's identifier.
    pub sandbox: String,
    /// The task's number, where it is known.
    pub task: Option<u32>,
    /// The engine's query, where it is known.
    pub query: Option<String>,
    /// What the code inside did.
    pub kind: FlowKind,
    /// The name that it asked for, if it did.
    pub name: Option<String>,
    /// The address that was connected to, or was asked for.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
    /// The rule that decided, as it is written.
    pub rule: Option<String>,
    /// What was done with the rules.
    pub mode: FlowMode,
    /// Whether it was let out.
    pub verdict: FlowVerdict,
    /// The decision in words, with the remedy; or how the flow ended.
    pub words: String,
    /// Bytes that left; at most 2^63 - 1 are counted.
    pub sent: u64,
    /// Bytes that came; at most 2^63 - 1 are counted.
    pub received: u64,
    /// Microseconds from its beginning to its end.
    pub duration_us: u64,
}

impl FlowRow {
    /// As it is kept: texts cut at a character, numbers that SQLite can hold.
    pub(super) fn clipped(mut self) -> FlowRow {
        for (text, most) in [
            (&mut self.principal, LONGEST_NAME),
            (&mut self.identity, LONGEST_NAME),
            (&mut self.profile, LONGEST_NAME),
            (&mut self.sandbox, LONGEST_NAME),
            (&mut self.words, LONGEST_WORDS),
        ] {
            text.truncate(text.floor_char_boundary(most));
        }
        for (text, most) in [
            (&mut self.query, LONGEST_NAME),
            (&mut self.name, LONGEST_NAME),
            (&mut self.rule, LONGEST_RULE),
        ] {
            if let Some(text) = text {
                text.truncate(text.floor_char_boundary(most));
            }
        }
        for number in [&mut self.sent, &mut self.received, &mut self.duration_us] {
            *number = (*number).min(i64::MAX.cast_unsigned());
        }
        self
    }

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<FlowRow> {
        let address: Option<String> = row.get("address")?;
        Ok(FlowRow {
            at: Timestamp::from_sql(row.get("time")?),
            principal: row.get("principal")?,
            identity: row.get("identity")?,
            profile: row.get("profile")?,
            sandbox: row.get("sandbox")?,
            task: row.get("task")?,
            query: row.get("query")?,
            kind: row.get("kind")?,
            name: row.get("name")?,
            address: address.and_then(|text| text.parse().ok()),
            port: row.get("port")?,
            rule: row.get("rule")?,
            mode: row.get("mode")?,
            verdict: row.get("verdict")?,
            words: row.get("words")?,
            sent: number(row, "sent")?,
            received: number(row, "received")?,
            duration_us: number(row, "duration_us")?,
        })
    }
}

/// A negative number, which only a damaged row has, is 0.
fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}
