//! Making a sandbox for a caller: identity, profile, policy, quota, trust key.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lakekeep_api::Reason;
use lakekeep_api::v1::CreateRequest;
use lakekeep_identity::Identity as Mapped;
use lakekeep_policy::{MountMode, MountRule, Policy, PolicyDoc, Preset, TrustKey, TrustKeyParts};
use lakekeep_profiles::{
    Action, Counters, Profile, ProfileSet, Resource, VolumeGrant, VolumeOwner,
};
use lakekeep_sandbox::{Kind as VerdictKind, Verdict};
use lakekeep_store::audit::Event;
use lakekeep_store::state::Levels;

use crate::admission::{self, Ask, Permit};
use crate::asked::{
    check_words, identity, image, kind, later, lifetimes, no_volume, project, resolved,
};
use crate::egress;
use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::images::{self, Taken};
use crate::maker::Replicated;
use crate::meta::{Found, Identity, Kind, Meta, StoredImage};
use crate::metrics::{self, Stage};
use crate::quotas;
use crate::registry::{Registry, Wanted};
use crate::sandbox::{Phase, Sandbox, Volume, lock};
use crate::task::Task;
use crate::who::Caller;
use crate::wire;

/// Makes sandboxes.
#[derive(Debug, Clone)]
pub struct Making {
    gate: Arc<Gate>,
    registry: Arc<Registry>,
    /// Requests with an identifier that are being answered.
    busy: Arc<Mutex<HashSet<(String, String)>>>,
}

/// What a sandbox is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// For tasks to come.
    New,
    /// The same; or a live one of the same user is as good.
    Again,
    /// For one task, with which it ends.
    Once,
    /// The same, for a worker of user functions.
    Function,
}

/// A request, resolved: nothing has been made.
struct Prepared {
    wanted: Wanted,
    /// The profiles that were in force.
    set: Arc<ProfileSet>,
    /// Its volumes, for their quotas.
    volumes: Vec<VolumeGrant>,
    ask: Ask,
    deadline: Option<Duration>,
}

impl Making {
    pub fn new(gate: Arc<Gate>, registry: Arc<Registry>) -> Self {
        Self {
            gate,
            registry,
            busy: Arc::default(),
        }
    }

    /// Makes the sandbox that is asked for; for use again, or hands out a live one with
    /// the same trust key and policy of the same user.
    ///
    /// # Errors
    /// Of each step; nothing is left of it then.
    pub async fn create(
        &self,
        caller: &Caller,
        request: CreateRequest,
        how: Use,
    ) -> Result<Arc<Sandbox>, Fault> {
        let (sandbox, event) = self.create_unnoted(caller, request, how).await?;
        if let Some(event) = event {
            self.gate.note(caller, event).await?;
        }
        Ok(sandbox)
    }

    /// The same, and nobody may be told before what is given beside is noted.
    ///
    /// # Errors
    /// As [`Making::create`].
    pub async fn create_unnoted(
        &self,
        caller: &Caller,
        request: CreateRequest,
        how: Use,
    ) -> Result<(Arc<Sandbox>, Option<Event>), Fault> {
        check_words(&request)?;
        let _busy = self.only_once(caller, &request.request_id)?;
        if let Some(made) = self.made_before(caller, &request.request_id) {
            return Ok((made, None));
        }
        let metrics = &self.gate.metrics;
        let prepared = self.prepare(caller, request, how);
        let mut prepared = metrics.stage(Stage::Resolve, prepared).await?;
        prepared.wanted.meta.once = matches!(how, Use::Once | Use::Function);
        let reuse = how == Use::Again;
        if reuse && let Some(found) = self.equal(&prepared.wanted.meta) {
            metrics.sandboxes.claimed(true);
            return Ok((found, None));
        }
        let admitted = self.gate.admissions.admit(prepared.ask, prepared.deadline);
        let permit = metrics.stage(Stage::Admission, admitted).await?;
        let bounded = quotas::bound(self.registry.launchers(), &prepared.volumes);
        prepared.wanted.meta.quotas = bounded.await;
        let sandbox = self.registry.create(prepared.wanted).await?;
        egress::catch_up(&self.gate, &sandbox, &prepared.set);
        self.gate.permits.hold(sandbox.id(), permit);
        self.attend_end(&sandbox);
        self.count(&sandbox.meta, reuse);
        let event = Event::allowed(now(), caller.user(), "create_sandbox");
        let event = about(event, &sandbox.meta);
        Ok((sandbox, Some(event)))
    }

    fn count(&self, meta: &Meta, claim: bool) {
        let metrics = &self.gate.metrics;
        let profile = metrics.profile(&self.gate.profiles.current(), &meta.profile);
        metrics.sandboxes.created(metrics::kind(meta.kind), profile);
        if claim {
            metrics.sandboxes.claimed(false);
        }
    }

    /// Counts a sandbox that was taken over, with its tasks, and attends its end.
    pub fn adopt(&self, sandbox: &Arc<Sandbox>) {
        let limits = sandbox.maker.policy().limits();
        let counters = admission::of_sandbox(limits, sandbox.meta.kind == Kind::Kernel);
        if let Some(ask) = self.ask(sandbox, counters) {
            let permit = self.gate.admissions.count(ask);
            self.gate.permits.hold(sandbox.id(), permit);
        }
        for task in sandbox.tasks() {
            if sandbox.meta.once {
                self.end_with(sandbox, &task);
            }
            if let Some(ask) = self.ask(sandbox, admission::ONE_TASK) {
                task.hold(self.gate.admissions.count(ask));
            }
        }
        self.attend_end(sandbox);
    }

    /// Ends a sandbox when its only task has ended.
    pub fn end_with(&self, sandbox: &Arc<Sandbox>, task: &Arc<Task>) {
        let (gate, sandbox, task) = (
            Arc::clone(&self.gate),
            Arc::clone(sandbox),
            Arc::clone(task),
        );
        tokio::spawn(async move {
            task.wait().await;
            gate.permits.release(sandbox.id());
            let why = "its only task has ended".to_owned();
            let verdict = Verdict::of_sandbox(VerdictKind::Killed, why, "");
            if sandbox.kill(verdict).await.is_err() {
                // Its launcher is gone, and it with it; or the next sweep removes the rest.
            }
        });
    }

    /// A place for one more task of a sandbox, where its profile has quotas.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub fn admit_task(&self, sandbox: &Sandbox) -> Result<Option<Permit>, Fault> {
        let ask = self.ask(sandbox, admission::ONE_TASK);
        ask.map(|ask| self.gate.admissions.admit_now(ask))
            .transpose()
    }

    /// What something of a sandbox counts; of a profile that is gone, nothing.
    fn ask(&self, sandbox: &Sandbox, counters: Counters) -> Option<Ask> {
        let set = self.gate.profiles.current();
        let profile = set.get(&sandbox.meta.profile)?.profile();
        Some(ask_of(profile, &sandbox.meta.owner, counters))
    }

    /// Shows one more volume of its profile in a running sandbox.
    ///
    /// # Errors
    /// `NotFound`, `Denied`; of the launcher.
    pub async fn attach_volume(
        &self,
        caller: &Caller,
        sandbox: &Arc<Sandbox>,
        name: &str,
    ) -> Result<(), Fault> {
        let set = self.gate.profiles.current();
        let stored = self.gate.profile(&set, caller, &sandbox.meta.profile)?;
        let profile = stored.profile();
        if profile.volume(name).is_none() {
            return Err(no_volume(profile, name));
        }
        let resource = Resource::Volume { profile, name };
        self.gate.check(caller, Action::UseVolume, resource)?;
        if sandbox.meta.volumes.iter().any(|known| known == name) {
            return Ok(());
        }
        let owners = self.owners(caller, &sandbox.meta.project).await?;
        let request = CreateRequest {
            volumes: vec![name.to_owned()],
            ..CreateRequest::default()
        };
        // A home is the user's own, also where the sandbox is its project's.
        let resolved = resolved(profile, &request, owners.user.as_ref().ok())?;
        let grant = resolved.volumes.iter().find(|grant| grant.name == name);
        let grant = grant.ok_or_else(|| Fault::new(Reason::NotFound, "the volume is not yours"))?;
        let read_only = grant.mode == MountMode::ReadOnly;
        let bounded = quotas::bound(self.registry.launchers(), std::slice::from_ref(grant));
        let quota = bounded.await.pop();
        sandbox
            .attach_volume(Volume {
                source: grant.source.display().to_string(),
                target: grant.target.as_str().to_owned(),
                read_only,
                // A function may bring libraries; it may not run what it wrote.
                executable: read_only || sandbox.maker.policy().preset() != Preset::Udf,
                disk: owners.of(grant.owner)?,
                quota,
            })
            .await
    }

    fn attend_end(&self, sandbox: &Arc<Sandbox>) {
        let (gate, sandbox) = (Arc::clone(&self.gate), Arc::clone(sandbox));
        tokio::spawn(async move {
            if let Ok(receipt) = sandbox.receipt() {
                sandbox.history().enforced(sandbox.id(), &receipt);
            }
            let mut phase = sandbox.follow();
            let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(..)));
            let verdict = match ended.await.as_deref() {
                Ok(Phase::Ended(verdict, _)) => verdict.explanation.clone(),
                _ => return,
            };
            gate.permits.release(sandbox.id());
            sandbox.maker.release();
            let event = Event::allowed(now(), &sandbox.meta.owner, "sandbox.end");
            let event = about(event, &sandbox.meta).with_verdict(&verdict);
            if gate.write(event).await.is_err() {
                // The log says itself that it has stopped, to everybody who acts next.
            }
        });
    }

    /// Holds a request's identifier while it is answered.
    fn only_once(&self, caller: &Caller, request: &str) -> Result<Option<Busy>, Fault> {
        if request.is_empty() {
            return Ok(None);
        }
        let key = (caller.user().to_owned(), request.to_owned());
        if !lock(&self.busy).insert(key.clone()) {
            let fault = Fault::new(
                Reason::Conflict,
                "a request of this identifier is being answered",
            );
            return Err(fault.retry_after(Duration::from_millis(200)));
        }
        Ok(Some(Busy(Arc::clone(&self.busy), key)))
    }

    fn made_before(&self, caller: &Caller, request: &str) -> Option<Arc<Sandbox>> {
        if request.is_empty() {
            return None;
        }
        let mine = |sandbox: &Arc<Sandbox>| {
            sandbox.meta.owner == caller.user() && sandbox.meta.request == request
        };
        self.registry.all().into_iter().find(mine)
    }

    fn equal(&self, wanted: &Meta) -> Option<Arc<Sandbox>> {
        let same = |sandbox: &Arc<Sandbox>| {
            let meta = &sandbox.meta;
            meta.trust_key == wanted.trust_key
                && meta.policy_digest == wanted.policy_digest
                && meta.owner == wanted.owner
                && meta.kind == wanted.kind
                && !meta.once
                && sandbox.phase() == Phase::Running
        };
        self.registry.all().into_iter().find(same)
    }

    async fn prepare(
        &self,
        caller: &Caller,
        request: CreateRequest,
        how: Use,
    ) -> Result<Prepared, Fault> {
        let name = self.gate.profile_name(caller, &request.profile)?;
        let set = self.gate.profiles.current();
        let stored = self.gate.profile(&set, caller, &name)?;
        let profile = stored.profile();
        let resource = Resource::Profile(profile);
        self.gate.check(caller, Action::CreateSandbox, resource)?;
        let project = project(profile, &request.project)?;
        let owners = self.owners(caller, project).await?;
        // A home is the user's own, also where the sandbox is its project's.
        let mut resolved = resolved(profile, &request, owners.user.as_ref().ok())?;
        let taken = self.image(&mut resolved.policy).await?;
        let volumes = self.may_use(caller, profile, &resolved.volumes)?;
        let later = later(profile, &volumes);
        let policy = Policy::check(resolved.policy)
            .map_err(|error| Fault::new(Reason::BadPolicy, error.to_string()))?;
        let on_disk = on_disk(&policy, &resolved.volumes, &owners)?;
        let lifetimes = lifetimes(profile, &request)?;
        let kind = kind(request.kind());
        let main = identity(&owners.main);
        let who = (caller.user(), &main);
        let found = self.environment(caller, profile, &request, how).await?;
        let (environment, replicated) = found.unzip();
        let (stored, image_pin) = taken.map(|taken| (taken.stored, taken.pin)).unzip();
        let bound = libraries(environment.as_ref(), stored.as_ref());
        let of = (bound.as_str(), request.code_owner.as_str());
        let egress = resolved.egress.as_ref().map(egress::plan).transpose()?;
        let digest = egress
            .as_ref()
            .map_or("none", |rules| rules.digest.as_str());
        let (trust_key, secrets) = self.trust_key(who, (&name, project, digest), of)?;
        let counters = admission::of_sandbox(policy.limits(), kind == Kind::Kernel);
        let ask = ask_of(profile, caller.user(), counters);
        let meta = Meta {
            id: String::new(),
            owner: caller.user().to_owned(),
            identity: main,
            profile: name.clone(),
            project: project.to_owned(),
            kind,
            trust_key,
            policy_digest: policy.digest(),
            policy: policy.to_text(),
            image: image_of(&policy, stored.as_ref()),
            labels: request.labels.into_iter().collect(),
            created: SystemTime::UNIX_EPOCH,
            idle_timeout: lifetimes.idle_timeout,
            lifetime: lifetimes.max_lifetime,
            volumes,
            owners: on_disk,
            interpreter: None,
            quotas: Vec::new(),
            request: request.request_id,
            secrets,
            once: false,
            environment,
            stored_image: stored,
        };
        Ok(Prepared {
            wanted: Wanted {
                meta,
                policy,
                later,
                environment: replicated,
                egress,
                image: image_pin,
            },
            set,
            volumes: resolved.volumes,
            ask,
            deadline: wire::duration(request.deadline.as_ref()),
        })
    }

    /// The volumes' names, if the caller may use each of them.
    fn may_use(
        &self,
        caller: &Caller,
        profile: &Profile,
        volumes: &[VolumeGrant],
    ) -> Result<Vec<String>, Fault> {
        let allowed = volumes.iter().map(|volume| {
            let name = &volume.name;
            let resource = Resource::Volume { profile, name };
            self.gate.check(caller, Action::UseVolume, resource)?;
            Ok(name.clone())
        });
        allowed.collect()
    }

    /// The digest of a sandbox's trust key, and that of the secrets which is in it.
    fn trust_key(
        &self,
        (user, identity): (&str, &Identity),
        (profile, project, egress): (&str, &str, &str),
        (environment, code_owner): (&str, &str),
    ) -> Result<(String, String), Fault> {
        let levels = Levels {
            profile,
            project: (!project.is_empty()).then_some(project),
            user,
        };
        let secrets = self.gate.vault.set_digest(levels);
        let secrets = secrets
            .map_err(|error| Fault::internal("read the secrets' versions", &error))?
            .to_string();
        let key = TrustKey::new(TrustKeyParts {
            identity: &format!("{}:{}:{}", identity.name, identity.uid, identity.gid),
            profile,
            environment,
            egress,
            secrets: &secrets,
            code_owner: if code_owner.is_empty() {
                user
            } else {
                code_owner
            },
        });
        let key = key.map_err(|error| Fault::internal("make the trust key", &error))?;
        Ok((key.digest(), secrets))
    }

    /// The image of the store that a policy names, pinned; the policy has its folder then.
    async fn image(&self, policy: &mut PolicyDoc) -> Result<Option<Taken>, Fault> {
        let Some(name) = policy.image.as_deref().and_then(images::full_name) else {
            return Ok(None);
        };
        let images = Arc::clone(self.registry.images());
        let taken = tokio::task::spawn_blocking(move || images.take(&name)).await;
        let taken = taken.map_err(|error| Fault::internal("find an image", &error))??;
        taken.lay_under(policy);
        Ok(Some(taken))
    }

    /// The environment that is asked for, pinned.
    async fn environment(
        &self,
        caller: &Caller,
        profile: &Profile,
        request: &CreateRequest,
        how: Use,
    ) -> Result<Option<(Found, Replicated)>, Fault> {
        if request.environment.is_empty() {
            return Ok(None);
        }
        let environments = Arc::clone(self.registry.environments());
        let (caller, profile) = (caller.clone(), profile.clone());
        let digest = request.environment.clone();
        let found = tokio::task::spawn_blocking(move || {
            let (found, known, pin) = environments.find(&caller, &profile, &digest)?;
            match &known.unfit {
                Some(why) if how == Use::Function => {
                    Err(Fault::new(Reason::BadRequest, why.as_str()))
                }
                _ => Ok((found, (known, Arc::new(pin)))),
            }
        });
        let found = found.await;
        found
            .map_err(|error| Fault::internal("find an environment", &error))?
            .map(Some)
    }

    async fn owners(&self, caller: &Caller, project: &str) -> Result<Owners, Fault> {
        let (gate, caller) = (Arc::clone(&self.gate), caller.clone());
        let project = project.to_owned();
        let mapped = tokio::task::spawn_blocking(move || {
            let main = gate.identity(&caller, &project)?;
            let user = match project.as_str() {
                "" => Ok(main.clone()),
                _ => gate.identity(&caller, ""),
            };
            Ok(Owners { main, user })
        });
        mapped
            .await
            .map_err(|error| Fault::internal("map the caller to an identity", &error))?
    }
}

/// What something of a user's counts within a profile.
fn ask_of(profile: &Profile, user: &str, counters: Counters) -> Ask {
    Ask {
        profile: profile.name().clone(),
        quotas: *profile.quotas(),
        user: user.to_owned(),
        counters,
    }
}

/// Whose files are whose.
struct Owners {
    /// Of the sandbox and its project's volumes.
    main: Mapped,
    /// Of the user's own volumes. Who works in projects alone may be nobody beside.
    user: Result<Mapped, Fault>,
}

impl Owners {
    /// User and group on disk of a volume's files.
    fn of(&self, owner: VolumeOwner) -> Result<(u32, u32), Fault> {
        let identity = match owner {
            VolumeOwner::User => self.user.as_ref().map_err(Clone::clone)?,
            VolumeOwner::Project => &self.main,
        };
        Ok((identity.uid(), identity.gid()))
    }
}

/// The owners on disk of a policy's mounts, in the policy's order, which is not that of
/// the profile's volumes. Each mount is a volume: a folder without an owner would be
/// shown as it is.
fn on_disk(
    policy: &Policy,
    volumes: &[VolumeGrant],
    owners: &Owners,
) -> Result<Vec<Option<(u32, u32)>>, Fault> {
    let of = |rule: &MountRule| {
        let volume = volumes
            .iter()
            .find(|volume| volume.target == *rule.target());
        let volume = volume.ok_or_else(|| {
            Fault::new(
                Reason::BadPolicy,
                format!("mounts: {} is no volume's place", rule.target()),
            )
        })?;
        owners.of(volume.owner).map(Some)
    };
    policy.mounts().iter().map(of).collect()
}

/// Its image, as people and the log are told.
fn image_of(policy: &Policy, stored: Option<&StoredImage>) -> String {
    match stored {
        Some(image) => format!("{}@{}", image.name, image.digest),
        None => image(policy),
    }
}

/// Whose libraries its code runs with, for its trust key. An environment needs the host's image, so
/// there is one of both at most.
fn libraries(environment: Option<&Found>, image: Option<&StoredImage>) -> String {
    match (environment, image) {
        (Some(found), _) => found.digest.clone(),
        (None, Some(image)) => format!("image:{}", image.digest),
        (None, None) => "none".to_owned(),
    }
}

/// A request's identifier, held.
struct Busy(Arc<Mutex<HashSet<(String, String)>>>, (String, String));

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

/// Puts what a sandbox is into an event.
pub fn about(event: Event, meta: &Meta) -> Event {
    let event = match &meta.environment {
        Some(found) => event.with_environment(&found.digest),
        None => event,
    };
    event
        .with_as_whom(&meta.identity.name)
        .with_profile(&meta.profile)
        .with_sandbox(&meta.id)
        .with_image(&meta.image)
        .with_policy(&meta.policy_digest)
        .with_extra("trust_key", &meta.trust_key)
}
