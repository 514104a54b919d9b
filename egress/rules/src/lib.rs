//! What may leave a sandbox: rules by name, address and port, their levels, and the
//! decision about one destination.
//!
//! An [`EgressDoc`] (a wire type: unknown fields refused) becomes a [`Ruleset`] through
//! [`Ruleset::check`]; rulesets of several levels become one through
//! [`Ruleset::bounded_by`]; [`Ruleset::decide`] answers. Nothing here resolves a name,
//! opens a socket or reads a clock.
//!
//! ```
//! use lakekeep_egress_rules::{Destination, EgressDoc, Guard, Level, Ruleset, Transport};
//!
//! let doc = EgressDoc::from_lines("--egress", vec!["allow tls pypi.example:443".to_owned()]);
//! let rules = Ruleset::check(Level::User, &doc)?;
//! let to = Destination {
//!     name: Some("index.example".parse()?),
//!     address: None,
//!     port: Some(443),
//!     transport: Transport::Tcp,
//! };
//! let decision = rules.decide(&to, &Guard::default());
//! assert_eq!(
//!     decision.to_string(),
//!     "denied egress to index.example:443: no rule of the user allows it; \
//!      the user can add: allow tcp index.example:443",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cidr;
mod decide;
mod decision;
mod document;
mod explain;
mod guard;
mod index;
mod limits;
mod name;
mod replay;
mod rule;
mod ruleset;
mod service;
mod show;
mod special;
mod streams;
mod total;

pub use cidr::{Cidr, CidrError};
pub use decision::{DecidingRule, Decision, Destination, Reason, Transport, Verdict};
pub use document::{
    DocumentError, DocumentErrors, EgressDoc, MAX_DOCUMENT_BYTES, MAX_RULES, MAX_SOCKETS, Mode,
    Origin, Place, SocketDoc,
};
pub use guard::{Guard, Guarded};
pub use limits::{Limits, LimitsDoc};
pub use name::{HostName, MAX_LABEL_BYTES, MAX_NAME_BYTES, NameError};
pub use replay::{Change, PastFlow, Then, replay};
pub use rule::{Effect, Host, Ports, Rule, RuleError, Target, parse_destination};
pub use ruleset::{Level, PlacedRule, Ruleset, Warning};
pub use service::{Service, UnknownService};
pub use special::{Special, embedded, special};
pub use streams::{Protocol, Streams};
pub use total::{Total, TotalDoc};
