//! The service `lakekeep.v1.Accounts`.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_api::v1::accounts_server::Accounts;
use lakekeep_api::v1::{self, Scope as WireScope};
use lakekeep_identity::{Authenticator, Grant, Now, Principal, TokenId, UserName};
use lakekeep_profiles::{Action, Etag, ProfileWriteError, Resource, Stored, Subject, Writer};
use lakekeep_store::Timestamp;
use lakekeep_store::audit::{self, AuditKey, Event, Outcome};
use lakekeep_store::secrets::{Plaintext, SecretName};
use lakekeep_store::state::{Levels, Scope, SetVariable};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::make::story;
use crate::who::Caller;
use crate::wire;

/// Most events of one query.
const MOST_EVENTS: u32 = 100_000;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub gate: Arc<Gate>,
    /// The audit log's key.
    pub audit_key: std::path::PathBuf,
}

impl Service {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Fault> {
        self.gate.authentication.caller(request).await
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Gate) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let gate = Arc::clone(&self.gate);
        tokio::task::spawn_blocking(move || work(&gate))
            .await
            .map_err(|error| Fault::internal("wait for a thread", &error))?
    }

    async fn who(&self, request: Request<v1::WhoAmIRequest>) -> Result<v1::WhoAmIResponse, Fault> {
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

    async fn tested(
        &self,
        request: Request<v1::TestIdentityRequest>,
    ) -> Result<v1::TestIdentityResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let own = asked.user.is_empty() || asked.user == caller.user();
        if !own {
            self.gate
                .check(&caller, Action::Administer, Resource::Manager)
                .await?;
        }
        let principal = match own {
            true => caller.principal.clone(),
            false => self.stranger(&asked.user).await?,
        };
        let explained = self
            .blocking(move |gate| gate.explain(&principal, &asked.project))
            .await?;
        let identity = explained.identity().ok().flatten().map(shown_identity);
        let mut tried: Vec<String> = explained.trials().iter().map(ToString::to_string).collect();
        if let Err(error) = explained.identity() {
            tried.push(story(error));
        }
        Ok(v1::TestIdentityResponse { identity, tried })
    }

    /// A user that somebody asks about, with the groups that the host knows.
    async fn stranger(&self, user: &str) -> Result<Principal, Fault> {
        let user = user_name(user)?;
        self.blocking(move |gate| {
            let target = gate
                .authentication
                .config
                .delegation_target(&user, &lakekeep_identity::SystemAccounts);
            let target = target.map_err(|error| Fault::internal("look up the account", &error))?;
            Ok(target.assumed())
        })
        .await
    }

    async fn delegated(
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
        let token = token.map_err(|error| Fault::new(Reason::BadRequest, story(&error)))?;
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

    async fn revoked(&self, request: Request<v1::RevokeDelegationRequest>) -> Result<(), Fault> {
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
                id => gate.store.revoke_delegation(id, expires, time),
            };
            done.map_err(|error| Fault::internal("revoke", &error))
        })
        .await
    }

    async fn could(&self, request: Request<v1::CanRequest>) -> Result<v1::CanResponse, Fault> {
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
                        self.gate
                            .check(&caller, Action::EditProfile, resource)
                            .await?;
                    }
                    None => {
                        self.gate
                            .check(&caller, Action::Administer, Resource::Manager)
                            .await?
                    }
                }
                let stranger = self.stranger(user).await?;
                Subject {
                    user: user.to_owned(),
                    groups: stranger.groups().iter().map(ToString::to_string).collect(),
                    administrator: self.gate.authentication.config.is_administrator(&stranger),
                }
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

    async fn profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<v1::ListProfilesResponse, Fault> {
        let caller = self.caller(&request).await?;
        if let Some(template) = self.gate.personal.clone() {
            let user = caller.user().to_owned();
            self.blocking(move |gate| {
                let made = gate.profiles.personal(&template, &user);
                made.map(drop)
                    .map_err(|error| Fault::new(Reason::BadRequest, story(&error)))
            })
            .await?;
        }
        let set = self.gate.profiles.current();
        let seen = set.iter().filter(|stored| {
            self.gate
                .profile(&set, &caller, stored.profile().name().as_str())
                .is_ok()
        });
        Ok(v1::ListProfilesResponse {
            profiles: seen.map(|stored| self.shown(&caller, stored)).collect(),
        })
    }

    fn shown(&self, caller: &Caller, stored: &Stored) -> v1::Profile {
        let profile = stored.profile();
        let may = |action| {
            let resource = Resource::Profile(profile);
            self.gate
                .authorizer
                .decide(&caller.subject, action, resource)
                .allowed
        };
        let role = match caller.user() {
            user if user == profile.owner() => "owner",
            _ if caller.subject.administrator => "administrator",
            _ if may(Action::CreateSandbox) => "contributor",
            _ => "viewer",
        };
        v1::Profile {
            name: profile.name().to_string(),
            document: stored.text().to_owned(),
            version: stored.etag().to_string(),
            declared: stored.declared(),
            owner: profile.owner().to_owned(),
            role: role.to_owned(),
        }
    }

    async fn put(&self, request: Request<v1::PutProfileRequest>) -> Result<v1::Profile, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        self.may_write(&caller, &asked.name, Action::EditProfile)
            .await?;
        let event = Event::allowed(now(), caller.user(), "edit_profile").with_profile(&asked.name);
        self.gate.note(&caller, event).await?;
        let writer = writer(&caller);
        let name = self
            .blocking(move |gate| {
                let expected =
                    (!asked.version.is_empty()).then(|| Etag::from_client(&asked.version));
                let named = document_name(&asked.document);
                if !asked.name.is_empty()
                    && named.as_deref().is_some_and(|named| named != asked.name)
                {
                    return Err(Fault::new(
                        Reason::BadRequest,
                        "the document's name is another than the request's",
                    ));
                }
                let written = gate
                    .profiles
                    .put(&asked.document, &writer, expected.as_ref());
                let (name, _) = written.map_err(|error| refused(&error))?;
                Ok(name.to_string())
            })
            .await?;
        let set = self.gate.profiles.current();
        Ok(self.shown(&caller, self.gate.profile(&set, &caller, &name)?))
    }

    async fn may_write(&self, caller: &Caller, name: &str, action: Action) -> Result<(), Fault> {
        let set = self.gate.profiles.current();
        match set.get(name) {
            Some(_) => {
                let stored = self.gate.profile(&set, caller, name)?;
                self.gate
                    .check(caller, action, Resource::Profile(stored.profile()))
                    .await
            }
            // Of a new one, the ceilings decide.
            None => Ok(()),
        }
    }

    async fn deleted(&self, request: Request<v1::DeleteProfileRequest>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        self.may_write(&caller, &asked.name, Action::DeleteProfile)
            .await?;
        let event =
            Event::allowed(now(), caller.user(), "delete_profile").with_profile(&asked.name);
        self.gate.note(&caller, event).await?;
        let writer = writer(&caller);
        self.blocking(move |gate| {
            let expected = Etag::from_client(&asked.version);
            let deleted = gate.profiles.delete(&asked.name, &writer, &expected);
            deleted.map_err(|error| refused(&error))
        })
        .await
    }

    /// Whose variable it is, for a caller who may change it.
    async fn owner(
        &self,
        caller: &Caller,
        which: &v1::VariableRef,
    ) -> Result<(Scope, String), Fault> {
        let set = self.gate.profiles.current();
        let action = match which.secret {
            true => Action::SetProfileSecrets,
            false => Action::SetProfileVariables,
        };
        match which.scope() {
            WireScope::Profile => {
                let stored = self.gate.profile(&set, caller, &which.owner)?;
                self.gate
                    .check(caller, action, Resource::Profile(stored.profile()))
                    .await?;
                Ok((Scope::Profile, which.owner.clone()))
            }
            WireScope::Project => {
                // A project's are its profiles' owners'.
                let of = set.iter().find(|stored| {
                    let profile = stored.profile();
                    let resource = Resource::Profile(profile);
                    profile.project() == Some(which.owner.as_str())
                        && self
                            .gate
                            .authorizer
                            .decide(&caller.subject, action, resource)
                            .allowed
                });
                if of.is_some() && caller.bound_to.is_none() {
                    return Ok((Scope::Project, which.owner.clone()));
                }
                let event = Event::denied(
                    now(),
                    caller.user(),
                    action.as_str(),
                    "owns no profile of the project",
                );
                self.gate
                    .note(caller, event.with_extra("project", &which.owner))
                    .await?;
                Err(Fault::new(
                    Reason::Denied,
                    "project: you own no profile of it",
                ))
            }
            WireScope::User | WireScope::Unspecified => {
                let own = which.owner.is_empty() || which.owner == caller.user();
                if own && caller.principal.actor().is_none() {
                    return Ok((Scope::User, caller.user().to_owned()));
                }
                let event = Event::denied(
                    now(),
                    caller.user(),
                    "set_own_variables",
                    "not the user's own",
                );
                self.gate
                    .note(caller, event.with_extra("of", &which.owner))
                    .await?;
                Err(Fault::new(
                    Reason::Denied,
                    "users set their own variables and secrets themselves",
                ))
            }
        }
    }

    async fn set(&self, request: Request<v1::SetVariableRequest>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let which = asked.variable.unwrap_or_default();
        // Wiped when it is dropped, from here on.
        let value = Plaintext::new(asked.value);
        let (scope, owner) = self.owner(&caller, &which).await?;
        let allow_code = caller.subject.administrator;
        let event = Event::allowed(now(), caller.user(), "set_variable")
            .with_extra("name", &which.name)
            .with_extra("secret", &which.secret.to_string())
            .with_extra("of", &format!("{scope:?} {owner}"));
        self.gate.note(&caller, event).await?;
        self.blocking(move |gate| {
            let refused = |error: &(dyn std::error::Error + 'static)| {
                Fault::new(Reason::BadRequest, story(error))
            };
            if which.secret {
                let name = SecretName {
                    scope,
                    owner: &owner,
                    name: &which.name,
                };
                let set = gate.vault.set(name, &value, allow_code, now());
                return set.map(drop).map_err(|error| refused(&error));
            }
            let text = std::str::from_utf8(value.expose()).map_err(|_| {
                Fault::new(
                    Reason::BadRequest,
                    "value: a variable is text; make it a secret",
                )
            })?;
            let set = SetVariable {
                scope,
                owner: &owner,
                name: &which.name,
                value: text,
                allow_code,
            };
            gate.store
                .set_variable(set, now())
                .map_err(|error| refused(&error))
        })
        .await
    }

    async fn removed(&self, request: Request<v1::VariableRef>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let which = request.into_inner();
        let (scope, owner) = self.owner(&caller, &which).await?;
        let event = Event::allowed(now(), caller.user(), "delete_variable")
            .with_extra("name", &which.name)
            .with_extra("of", &format!("{scope:?} {owner}"));
        self.gate.note(&caller, event).await?;
        let name = which.name.clone();
        let found = self
            .blocking(move |gate| {
                let failed =
                    |error: &(dyn std::error::Error + 'static)| Fault::internal("remove", error);
                match which.secret {
                    true => {
                        let name = SecretName {
                            scope,
                            owner: &owner,
                            name: &which.name,
                        };
                        gate.vault.remove(name).map_err(|error| failed(&error))
                    }
                    false => gate
                        .store
                        .remove_variable((scope, &owner), &which.name)
                        .map_err(|error| failed(&error)),
                }
            })
            .await?;
        match found {
            true => Ok(()),
            false => Err(Fault::new(
                Reason::NotFound,
                format!("nothing is set under {name:?} there"),
            )),
        }
    }

    async fn variables(
        &self,
        request: Request<v1::ListVariablesRequest>,
    ) -> Result<v1::ListVariablesResponse, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let profile = self.gate.profile_name(&caller, &asked.profile)?;
        let set = self.gate.profiles.current();
        let stored = self.gate.profile(&set, &caller, &profile)?;
        let project = stored.profile().project().map(str::to_owned);
        let user = caller.user().to_owned();
        let variables = self
            .blocking(move |gate| {
                let levels = Levels {
                    profile: &profile,
                    project: project.as_deref(),
                    user: &user,
                };
                listed(gate, levels)
            })
            .await?;
        Ok(v1::ListVariablesResponse { variables })
    }

    async fn audited(
        &self,
        request: Request<v1::QueryAuditRequest>,
    ) -> Result<Streamed<v1::AuditEvent>, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        self.may_audit(&caller, &asked.profile).await?;
        let some = |text: String| (!text.is_empty()).then_some(text);
        let outcome = match asked.outcome.as_str() {
            "" => None,
            "allowed" => Some(Outcome::Allowed),
            "denied" => Some(Outcome::Denied),
            "error" => Some(Outcome::Error),
            _ => {
                return Err(Fault::new(
                    Reason::BadRequest,
                    "outcome: allowed, denied or error",
                ));
            }
        };
        let filter = audit::Filter {
            since: moment(asked.since),
            until: moment(asked.until),
            who: some(asked.who),
            action: some(asked.action),
            profile: some(asked.profile),
            sandbox: some(asked.sandbox),
            outcome,
            after: None,
            limit: Some(usize::try_from(asked.limit.clamp(0, MOST_EVENTS)).unwrap_or(0))
                .filter(|limit| *limit > 0),
        };
        let folder = self.gate.audit_folder.clone();
        let (to, events) = tokio::sync::mpsc::channel(64);
        tokio::task::spawn_blocking(move || {
            let found = audit::query(&folder, filter);
            let records = match found {
                Ok(records) => records,
                Err(error) => {
                    let fault = Fault::internal("read the audit log", &error);
                    drop(to.blocking_send(Err(fault.into())));
                    return;
                }
            };
            for record in records {
                let event = record.map(|record| v1::AuditEvent {
                    json: record.to_json(),
                });
                let event =
                    event.map_err(|error| Fault::internal("read the audit log", &error).into());
                if to.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
            events,
        )))
    }

    async fn may_audit(&self, caller: &Caller, profile: &str) -> Result<(), Fault> {
        let set = self.gate.profiles.current();
        match profile {
            "" => {
                self.gate
                    .check(caller, Action::ReadAudit, Resource::Manager)
                    .await
            }
            name => {
                let stored = self.gate.profile(&set, caller, name)?;
                self.gate
                    .check(
                        caller,
                        Action::ReadAudit,
                        Resource::Profile(stored.profile()),
                    )
                    .await
            }
        }
    }

    async fn verified(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<v1::VerifyAuditResponse, Fault> {
        let caller = self.caller(&request).await?;
        self.may_audit(&caller, "").await?;
        let (folder, key) = (self.gate.audit_folder.clone(), self.audit_key.clone());
        self.blocking(move |_| {
            let key = AuditKey::read(&key)
                .map_err(|error| Fault::internal("read the audit key", &error))?;
            let report = audit::verify(&folder, Some(&key));
            let report = report.map_err(|error| Fault::internal("verify the audit log", &error))?;
            Ok(v1::VerifyAuditResponse {
                whole: report.is_intact(),
                events: report.events,
                problem: report
                    .broken
                    .map(|broken| broken.to_string())
                    .unwrap_or_default(),
            })
        })
        .await
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

fn user_name(text: &str) -> Result<UserName, Fault> {
    UserName::new(text).map_err(|error| Fault::new(Reason::BadRequest, format!("user: {error}")))
}

fn writer(caller: &Caller) -> Writer {
    Writer {
        user: caller.user().to_owned(),
        administrator: caller.subject.administrator && caller.bound_to.is_none(),
    }
}

fn document_name(document: &str) -> Option<String> {
    let doc = lakekeep_profiles::ProfileDoc::from_toml("profile", document).ok()?;
    doc.name
}

fn refused(error: &ProfileWriteError) -> Fault {
    let reason = match error {
        ProfileWriteError::Refused(_) => Reason::BadRequest,
        ProfileWriteError::Unknown { .. } => Reason::NotFound,
        ProfileWriteError::Exists { .. } | ProfileWriteError::Conflict { .. } => Reason::Conflict,
        ProfileWriteError::Io { .. } => Reason::Internal,
        _ => Reason::Denied,
    };
    Fault::new(reason, story(error))
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

fn moment(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    let seconds = u64::try_from(time.seconds).ok()?;
    let micros = u64::try_from(time.nanos).ok()? / 1000;
    Some(Timestamp::from_micros(
        seconds.saturating_mul(1_000_000).saturating_add(micros),
    ))
}

fn stamp(time: Timestamp) -> Option<prost_types::Timestamp> {
    let micros = time.as_micros();
    Some(prost_types::Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1000).unwrap_or(0),
    })
}

/// Everything that a user's tasks get, from the weakest level to the strongest.
fn listed(gate: &Gate, levels: Levels<'_>) -> Result<Vec<v1::Variable>, Fault> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| Fault::internal("read the variables", error);
    let each = [
        (Scope::Profile, WireScope::Profile, Some(levels.profile)),
        (Scope::Project, WireScope::Project, levels.project),
        (Scope::User, WireScope::User, Some(levels.user)),
    ];
    let mut all = Vec::new();
    let (mut seen, mut secrets_seen) = (BTreeSet::new(), BTreeSet::new());
    for (scope, wire, owner) in each.into_iter().rev() {
        let Some(owner) = owner else { continue };
        let reference = |name: &str, secret| v1::VariableRef {
            scope: wire.into(),
            owner: owner.to_owned(),
            name: name.to_owned(),
            secret,
        };
        for variable in gate
            .store
            .variables(scope, owner)
            .map_err(|error| failed(&error))?
        {
            all.push(v1::Variable {
                variable: Some(reference(&variable.name, false)),
                effective: seen.insert(variable.name),
                value: variable.value,
                set: stamp(variable.updated),
            });
        }
        for secret in gate
            .vault
            .list(scope, owner)
            .map_err(|error| failed(&error))?
        {
            all.push(v1::Variable {
                variable: Some(reference(&secret.name, true)),
                effective: secrets_seen.insert(secret.name),
                value: String::new(),
                set: stamp(secret.updated),
            });
        }
    }
    all.reverse();
    Ok(all)
}

fn answer<T>(result: Result<T, Fault>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl Accounts for Service {
    type QueryAuditStream = Streamed<v1::AuditEvent>;

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        answer(self.who(request).await)
    }

    async fn test_identity(
        &self,
        request: Request<v1::TestIdentityRequest>,
    ) -> Result<Response<v1::TestIdentityResponse>, Status> {
        answer(self.tested(request).await)
    }

    async fn delegate(
        &self,
        request: Request<v1::DelegateRequest>,
    ) -> Result<Response<v1::DelegateResponse>, Status> {
        answer(self.delegated(request).await)
    }

    async fn revoke_delegation(
        &self,
        request: Request<v1::RevokeDelegationRequest>,
    ) -> Result<Response<v1::RevokeDelegationResponse>, Status> {
        answer(
            self.revoked(request)
                .await
                .map(|()| v1::RevokeDelegationResponse {}),
        )
    }

    async fn can(
        &self,
        request: Request<v1::CanRequest>,
    ) -> Result<Response<v1::CanResponse>, Status> {
        answer(self.could(request).await)
    }

    async fn list_profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        answer(self.profiles(request).await)
    }

    async fn get_profile(
        &self,
        request: Request<v1::ProfileRef>,
    ) -> Result<Response<v1::Profile>, Status> {
        let caller = self.caller(&request).await?;
        let name = request.into_inner().name;
        let set = self.gate.profiles.current();
        let found = self.gate.profile(&set, &caller, &name);
        answer(found.map(|stored| self.shown(&caller, stored)))
    }

    async fn put_profile(
        &self,
        request: Request<v1::PutProfileRequest>,
    ) -> Result<Response<v1::Profile>, Status> {
        answer(self.put(request).await)
    }

    async fn delete_profile(
        &self,
        request: Request<v1::DeleteProfileRequest>,
    ) -> Result<Response<v1::DeleteProfileResponse>, Status> {
        answer(
            self.deleted(request)
                .await
                .map(|()| v1::DeleteProfileResponse {}),
        )
    }

    async fn set_variable(
        &self,
        request: Request<v1::SetVariableRequest>,
    ) -> Result<Response<v1::SetVariableResponse>, Status> {
        answer(self.set(request).await.map(|()| v1::SetVariableResponse {}))
    }

    async fn delete_variable(
        &self,
        request: Request<v1::VariableRef>,
    ) -> Result<Response<v1::SetVariableResponse>, Status> {
        answer(
            self.removed(request)
                .await
                .map(|()| v1::SetVariableResponse {}),
        )
    }

    async fn list_variables(
        &self,
        request: Request<v1::ListVariablesRequest>,
    ) -> Result<Response<v1::ListVariablesResponse>, Status> {
        answer(self.variables(request).await)
    }

    async fn query_audit(
        &self,
        request: Request<v1::QueryAuditRequest>,
    ) -> Result<Response<Self::QueryAuditStream>, Status> {
        answer(self.audited(request).await)
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        answer(self.verified(request).await)
    }
}
