//! The manager's own key: issuing and verifying delegation tokens.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::claims::{
    DelegationClaims, DelegationTokenError, KIND, MAX_DELEGATION_LIFETIME, MAX_TEXT, MAX_TOKEN,
    Payload, TokenId, split,
};
use super::key_file::{KeyFileError, load_or_create};
use super::revocation::Revocations;
use crate::name::UserName;
use crate::principal::Principal;
use crate::show::quoted;
use crate::time::UnixTime;

/// Most of a token's time before `issued` that is forgiven: two processes of one
/// host read one clock.
const LEEWAY: Duration = Duration::from_secs(5);

/// What a user grants an engine.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// The user who grants, as authenticated.
    pub user: &'a Principal,
    /// The engine that may act for the user.
    pub actor: &'a UserName,
    /// The one profile for which it may; any if there is none.
    pub profile: Option<&'a str>,
    /// For how long; an hour if there is none, and at most
    /// [`MAX_DELEGATION_LIFETIME`].
    pub lifetime: Option<Duration>,
}

/// Why no token was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// Whoever acts for a user does not grant in their name.
    #[error("{actor} acts for {user} and cannot grant for them; let {user} ask for the token")]
    Chained {
        /// The engine.
        actor: UserName,
        /// The user.
        user: UserName,
    },
    /// Too long or no time at all.
    #[error("a delegation of {seconds} s is not granted; ask for 1 to {} s", MAX_DELEGATION_LIFETIME.as_secs())]
    Lifetime {
        /// What was asked for, in seconds.
        seconds: u64,
    },
    /// Not a profile's name.
    #[error("{profile} cannot be a profile's name; write 1 to {MAX_TEXT} bytes")]
    Profile {
        /// The text, quoted.
        profile: String,
    },
    /// More groups than a token holds.
    #[error(
        "a delegation for {user} would have {length} bytes, more than {MAX_TOKEN}: {groups} groups are too many; use a right in [[auth.delegate]]"
    )]
    TooLong {
        /// The user.
        user: UserName,
        /// The token's length in bytes.
        length: usize,
        /// How many groups the user has.
        groups: usize,
    },
    /// The system has no random numbers.
    #[error(
        "the system gave no random numbers for a delegation token; see whether getrandom(2) works here"
    )]
    Random,
    /// The claims have no text.
    #[error("the claims of a delegation could not be written as JSON: {cause}; report this")]
    Encode {
        /// Why.
        cause: String,
    },
}

/// A verified delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    principal: Principal,
    claims: DelegationClaims,
}

impl Delegated {
    /// The user, with the engine as actor.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What the token says: the profile that it is bound to, its name, its end.
    pub fn claims(&self) -> &DelegationClaims {
        &self.claims
    }
}

/// The key with which a manager signs, and knows again, its delegation tokens.
pub struct DelegationKey {
    pair: Ed25519KeyPair,
    audience: String,
}

impl fmt::Debug for DelegationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegationKey")
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

impl DelegationKey {
    /// Reads the key file, or makes it at the first start (Ed25519 in PKCS#8,
    /// mode 0600). `manager` is this manager's id, which its tokens are for.
    /// Removing the file and starting again ends every token.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], also if the file is anybody else's to read.
    pub fn load_or_create(path: &Path, manager: &str) -> Result<DelegationKey, KeyFileError> {
        Ok(DelegationKey {
            pair: load_or_create(path)?,
            audience: manager.to_owned(),
        })
    }

    /// Signs a token.
    ///
    /// # Errors
    ///
    /// [`IssueError`] if the grant is not one to give.
    pub fn issue(&self, grant: &Grant<'_>, now: UnixTime) -> Result<String, IssueError> {
        let claims = self.claims(grant, now)?;
        let payload = serde_json::to_vec(&Payload::from(&claims));
        let payload = payload.map_err(|error| IssueError::Encode {
            cause: error.to_string(),
        })?;
        let signed = format!("{KIND}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        if token.len() > MAX_TOKEN {
            return Err(IssueError::TooLong {
                user: claims.user,
                length: token.len(),
                groups: claims.groups.len(),
            });
        }
        Ok(token)
    }

    fn claims(&self, grant: &Grant<'_>, now: UnixTime) -> Result<DelegationClaims, IssueError> {
        let user = grant.user.user().clone();
        if let Some(actor) = grant.user.actor().cloned() {
            return Err(IssueError::Chained { actor, user });
        }
        let lifetime = grant.lifetime.unwrap_or(Duration::from_secs(3600));
        let seconds = lifetime.as_secs();
        if seconds == 0 || lifetime > MAX_DELEGATION_LIFETIME {
            return Err(IssueError::Lifetime { seconds });
        }
        if let Some(profile) = grant.profile
            && !(1..=MAX_TEXT).contains(&profile.len())
        {
            let profile = quoted(profile);
            return Err(IssueError::Profile { profile });
        }
        let mut id = [0; 16];
        let filled = SystemRandom::new().fill(&mut id);
        filled.map_err(|_| IssueError::Random)?;
        Ok(DelegationClaims {
            id: TokenId::new(id),
            audience: self.audience.clone(),
            user,
            groups: grant.user.groups().clone(),
            actor: grant.actor.clone(),
            profile: grant.profile.map(str::to_owned),
            issued: now,
            expires: now.plus(lifetime),
        })
    }

    /// Verifies a token that `presenter` sent, who must be the engine that it
    /// names: a token that leaks into a sandbox is of no use there.
    ///
    /// # Errors
    ///
    /// [`DelegationTokenError`], which never holds the token.
    pub fn verify(
        &self,
        token: &str,
        presenter: &Principal,
        revocations: &dyn Revocations,
        now: UnixTime,
    ) -> Result<Delegated, DelegationTokenError> {
        let parts = split(token)?;
        UnparsedPublicKey::new(&ED25519, self.pair.public_key())
            .verify(parts.signed.as_bytes(), &parts.signature)
            .map_err(|_| DelegationTokenError::Signature)?;
        let claims = parts.claims;
        self.check_parties(&claims, presenter)?;
        check_time(&claims, now)?;
        check_revoked(&claims, revocations)?;
        let principal = Principal::delegated(
            claims.actor.clone(),
            claims.user.clone(),
            claims.groups.clone(),
        );
        Ok(Delegated { principal, claims })
    }

    fn check_parties(
        &self,
        claims: &DelegationClaims,
        presenter: &Principal,
    ) -> Result<(), DelegationTokenError> {
        if claims.audience != self.audience {
            let audience = self.audience.clone();
            return Err(DelegationTokenError::Audience { audience });
        }
        if claims.actor != *presenter.user() || presenter.actor().is_some() {
            let presenter = presenter.user().clone();
            return Err(DelegationTokenError::Actor { presenter });
        }
        Ok(())
    }
}

fn check_time(claims: &DelegationClaims, now: UnixTime) -> Result<(), DelegationTokenError> {
    let (issued, at) = (claims.issued, claims.expires);
    if now >= at {
        return Err(DelegationTokenError::Expired { at });
    }
    if issued > now.plus(LEEWAY) {
        return Err(DelegationTokenError::NotYetValid { issued });
    }
    Ok(())
}

fn check_revoked(
    claims: &DelegationClaims,
    revocations: &dyn Revocations,
) -> Result<(), DelegationTokenError> {
    let id = claims.id;
    let until = revocations.revoked_until(&claims.user)?;
    let own = revocations.is_revoked(&claims.user, &id)?;
    if own || until.is_some_and(|until| claims.issued <= until) {
        return Err(DelegationTokenError::Revoked { id });
    }
    Ok(())
}
