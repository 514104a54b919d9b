//! The document: the wire type, as read from TOML or JSON.

mod error;
mod read;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use error::{DocumentError, DocumentErrors};
pub use read::MAX_DOCUMENT_BYTES;

use crate::limits::LimitsDoc;
use crate::total::TotalDoc;

/// Most rules of one document.
pub const MAX_RULES: usize = 20_000;
/// Most grants of Unix sockets of one document.
pub const MAX_SOCKETS: usize = 64;

/// What is done with the rules.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What no rule allows is refused.
    #[default]
    Enforce,
    /// What no rule allows passes, and is recorded as what would be refused.
    DryRun,
    /// The rules are not looked at: a weakening.
    Off,
}

/// An egress document, or the table `[egress]` of another one.
///
/// This is what someone wrote, not what is allowed: only a
/// [`Ruleset`](crate::Ruleset) says that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressDoc {
    /// Version of the document's schema; a file must say it, a table does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What is done with the rules.
    pub mode: Mode,
    /// Rules, such as `allow tls pypi.example:443`; their order means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Services of the manager's own that are made reachable, such as `identity`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// How much may leave one sandbox.
    pub limits: LimitsDoc,
    /// How much may leave all sandboxes together for which the document holds.
    #[serde(skip_serializing_if = "TotalDoc::is_empty")]
    pub total: TotalDoc,
    /// Unix sockets of the host that are made reachable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<SocketDoc>,
    /// Where the rules stand; left by the reader, used in errors and decisions.
    #[serde(skip)]
    pub origin: Origin,
}

/// One of `[[sockets]]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketDoc {
    /// What the socket is called inside.
    pub name: String,
    /// Its absolute path on the host.
    pub path: String,
}

/// Which document it was, and the line of each rule where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(crate) name: Arc<str>,
    /// What the list of rules is called in a place.
    pub(crate) list: &'static str,
    pub(crate) lines: Vec<usize>,
}

/// Where a rule stands. Displays as `egress.toml:7: rules[3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The document, as its reader called it.
    pub document: Arc<str>,
    /// The line, counted from one, where it is known (TOML).
    pub line: Option<usize>,
    /// The path of the field.
    pub field: String,
}

impl EgressDoc {
    /// A document of nothing but rules, as flags of a command give them; `name` is what
    /// errors and decisions call their list, such as `--egress`.
    pub fn from_lines(name: &'static str, rules: Vec<String>) -> EgressDoc {
        let origin = Origin {
            name: Arc::from(""),
            list: name,
            lines: Vec::new(),
        };
        EgressDoc {
            rules,
            origin,
            ..EgressDoc::default()
        }
    }
}

impl Default for Origin {
    fn default() -> Origin {
        Origin {
            name: Arc::from(""),
            list: "rules",
            lines: Vec::new(),
        }
    }
}

impl Origin {
    /// The place of rule `number`.
    pub(crate) fn rule(&self, number: usize) -> Place {
        Place {
            document: self.name.clone(),
            line: self.lines.get(number).copied(),
            field: format!("{}[{number}]", self.list),
        }
    }

    /// The place of another field.
    pub(crate) fn field(&self, field: String) -> Place {
        Place {
            document: self.name.clone(),
            line: None,
            field,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.document.is_empty() {
            f.write_str(&self.document)?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.field)
    }
}
