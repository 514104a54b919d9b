//! What a delegation token says, and its text.
//!
//! `lkd1.<payload>.<signature>`: the payload is JSON, the signature Ed25519 over
//! everything before the last dot; both in base64url without padding. There is
//! one version and one algorithm, and no header that could ask for another.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::revocation::RevocationUnavailable;
use crate::name::{GroupName, NameError, UserName};
use crate::strict_json;
use crate::time::UnixTime;

/// What every token begins with: the kind and its version.
pub(super) const KIND: &str = "lkd1";
/// Longest token, in bytes.
pub(super) const MAX_TOKEN: usize = 16 * 1024;
/// Longest name of a profile and of a manager, in bytes.
pub(super) const MAX_TEXT: usize = 256;
/// Longest time that a token may be valid.
pub const MAX_DELEGATION_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The unique name of a token, by which it is revoked and audited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    pub(super) fn new(bytes: [u8; 16]) -> TokenId {
        TokenId(bytes)
    }

    /// Reads 32 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<TokenId> {
        let mut bytes = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+') {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenId(bytes))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// What a token says. One that was only parsed is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationClaims {
    pub(super) id: TokenId,
    pub(super) audience: String,
    pub(super) user: UserName,
    pub(super) groups: BTreeSet<GroupName>,
    pub(super) actor: UserName,
    pub(super) profile: Option<String>,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
}

impl DelegationClaims {
    /// The token's unique name.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// For whom may be acted.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The user's groups when the token was issued. Groups that an issuer's
    /// token named can be asked of nobody later, so they are kept in it; that the
    /// token lives for a short time bounds how old they get.
    pub fn groups(&self) -> &BTreeSet<GroupName> {
        &self.groups
    }

    /// Who may act.
    pub fn actor(&self) -> &UserName {
        &self.actor
    }

    /// The one profile for which it is good; any if there is none.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// When it was issued.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// When its time is over.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }
}

/// The payload, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    jti: String,
    aud: String,
    sub: String,
    groups: Vec<String>,
    act: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    iat: u64,
    exp: u64,
}

impl From<&DelegationClaims> for Payload {
    fn from(claims: &DelegationClaims) -> Payload {
        Payload {
            jti: claims.id.to_string(),
            aud: claims.audience.clone(),
            sub: claims.user.to_string(),
            groups: claims.groups.iter().map(ToString::to_string).collect(),
            act: claims.actor.to_string(),
            profile: claims.profile.clone(),
            iat: claims.issued.seconds(),
            exp: claims.expires.seconds(),
        }
    }
}

impl Payload {
    fn check(self) -> Result<DelegationClaims, DelegationTokenError> {
        let malformed = |what| DelegationTokenError::Malformed { what };
        let name = |_: NameError| malformed("a name in it is none");
        let groups = self.groups.iter().map(|group| GroupName::new(group));
        if self.aud.len() > MAX_TEXT || self.profile.as_ref().is_some_and(|p| p.len() > MAX_TEXT) {
            return Err(malformed("a text in it is too long"));
        }
        Ok(DelegationClaims {
            id: TokenId::parse(&self.jti).ok_or(malformed("its name is no name of a token"))?,
            audience: self.aud,
            user: UserName::new(&self.sub).map_err(name)?,
            groups: groups.collect::<Result<_, _>>().map_err(name)?,
            actor: UserName::new(&self.act).map_err(name)?,
            profile: self.profile,
            issued: UnixTime::new(self.iat),
            expires: UnixTime::new(self.exp),
        })
    }
}

/// Why a delegation token was refused. No message holds the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationTokenError {
    /// More bytes than a token has.
    #[error(
        "the delegation token has {length} bytes, and at most {MAX_TOKEN} are read; send it as it was issued"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Of another kind or version.
    #[error("it is no delegation token of version {KIND}; ask the manager for a new one")]
    Version,
    /// Not a token.
    #[error("the delegation token is malformed: {what}; send it as it was issued")]
    Malformed {
        /// What is wrong, without any of the token's text.
        what: &'static str,
    },
    /// Not signed with this manager's key.
    #[error("the delegation token's signature is wrong; ask this manager for a new one")]
    Signature,
    /// Another manager's.
    #[error("the delegation token is another manager's; ask {audience} for one")]
    Audience {
        /// This manager.
        audience: String,
    },
    /// Another engine's.
    #[error(
        "the delegation token lets another engine act than {presenter}, who sent it; ask for one for {presenter}"
    )]
    Actor {
        /// Who sent it.
        presenter: UserName,
    },
    /// Its time is over.
    #[error("the delegation token expired at {at}; ask for a new one")]
    Expired {
        /// When.
        at: UnixTime,
    },
    /// Its time has not come.
    #[error(
        "the delegation token was issued at {issued}, which is not yet; see whether the manager's clock was set back"
    )]
    NotYetValid {
        /// When it says to be issued.
        issued: UnixTime,
    },
    /// Revoked.
    #[error("the delegation token {id} is revoked; ask for a new one")]
    Revoked {
        /// Its name.
        id: TokenId,
    },
    /// Whether it is revoked cannot be said.
    #[error(transparent)]
    Unavailable(#[from] RevocationUnavailable),
}

/// A token's parts.
pub(super) struct Parts<'a> {
    pub(super) claims: DelegationClaims,
    /// What was signed.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

pub(super) fn split(text: &str) -> Result<Parts<'_>, DelegationTokenError> {
    let malformed = |what| DelegationTokenError::Malformed { what };
    if text.len() > MAX_TOKEN {
        let length = text.len();
        return Err(DelegationTokenError::TooLong { length });
    }
    let (kind, rest) = text.split_once('.').ok_or(DelegationTokenError::Version)?;
    if kind != KIND {
        return Err(DelegationTokenError::Version);
    }
    let (payload, signature) = rest.split_once('.').ok_or(malformed("a part is missing"))?;
    let decode = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part);
        bytes.map_err(|_| malformed("a part is not base64url"))
    };
    let payload: Payload = strict_json::typed(&decode(payload)?)
        .map_err(|_| malformed("its payload is not the JSON object that it should be"))?;
    Ok(Parts {
        claims: payload.check()?,
        signature: decode(signature)?,
        signed: text.rsplit_once('.').map_or("", |(signed, _)| signed),
    })
}

/// Reads a token's claims, which are not to be believed: nothing is verified.
/// Performs no I/O.
///
/// # Errors
///
/// [`DelegationTokenError::TooLong`], `Version` and `Malformed`.
pub fn parse_delegation_token(text: &str) -> Result<DelegationClaims, DelegationTokenError> {
    split(text).map(|parts| parts.claims)
}
