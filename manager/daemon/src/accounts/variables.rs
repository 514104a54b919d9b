//! Variables and secrets at their three levels.

use std::collections::BTreeSet;

use lakekeep_api::Reason;
use lakekeep_api::v1::{self, Scope as WireScope};
use lakekeep_profiles::{Action, Resource};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::Event;
use lakekeep_store::secrets::{Plaintext, SecretName};
use lakekeep_store::state::{Levels, Scope, SetVariable};
use tonic::Request;

use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::moments;
use crate::who::Caller;

use super::Service;

impl Service {
    /// Whose variable it is, for a caller who may change it.
    pub(super) fn owner(
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
                    .check(caller, action, Resource::Profile(stored.profile()))?;
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
                Err(
                    Fault::new(Reason::Denied, "project: you own no profile of it")
                        .noted_as(event.with_extra("project", &which.owner)),
                )
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
                let message = "users set their own variables and secrets themselves";
                Err(Fault::new(Reason::Denied, message)
                    .noted_as(event.with_extra("of", &which.owner)))
            }
        }
    }

    pub(super) async fn set(&self, request: Request<v1::SetVariableRequest>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let which = asked.variable.unwrap_or_default();
        // Wiped when it is dropped, from here on.
        let value = Plaintext::new(asked.value);
        let (scope, owner) = self.owner(&caller, &which)?;
        let allow_code = caller.subject.administrator;
        let event = Event::allowed(now(), caller.user(), "set_variable")
            .with_extra("name", &which.name)
            .with_extra("secret", &which.secret.to_string())
            .with_extra("of", &format!("{scope:?} {owner}"));
        self.gate.note(&caller, event).await?;
        self.blocking(move |gate| {
            let refused = |error: &(dyn std::error::Error + 'static)| {
                Fault::new(Reason::BadRequest, chain(error))
            };
            if which.secret {
                let name = SecretName {
                    scope,
                    owner: &owner,
                    name: &which.name,
                };
                let set = gate.vault.set(name, &value, now());
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

    pub(super) async fn removed(&self, request: Request<v1::VariableRef>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let which = request.into_inner();
        let (scope, owner) = self.owner(&caller, &which)?;
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

    pub(super) async fn variables(
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
                set: moments::told(variable.updated),
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
                set: moments::told(secret.updated),
            });
        }
    }
    all.reverse();
    Ok(all)
}
