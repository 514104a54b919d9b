//! Who calls: told by the connection or a verified token, never by what a message says.

use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_identity::{
    AuthConfig, DelegationKey, JwtAuthenticators, Now, PeerCredentials, Principal, RecentAccounts,
    RevocationUnavailable, Revocations, SystemAccounts, TokenId, UnixTime, UserName,
};
use lakekeep_profiles::Subject;
use lakekeep_sandbox::chain;
use lakekeep_store::state::Store;
use tonic::metadata::MetadataMap;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic::{Extensions, Request};

use crate::fault::Fault;
use crate::refusals::Seen;

/// Metadata with a token that the manager signed for an engine.
pub const DELEGATION: &str = "lakekeep-delegation";

/// Metadata with the user for whom an engine acts by its configured right.
pub const ON_BEHALF_OF: &str = "lakekeep-on-behalf-of";

/// For whom a caller says that it acts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims<'a> {
    /// By a token that the manager signed.
    pub delegation: Option<&'a str>,
    /// By a configured right.
    pub on_behalf_of: Option<&'a str>,
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is, as authenticated.
    pub principal: Principal,
    /// The same, as authorization asks.
    pub subject: Subject,
    /// The only profile that its delegation is for.
    pub bound_to: Option<String>,
}

impl Caller {
    /// Its user's name.
    pub fn user(&self) -> &str {
        self.principal.user().as_str()
    }
}

/// Everything that authenticates.
#[derive(Debug)]
pub struct Authentication {
    pub config: AuthConfig,
    pub jwt: JwtAuthenticators,
    pub key: DelegationKey,
    pub revoked: Revoked,
    /// Those of peers.
    pub accounts: RecentAccounts,
}

/// Revoked delegations, as the store has them.
#[derive(Debug, Clone)]
pub struct Revoked(pub Arc<Store>);

impl Revocations for Revoked {
    fn is_revoked(&self, user: &UserName, id: &TokenId) -> Result<bool, RevocationUnavailable> {
        self.0
            .is_revoked(&Self::key(user.as_str(), &id.to_string()))
            .map_err(|error| RevocationUnavailable {
                cause: chain(&error),
            })
    }

    fn revoked_until(&self, user: &UserName) -> Result<Option<UnixTime>, RevocationUnavailable> {
        // All that a user gave so far: kept under the user's name, with when.
        self.0
            .revoked_before(user.as_str())
            .map(|time| time.map(|time| UnixTime::new(time.as_micros() / 1_000_000)))
            .map_err(|error| RevocationUnavailable {
                cause: chain(&error),
            })
    }
}

impl Revoked {
    /// What a revocation of one token is kept under: it is the user's own, or none.
    pub fn key(user: &str, id: &str) -> String {
        format!("{id}:{user}")
    }
}

impl Authentication {
    /// Who sent a request.
    ///
    /// # Errors
    /// `Unauthenticated`; `Denied` for a delegation that is not the caller's.
    pub async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Fault> {
        let (metadata, extensions) = (request.metadata(), request.extensions());
        let seen = extensions.get::<Seen>().cloned().unwrap_or_default();
        let presenter = self.presenter(metadata, extensions, &seen).await?;
        seen.is(&presenter);
        let claims = Claims {
            delegation: text(metadata, DELEGATION)?,
            on_behalf_of: text(metadata, ON_BEHALF_OF)?,
        };
        let caller = self.acting(presenter, claims, &seen)?;
        crate::trace::join(metadata);
        Ok(caller)
    }

    /// Who made a connection to a Unix socket that is not the interface's, and for whom.
    ///
    /// # Errors
    /// As [`Authentication::caller`].
    pub fn peer(&self, uid: u32, claims: Claims<'_>, seen: &Seen) -> Result<Caller, Fault> {
        let presenter = self.account(uid)?;
        seen.is(&presenter);
        // To act for oneself takes no right.
        let own = presenter.user().as_str();
        let claims = Claims {
            on_behalf_of: claims.on_behalf_of.filter(|user| *user != own),
            ..claims
        };
        self.acting(presenter, claims, seen)
    }

    fn acting(
        &self,
        presenter: Principal,
        claims: Claims<'_>,
        seen: &Seen,
    ) -> Result<Caller, Fault> {
        let (principal, bound_to) = self.delegated(claims, presenter)?;
        seen.is(&principal);
        Ok(self.known(principal, bound_to))
    }

    fn known(&self, principal: Principal, bound_to: Option<String>) -> Caller {
        let subject = Subject {
            user: principal.user().to_string(),
            groups: principal.groups().iter().map(ToString::to_string).collect(),
            administrator: self.config.is_administrator(&principal),
        };
        Caller {
            principal,
            subject,
            bound_to,
        }
    }

    /// A user that somebody asks about, with the groups that the host knows. May ask the host's
    /// name service: it blocks.
    ///
    /// # Errors
    /// `Internal` when the account cannot be looked up.
    pub fn stranger(&self, user: &UserName) -> Result<Caller, Fault> {
        let target = self.config.delegation_target(user, &SystemAccounts);
        let target = target.map_err(|error| Fault::internal("look up the account", &error))?;
        Ok(self.known(target.assumed(), None))
    }

    /// Who has the other end of the connection. A token counts before a certificate,
    /// a certificate before the peer's account: the caller chose to show it.
    async fn presenter(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
        seen: &Seen,
    ) -> Result<Principal, Fault> {
        match self.shown(metadata).await {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => self.connected(extensions),
            Err(fault) => {
                // A token that is bad is not passed over. Of who showed it, what is true
                // is what the connection says, and not what the token claims.
                if let Ok(connected) = self.connected(extensions) {
                    seen.is(&connected);
                }
                Err(fault)
            }
        }
    }

    /// Whose bearer token was shown, if any was.
    async fn shown(&self, metadata: &MetadataMap) -> Result<Option<Principal>, Fault> {
        let Some(token) = bearer(metadata)? else {
            return Ok(None);
        };
        let verified = self.jwt.authenticate(token, Now::read()).await;
        verified
            .map(|claims| Some(claims.into_principal()))
            .map_err(|error| unauthenticated(&error))
    }

    /// Who made the connection, by certificate or by the kernel's word.
    fn connected(&self, extensions: &Extensions) -> Result<Principal, Fault> {
        if let Some(info) = extensions.get::<TlsConnectInfo<TcpConnectInfo>>() {
            let certificates = info.peer_certs().unwrap_or_default();
            let (Some(mtls), Some(first)) = (self.config.mtls(), certificates.first()) else {
                return Err(Fault::new(
                    Reason::Unauthenticated,
                    "neither a client certificate nor a bearer token was shown; show one",
                ));
            };
            return mtls
                .principal(first)
                .map_err(|error| unauthenticated(&error));
        }
        let peer = extensions
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred);
        let peer = peer.ok_or_else(|| {
            Fault::new(
                Reason::Unauthenticated,
                "nobody is known on this connection",
            )
        })?;
        self.account(peer.uid())
    }

    /// A peer, by the kernel's word.
    fn account(&self, uid: u32) -> Result<Principal, Fault> {
        let peer = PeerCredentials { uid };
        let found = self.config.peer().principal(peer, &self.accounts);
        found.map_err(|error| unauthenticated(&error))
    }

    /// For whom the presenter acts.
    fn delegated(
        &self,
        claims: Claims<'_>,
        presenter: Principal,
    ) -> Result<(Principal, Option<String>), Fault> {
        let denied =
            |error: &(dyn std::error::Error + 'static)| Fault::new(Reason::Denied, chain(error));
        if let Some(token) = claims.delegation {
            let now = Now::read().unix;
            let verified = self.key.verify(token, &presenter, &self.revoked, now);
            let verified = verified.map_err(|error| denied(&error))?;
            let profile = verified.claims().profile().map(str::to_owned);
            return Ok((verified.principal().clone(), profile));
        }
        if let Some(user) = claims.on_behalf_of {
            let user = UserName::new(user).map_err(|error| {
                Fault::new(Reason::BadRequest, format!("{ON_BEHALF_OF}: {error}"))
            })?;
            let allowed = self
                .config
                .authorize_delegation(&presenter, &user, &SystemAccounts);
            return allowed
                .map(|user| (user, None))
                .map_err(|error| denied(&error));
        }
        Ok((presenter, None))
    }
}

fn unauthenticated(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::new(Reason::Unauthenticated, chain(error))
}

fn bearer(metadata: &MetadataMap) -> Result<Option<&str>, Fault> {
    let Some(value) = text(metadata, "authorization")? else {
        return Ok(None);
    };
    let token = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) => Ok(Some(token.trim())),
        None => Err(Fault::new(
            Reason::Unauthenticated,
            "authorization is not `Bearer TOKEN`; send a JWT of a configured issuer",
        )),
    }
}

/// One value of the metadata. Two would leave open which one counts.
fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let malformed = || {
        Fault::new(
            Reason::BadRequest,
            format!("{name} is not one line of ASCII"),
        )
    };
    let mut values = metadata.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(malformed());
    }
    first
        .map(|value| value.to_str().map_err(|_| malformed()))
        .transpose()
}
