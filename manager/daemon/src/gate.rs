//! What a caller may do: identity, profile, authorization; and the record of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lakekeep_api::Reason;
use lakekeep_identity::{
    Identity, IdentityMap, ManagedIdError, ManagedIds, ManagedRange, Principal, ProjectName,
    SystemAccounts, UserName, World,
};
use lakekeep_profiles::{
    Action, Authorizer, Decision, PersonalProfile, ProfileSet, Profiles, Resource,
};
use lakekeep_sandbox::chain;
use lakekeep_store::Timestamp;
use lakekeep_store::audit::{Acknowledged, AuditError, AuditLog, Event};
use lakekeep_store::secrets::Vault;
use lakekeep_store::state::Store;
use tokio::sync::oneshot;

use crate::admission::{Admissions, Permits};
use crate::egress::Bound;
use crate::fault::{Fault, shown};
use crate::meta::Meta;
use crate::metrics::Metrics;
use crate::moments::stored;
use crate::who::{Authentication, Caller};

/// Everything that decides.
#[derive(Debug)]
pub struct Gate {
    /// Who calls.
    pub authentication: Authentication,
    /// Whom they are mapped to.
    pub identities: IdentityMap,
    /// What is remembered.
    pub store: Arc<Store>,
    /// Secrets.
    pub vault: Vault,
    /// Tenants.
    pub profiles: Arc<Profiles>,
    /// The administrator's rules of egress, which bound them.
    pub bound: Bound,
    /// The template of personal ones.
    pub personal: Option<PersonalProfile>,
    /// What may be done.
    pub authorizer: Authorizer,
    /// The site's policies.
    pub policies: Option<PathBuf>,
    /// What was done.
    pub audit: AuditLog,
    /// Where its files are.
    pub audit_folder: PathBuf,
    /// Quotas.
    pub admissions: Admissions,
    /// What live sandboxes count.
    pub permits: Permits,
    /// Numbers for whoever runs this.
    pub metrics: Arc<Metrics>,
}

/// The present.
pub fn now() -> Timestamp {
    stored(SystemTime::now())
}

/// Managed ids, as the store keeps them.
struct StoreIds<'a>(&'a Store);

impl ManagedIds for StoreIds<'_> {
    fn assign(&self, range: &ManagedRange, user: &UserName) -> Result<u32, ManagedIdError> {
        let ids = range.first()..=range.last();
        self.0
            .managed_id(user.as_str(), ids, now())
            .map_err(|error| ManagedIdError::Store {
                range: *range,
                cause: chain(&error),
            })
    }

    fn assigned(
        &self,
        range: &ManagedRange,
        user: &UserName,
    ) -> Result<Option<u32>, ManagedIdError> {
        self.0
            .managed_id_of(user.as_str())
            .map_err(|error| ManagedIdError::Store {
                range: *range,
                cause: chain(&error),
            })
    }
}

impl Gate {
    /// Whom a caller is mapped to. May ask the host's name service: it blocks.
    ///
    /// # Errors
    /// `NoIdentity`, with every rule tried.
    pub fn identity(&self, caller: &Caller, project: &str) -> Result<Identity, Fault> {
        let project = self.project(project)?;
        let ids = StoreIds(&self.store);
        let world = World {
            accounts: &SystemAccounts,
            ids: &ids,
        };
        self.identities
            .map(&caller.principal, project.as_ref(), world)
            .map_err(|error| Fault::new(Reason::NoIdentity, chain(&error)))
    }

    /// What the rules would do, each with its reason.
    ///
    /// # Errors
    /// `BadRequest` for a project's name that is none.
    pub fn explain(
        &self,
        principal: &Principal,
        project: &str,
    ) -> Result<lakekeep_identity::Explanation, Fault> {
        let project = self.project(project)?;
        let ids = StoreIds(&self.store);
        let world = World {
            accounts: &SystemAccounts,
            ids: &ids,
        };
        Ok(self.identities.explain(principal, project.as_ref(), world))
    }

    fn project(&self, name: &str) -> Result<Option<ProjectName>, Fault> {
        match name {
            "" => Ok(None),
            name => ProjectName::new(name)
                .map(Some)
                .map_err(|error| Fault::new(Reason::BadRequest, format!("project: {error}"))),
        }
    }

    /// The profile that a request names, or the one that it must mean.
    ///
    /// # Errors
    /// `NotFound`, and `BadRequest` where it could mean several.
    pub fn profile_name(&self, caller: &Caller, named: &str) -> Result<String, Fault> {
        if let Some(bound) = &caller.bound_to {
            if !named.is_empty() && named != bound {
                let message = format!("this delegation is for profile {bound} alone");
                return Err(Fault::new(Reason::Denied, message));
            }
            return Ok(bound.clone());
        }
        if !named.is_empty() {
            return Ok(named.to_owned());
        }
        if let Some(template) = &self.personal {
            let name = self.profiles.personal(template, caller.user());
            return name
                .map(|name| name.to_string())
                .map_err(|error| Fault::new(Reason::BadRequest, chain(&error)));
        }
        match self.usable(caller).as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Fault::new(
                Reason::NotFound,
                "you may make sandboxes in no profile; ask an administrator to add you to one",
            )),
            many => Err(Fault::new(
                Reason::BadRequest,
                format!("name a profile: {} are yours", many.join(", ")),
            )),
        }
    }

    /// The profiles in which somebody may make sandboxes.
    pub fn usable(&self, caller: &Caller) -> Vec<String> {
        let set = self.profiles.current();
        let usable = set.iter().filter(|stored| {
            let resource = Resource::Profile(stored.profile());
            self.may(caller, Action::CreateSandbox, resource)
        });
        usable
            .map(|stored| stored.profile().name().to_string())
            .collect()
    }

    /// A profile of a set, for a caller who may at least see it.
    ///
    /// # Errors
    /// `NotFound`, the same for one that is not there and one that is not to be seen.
    pub fn profile<'s>(
        &self,
        set: &'s ProfileSet,
        caller: &Caller,
        name: &str,
    ) -> Result<&'s lakekeep_profiles::Stored, Fault> {
        let shown = shown(name);
        let fault = Fault::new(
            Reason::NotFound,
            format!("no profile {shown:?} of yours; `lakekeep profile ls` lists them"),
        );
        let Some(stored) = set.get(name) else {
            return Err(fault);
        };
        let resource = Resource::Profile(stored.profile());
        match self.may(caller, Action::ViewProfile, resource) {
            true => Ok(stored),
            false => {
                let event = refusal(caller, Action::ViewProfile, resource, "not to be seen");
                Err(fault.noted_as(event))
            }
        }
    }

    /// Whether a caller may do something.
    ///
    /// # Errors
    /// `Denied`, with the rules that say so and what would be needed.
    pub fn check(
        &self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Fault> {
        if self.may(caller, action, resource) {
            return Ok(());
        }
        let decision = self.decide(caller, action, resource);
        let event = refusal(caller, action, resource, &decision.to_string());
        let message = format!("{} may not {action}: {decision}", caller.user());
        Err(Fault::new(Reason::Denied, message).noted_as(event))
    }

    fn decide(&self, caller: &Caller, action: Action, resource: Resource<'_>) -> Decision {
        let mut decision = self.authorizer.decide(&caller.subject, action, resource);
        decision.allowed &= within_bounds(caller, resource);
        decision
    }

    /// Whether a caller may do something; nothing is noted of it.
    pub fn may(&self, caller: &Caller, action: Action, resource: Resource<'_>) -> bool {
        within_bounds(caller, resource)
            && self.authorizer.permits(&caller.subject, action, resource)
    }

    /// Whether a caller may do something to a sandbox. One that the caller may not even
    /// inspect is not found: who guesses identifiers learns nothing.
    ///
    /// # Errors
    /// `NotFound` and `Denied`.
    pub fn check_sandbox(
        &self,
        caller: &Caller,
        action: Action,
        sandbox: &Meta,
    ) -> Result<(), Fault> {
        let set = self.profiles.current();
        let Some(stored) = set.get(&sandbox.profile) else {
            return check_orphan(caller, action, sandbox);
        };
        let resource = Resource::Sandbox {
            profile: stored.profile(),
            user: &sandbox.owner,
            id: &sandbox.id,
        };
        if self.may(caller, Action::Inspect, resource) {
            return self.check(caller, action, resource);
        }
        let event = refusal(caller, action, resource, "not to be seen");
        Err(Fault::no_sandbox(&sandbox.id).noted_as(event))
    }

    /// Notes an event, and returns when it is on the disk.
    ///
    /// # Errors
    /// `Internal`: what is not noted is not done.
    pub async fn note(&self, caller: &Caller, event: Event) -> Result<(), Fault> {
        self.write(attributed(event, &caller.principal)).await
    }

    /// Notes an event of the manager's own.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn write(&self, event: Event) -> Result<(), Fault> {
        self.submit(event)?.on_disk().await
    }

    /// As [`Gate::note`], in steps: what was asked for may be done when the event is
    /// [`Noted::written`], and nobody may be told of it before it is [`Noted::on_disk`].
    /// Events that are noted one right after the other share one write to the disk.
    ///
    /// # Errors
    /// `Internal`.
    pub fn note_in_steps(&self, caller: &Caller, event: Event) -> Result<Noted, Fault> {
        self.submit(attributed(event, &caller.principal))
    }

    fn submit(&self, event: Event) -> Result<Noted, Fault> {
        let (tell_written, written) = oneshot::channel();
        let (tell_done, done) = oneshot::channel();
        let began = Instant::now();
        self.audit
            .submit_in_steps(
                event,
                move || {
                    if tell_written.send(()).is_err() {
                        // Whoever asked waits for the disk alone, or has gone.
                    }
                },
                move |answer| drop(tell_done.send(answer)),
            )
            .map_err(|error| not_noted(&error))?;
        Ok(Noted {
            written,
            done,
            began,
            metrics: Arc::clone(&self.metrics),
        })
    }
}

/// An event on its way to the disk.
#[derive(Debug)]
#[must_use = "nobody may be told of what is not on the disk"]
pub struct Noted {
    written: oneshot::Receiver<()>,
    done: oneshot::Receiver<Result<Acknowledged, AuditError>>,
    began: Instant,
    metrics: Arc<Metrics>,
}

impl Noted {
    /// Waits until the event is in the log's file, from where this manager's own end does
    /// not take it.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn written(&mut self) -> Result<(), Fault> {
        match (&mut self.written).await {
            Ok(()) => Ok(()),
            // It failed: why, is the answer.
            Err(_) => {
                self.metrics.audit.appended(self.began.elapsed(), true);
                match (&mut self.done).await {
                    Ok(Err(error)) => Err(not_noted(&error)),
                    _ => Err(stopped()),
                }
            }
        }
    }

    /// Waits until the end of this machine does not take it either.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn on_disk(self) -> Result<(), Fault> {
        let done = self.done.await;
        let failed = !matches!(done, Ok(Ok(_)));
        self.metrics.audit.appended(self.began.elapsed(), failed);
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(not_noted(&error)),
            Err(_) => Err(stopped()),
        }
    }
}

fn not_noted(error: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::internal("write the audit log; what is not noted is not done", error)
}

fn stopped() -> Fault {
    Fault::new(Reason::Internal, "the audit log has stopped")
}

/// A delegation for one profile is no delegation for anything else.
fn within_bounds(caller: &Caller, resource: Resource<'_>) -> bool {
    let profile = match resource {
        Resource::Profile(profile)
        | Resource::Sandbox { profile, .. }
        | Resource::Volume { profile, .. } => Some(profile.name().as_str()),
        Resource::Manager => None,
    };
    caller.bound_to.is_none() || caller.bound_to.as_deref() == profile
}

/// The profile was deleted: what is left of it is its user's and administrators'.
fn check_orphan(caller: &Caller, action: Action, sandbox: &Meta) -> Result<(), Fault> {
    let own = caller.user() == sandbox.owner && caller.bound_to.is_none();
    let ends = matches!(action, Action::Kill | Action::Inspect);
    if own || (caller.subject.administrator && ends) {
        return Ok(());
    }
    let event = Event::denied(now(), caller.user(), action.as_str(), "its profile is gone");
    Err(Fault::no_sandbox(&sandbox.id).noted_as(event.with_sandbox(&sandbox.id)))
}

/// Puts who acted, and for whom, into an event.
pub fn attributed(event: Event, principal: &Principal) -> Event {
    let event = match principal.actor() {
        Some(actor) => event.with_actor(actor.as_str()),
        None => event,
    };
    match principal.on_behalf_of() {
        Some(user) => event.with_on_behalf_of(user.as_str()),
        None => event,
    }
}

fn refusal(caller: &Caller, action: Action, resource: Resource<'_>, why: &str) -> Event {
    about(
        Event::denied(now(), caller.user(), action.as_str(), why),
        resource,
    )
}

/// Puts what was acted upon into an event.
pub fn about(event: Event, resource: Resource<'_>) -> Event {
    match resource {
        Resource::Profile(profile) => event.with_profile(profile.name().as_str()),
        Resource::Sandbox { profile, id, user } => event
            .with_profile(profile.name().as_str())
            .with_sandbox(id)
            .with_extra("owner", user),
        Resource::Volume { profile, name } => event
            .with_profile(profile.name().as_str())
            .with_extra("volume", name),
        Resource::Manager => event,
    }
}
