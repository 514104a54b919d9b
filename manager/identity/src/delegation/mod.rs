//! Acting for a user: by a right, or by a token that the manager signed.

mod claims;
mod key;
mod key_file;
mod revocation;
mod rights;
#[cfg(test)]
mod tests;

pub use claims::{
    DelegationClaims, DelegationTokenError, MAX_DELEGATION_LIFETIME, TokenId,
    parse_delegation_token,
};
pub use key::{Delegated, DelegationKey, Grant, IssueError};
pub use key_file::KeyFileError;
pub use revocation::{RevocationSet, RevocationUnavailable, Revocations};
pub use rights::{DelegationRefused, DelegationTarget};
