//! Who the caller is, whom it is mapped to, and for whom it acts.

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_identity::{Authenticator, Grant, Now, Principal, TokenId};
use lakekeep_profiles::{Action, Resource};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::Event;
use tonic::Request;

use super::user_name;
use crate::fault::Fault;
use crate::gate::now;
use crate::who::{Caller, Revoked};
use crate::wire;

use super::Service;

impl Service {
    pub(super) async fn who(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<v1::WhoAmIResponse, Fault> {
        let caller = self.caller(&request).await?;
        let project = request.into_inner().project;
        let asked = caller.clone();
        let mapped = self
            .blocking(move |gate| Ok(gate.identity(&asked, &project)))
            .await?;
        let (identity, error) = match mapped {
            Ok(identity) => (Some(shown_identity(&identity)), String::new()),
            Err(fault) => (None, fault.to_string()),
        };
        Ok(v1::WhoAmIResponse {
            user: caller.user().to_owned(),
            groups: caller.subject.groups.clone(),
            authenticated_by: by(&caller.principal).to_owned(),
            actor: caller
                .principal
                .actor()
                .map(ToString::to_string)
                .unwrap_or_default(),
            administrator: caller.subject.administrator,
            identity,
            identity_error: error,
        })
    }

    pub(super) async fn tested(
        &self,
        request: Request<v1::TestIdentityRequest>,
    ) -> Result<v1::TestIdentityResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let own = asked.user.is_empty() || asked.user == caller.user();
        if !own {
            self.gate
                .check(&caller, Action::Administer, Resource::Manager)?;
        }
        let principal = match own {
            true => caller.principal.clone(),
            false => self.stranger(&asked.user).await?.principal,
        };
        let explained = self
            .blocking(move |gate| gate.explain(&principal, &asked.project))
            .await?;
        let identity = explained.identity().ok().flatten().map(shown_identity);
        let mut tried: Vec<String> = explained.trials().iter().map(ToString::to_string).collect();
        if let Err(error) = explained.identity() {
            tried.push(chain(error));
        }
        Ok(v1::TestIdentityResponse { identity, tried })
    }

    /// A user that somebody asks about.
    async fn stranger(&self, user: &str) -> Result<Caller, Fault> {
        let user = user_name(user)?;
        self.blocking(move |gate| gate.authentication.stranger(&user))
            .await
    }

    pub(super) async fn delegated(
        &self,
        request: Request<v1::DelegateRequest>,
    ) -> Result<v1::DelegateResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let actor = user_name(&asked.actor)?;
        if !asked.profile.is_empty() {
            let set = self.gate.profiles.current();
            self.gate.profile(&set, &caller, &asked.profile)?;
        }
        let grant = Grant {
            user: &caller.principal,
            actor: &actor,
            profile: (!asked.profile.is_empty()).then_some(asked.profile.as_str()),
            lifetime: wire::duration(asked.lifetime.as_ref()),
        };
        let time = Now::read().unix;
        let token = self.gate.authentication.key.issue(&grant, time);
        let token = token.map_err(|error| Fault::new(Reason::BadRequest, chain(&error)))?;
        let claims = lakekeep_identity::parse_delegation_token(&token);
        let claims = claims.map_err(|error| Fault::internal("read the new token", &error))?;
        let event = Event::allowed(now(), caller.user(), "delegate")
            .with_extra("to", actor.as_str())
            .with_extra("token", &claims.id().to_string())
            .with_profile(&asked.profile);
        self.gate.note(&caller, event).await?;
        let expires = prost_types::Timestamp {
            seconds: i64::try_from(claims.expires().seconds()).unwrap_or(i64::MAX),
            nanos: 0,
        };
        Ok(v1::DelegateResponse {
            token,
            id: claims.id().to_string(),
            expires: Some(expires),
        })
    }

    pub(super) async fn revoked(
        &self,
        request: Request<v1::RevokeDelegationRequest>,
    ) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        if caller.principal.actor().is_some() {
            return Err(Fault::new(Reason::Denied, "a delegation revokes none"));
        }
        let id = request.into_inner().id;
        let user = caller.user().to_owned();
        if !id.is_empty() && TokenId::parse(&id).is_none() {
            return Err(Fault::new(
                Reason::BadRequest,
                "id: not the identifier of a token",
            ));
        }
        let event = Event::allowed(now(), caller.user(), "revoke").with_extra("token", &id);
        self.gate.note(&caller, event).await?;
        self.blocking(move |gate| {
            let time = now();
            let expires = time.plus(lakekeep_identity::MAX_DELEGATION_LIFETIME);
            let done = match id.as_str() {
                "" => gate.store.revoke_user(&user, expires, time),
                id => {
                    let key = Revoked::key(&user, id);
                    gate.store.revoke_delegation(&key, expires, time)
                }
            };
            done.map_err(|error| Fault::internal("revoke", &error))
        })
        .await
    }

    pub(super) async fn could(
        &self,
        request: Request<v1::CanRequest>,
    ) -> Result<v1::CanResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let action: Action =
            asked
                .action
                .parse()
                .map_err(|error: lakekeep_profiles::UnknownAction| {
                    Fault::new(Reason::BadRequest, error.to_string())
                })?;
        let set = self.gate.profiles.current();
        let profile = match asked.profile.as_str() {
            "" => None,
            name => Some(self.gate.profile(&set, &caller, name)?.profile()),
        };
        let subject = match asked.user.as_str() {
            "" => caller.subject.clone(),
            user if user == caller.user() => caller.subject.clone(),
            user => {
                // Of others: whoever may change the profile, or administers.
                match profile {
                    Some(profile) => {
                        let resource = Resource::Profile(profile);
                        self.gate.check(&caller, Action::EditProfile, resource)?;
                    }
                    None => self
                        .gate
                        .check(&caller, Action::Administer, Resource::Manager)?,
                }
                self.stranger(user).await?.subject
            }
        };
        let resource = match (action.acts_on(), profile) {
            ("sandbox", Some(profile)) => Resource::Sandbox {
                profile,
                user: &subject.user,
                id: "",
            },
            (_, Some(profile)) => Resource::Profile(profile),
            (_, None) => Resource::Manager,
        };
        let decision = self.gate.authorizer.decide(&subject, action, resource);
        let reasons = decision
            .reasons
            .iter()
            .map(|reason| format!("{} ({})", reason.sentence, reason.policy));
        Ok(v1::CanResponse {
            allowed: decision.allowed,
            reasons: reasons.chain(decision.errors.iter().cloned()).collect(),
            remedy: decision.would_need.join("; or: "),
        })
    }
}

fn by(principal: &Principal) -> &'static str {
    match principal.authenticator() {
        Authenticator::Peer => "peer",
        Authenticator::Jwt { .. } => "jwt",
        Authenticator::Mtls => "mtls",
        Authenticator::Delegation => "delegation",
    }
}

fn shown_identity(identity: &lakekeep_identity::Identity) -> v1::Identity {
    v1::Identity {
        name: identity.name().to_string(),
        uid: identity.uid(),
        gid: identity.gid(),
        variables: identity.variables().clone().into_iter().collect(),
        rule: identity.rule().to_owned(),
    }
}
