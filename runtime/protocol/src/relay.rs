//! Between a manager and a relay, which carries what may leave sandboxes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a manager may ask of a relay. One that serves a single manager ends every flow when
/// that one closes its end for writing, tells of each, and ends itself. One that listens goes
/// on, keeps what it has to tell, and waits for the next manager.
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
    /// Other rules and limits hold for it from now on. Flows that they do not allow end at once.
    /// What its documents say of totals holds for all sandboxes that share them.
    Update {
        /// The sandbox's identifier.
        sandbox: String,
        /// What may leave it: what each of them allows.
        rules: Vec<RuleDocument>,
    },
    /// Name the sandboxes that are served whose identifiers come after this one, in order.
    List {
        /// Empty: from the first.
        after: String,
    },
    /// Answer when everything that was told before has been said.
    Sync {
        /// Comes back with the answer.
        nonce: u64,
    },
    /// So many more of [`RelayReply::Flow`] and [`RelayReply::Lost`] have been noted: until
    /// then a relay that listens keeps them, for the next manager. What was told and not
    /// noted is told again.
    Noted {
        /// How many.
        told: u64,
    },
    /// The manager that asks this answers these services itself, at the socket
    /// [`SERVICES_SOCKET`] in a folder. One descriptor: the folder. Each connection begins with
    /// a [`crate::Preamble`]. What was said before of services holds no longer; until something is
    /// said, documents that grant one are refused.
    Services {
        /// At most [`MAX_SERVICES`].
        services: Vec<ServedService>,
    },
}

/// Most sandboxes that one answer names.
pub const MAX_SERVED: usize = 128;

/// Most services of one manager.
pub const MAX_SERVICES: usize = 64;

/// What the manager's socket for services is called in its folder.
pub const SERVICES_SOCKET: &str = "services.sock";

/// A service that a manager answers itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedService {
    /// What documents call it.
    pub name: String,
    /// Addresses inside that are its own, besides its name.
    pub addresses: Vec<IpAddr>,
}

/// What a relay is told of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeSpec {
    /// Its identifier.
    pub sandbox: String,
    /// The profile of which it is: what the owner's document says of a total, all sandboxes of the
    /// profile have together. `None`: it has it alone.
    pub profile: Option<String>,
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
    /// A sandbox is served no longer, and all its flows were told of.
    Stopped {
        /// Its identifier.
        sandbox: String,
    },
    /// The next sandboxes, at most [`MAX_SERVED`]; none: there are no more.
    Served(Vec<ServedSandbox>),
    /// Everything before [`RelayRequest::Sync`] was said.
    Synced {
        /// That request's.
        nonce: u64,
    },
    /// Nobody heard for so long that flows could not be kept: these were forgotten.
    Lost {
        /// How many.
        flows: u64,
    },
}

/// A sandbox that is served, as a relay lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedSandbox {
    /// Its identifier.
    pub sandbox: String,
    /// Digest of the rules that hold for it, BLAKE3 in lower-case hexadecimal.
    pub digest: String,
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
    /// What was done with the rules.
    pub mode: RuleMode,
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

/// What is done with the rules of a sandbox: what the strictest of its documents says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleMode {
    /// What they do not allow is refused.
    Enforce,
    /// It passes, and is told of.
    DryRun,
    /// They are not looked at.
    Off,
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
