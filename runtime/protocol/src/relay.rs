//! Between a manager and a relay, which carries what may leave sandboxes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a manager may ask of a relay. When it closes its end for writing, the relay ends
/// every flow, tells of each, and ends itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayRequest {
    /// Serve a sandbox. Two descriptors: where its TCP arrives, and its questions to port 53
    /// by UDP, as [`crate::LauncherReply::Created`] brought them.
    Serve(Box<ServeSpec>),
    /// Serve it no longer, and end its flows.
    Stop {
        /// The sandbox's identifier.
        sandbox: String,
    },
}

/// What a relay is told of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeSpec {
    /// Its identifier.
    pub sandbox: String,
    /// What may leave it: what each of them allows.
    pub rules: Vec<RuleDocument>,
}

/// A document of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDocument {
    /// Who wrote it.
    pub level: RuleLevel,
    /// The document, JSON.
    pub json: String,
}

/// Who wrote a document of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleLevel {
    /// The administrator.
    Administrator,
    /// The owner of a profile.
    Owner,
    /// The user.
    User,
}

/// What a relay says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayReply {
    /// The sandbox is served from now on.
    Serving {
        /// Its identifier.
        sandbox: String,
    },
    /// It is not.
    Refused {
        /// Its identifier.
        sandbox: String,
        /// Why, at most [`MAX_WORDS`] bytes.
        reason: String,
    },
    /// A flow has ended, or was refused.
    Flow(Box<FlowReceipt>),
}

/// Longest words of a relay's in one field, bytes.
pub const MAX_WORDS: usize = 1024;

/// What became of one connection, or of one question for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReceipt {
    /// The sandbox's identifier.
    pub sandbox: String,
    /// What the code inside did.
    pub kind: FlowKind,
    /// The name that it asked for, if it did.
    pub name: Option<String>,
    /// The address: of the host that was connected to; the one that was asked for where
    /// nothing was.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
    /// Whether it was let out.
    pub verdict: FlowVerdict,
    /// The rule that decided, as it is written.
    pub rule: Option<String>,
    /// The decision in words, with the remedy; or how the flow ended.
    pub words: String,
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
    /// Microseconds from its beginning to its end.
    pub duration_us: u64,
}

/// What the code inside did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// It connected.
    Connection,
    /// It asked for a name.
    Name,
}

/// Whether a flow was let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowVerdict {
    /// It was.
    Allowed,
    /// It was, and would not be if the rules were enforced.
    WouldBeDenied,
    /// It was not: no byte left.
    Denied,
    /// It was allowed, and the other side did not answer or could not be found: no byte left.
    Failed,
}
