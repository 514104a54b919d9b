//! Principals to identities, by ordered rules.

mod check;
mod doc;
mod error;
mod explain;
mod identity;
mod managed;
mod map;
#[cfg(test)]
mod properties;
mod rule;
#[cfg(test)]
mod tests;

pub use doc::{IdentityDoc, ManagedDoc, RuleDoc, SharedDoc};
pub use error::{MappingError, RuleFailure};
pub use explain::{Explanation, Mismatch, Trial, TrialOutcome};
pub use identity::{Identity, IdentityKind};
pub use managed::{ManagedIdError, ManagedIds, ManagedRange, MemoryManagedIds};
pub use map::{IdentityMap, World};
