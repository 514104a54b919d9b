//! Who asks, and whom they are mapped to.
//!
//! 1. *Authentication* makes a [`Principal`] from something that cannot be
//!    forged: the kernel's peer credentials ([`PeerConfig::principal`]), a signed
//!    JWT ([`JwtAuthenticators::authenticate`]), or a verified client certificate
//!    ([`MtlsConfig::principal`]). A trusted engine may act for a user by a
//!    right ([`AuthConfig::authorize_delegation`]) or by a token that the manager
//!    signed ([`DelegationKey::verify`]).
//! 2. *Mapping* makes an [`Identity`], an owner on disk and names for engines,
//!    from a principal by ordered rules ([`IdentityMap::map`]); no rule, no
//!    identity. [`IdentityMap::explain`] says which rule was tried and why.
//!
//! Documents are wire types (`…Doc`: public fields, unknown fields refused);
//! `check` makes the inner type, which is valid if it exists. Time is always an
//! argument. Only [`SystemAccounts`], [`JwtAuthenticators`] and
//! [`DelegationKey::load_or_create`] touch the host; every parser of untrusted
//! bytes is a pure function.

mod accounts;
mod config;
mod delegation;
mod document;
#[cfg(test)]
mod host;
mod jwt;
mod mapping;
mod mtls;
mod name;
mod pattern;
mod peer;
mod principal;
mod provider;
mod show;
mod strict_json;
#[cfg(test)]
mod testkit;
mod time;

pub use accounts::{
    AccountError, HostAccount, HostAccounts, HostGroup, RecentAccounts, SystemAccounts,
};
pub use config::{
    AdministratorsDoc, AuthConfig, AuthDoc, ConfigErrors, ConfigWarning, DelegateDoc, JwtConfig,
    JwtDoc, MtlsConfig, MtlsDoc, PeerConfig, PeerDoc, Violation,
};
pub use delegation::{
    Delegated, DelegationClaims, DelegationKey, DelegationRefused, DelegationTarget,
    DelegationTokenError, Grant, IssueError, KeyFileError, MAX_DELEGATION_LIFETIME, RevocationSet,
    RevocationUnavailable, Revocations, TokenId, parse_delegation_token,
};
pub use document::{Document, DocumentError, MAX_DOCUMENT_BYTES, read_toml};
pub use jwt::{
    Algorithm, DiscoveryError, KeySet, KeySetError, MAX_TOKEN_BYTES, TokenError, UnverifiedToken,
    VerifiedClaims, parse_discovery, parse_token, verify_token,
};
pub use mapping::{
    Explanation, Identity, IdentityDoc, IdentityKind, IdentityMap, ManagedDoc, ManagedIdError,
    ManagedIds, ManagedRange, MappingError, MemoryManagedIds, Mismatch, RuleDoc, RuleFailure,
    SharedDoc, Trial, TrialOutcome, World,
};
pub use mtls::{CertificateError, CertificateSubject, SubjectSource, certificate_subject};
pub use name::{AccountName, GroupName, NameError, ProjectName, UserName};
pub use peer::{PeerCredentials, PeerError};
pub use principal::{Authenticator, Principal};
pub use provider::{FetchError, JwtAuthError, JwtAuthenticators, ProviderError, SetupError};
pub use time::{Now, UnixTime};
