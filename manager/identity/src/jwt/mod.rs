//! JSON Web Tokens: reading and verifying them, without any I/O.
//!
//! The signatures are ring's. The few hundred lines around them are ours and not
//! the `jsonwebtoken` crate's for three reasons: its verification reads the
//! clock, where ours takes the time as an argument; it reads JSON in which a key
//! stands twice; and its cryptography is either aws-lc, or the `rsa` crate with
//! an open advisory (RUSTSEC-2023-0071), or a process-wide provider that would be
//! this code all the same.

mod algorithm;
#[cfg(test)]
mod confusion_tests;
mod discovery;
mod error;
mod key_set;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use algorithm::Algorithm;
pub(crate) use discovery::discovery_url;
pub use discovery::{DiscoveryError, parse_discovery};
pub use error::TokenError;
pub use key_set::{KeySet, KeySetError};
pub use token::{MAX_TOKEN_BYTES, UnverifiedToken, parse_token};
pub(crate) use verify::check_algorithm;
pub use verify::{VerifiedClaims, verify_token};
