//! The arithmetic of quotas: pure, in whole numbers, checked at every step.

use std::collections::BTreeMap;
use std::fmt;

use lakekeep_policy::{Bytes, Cpus};

use crate::amount::Amount;
use crate::document::QuotasDoc;
use crate::names::ProfileName;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Sandboxes that exist.
    Sandboxes,
    /// Tasks that run.
    Tasks,
    /// Sum of CPU limits, in thousandths.
    Cpus,
    /// Sum of memory limits, in bytes.
    Memory,
    /// Bytes on disk.
    Disk,
    /// Requests that wait.
    Queued,
    /// Interactive kernels.
    Kernels,
}

/// Number of [`Resource`]s.
const KINDS: usize = 7;

impl Resource {
    /// Every resource, in the order of the documentation.
    pub const ALL: [Resource; KINDS] = [
        Resource::Sandboxes,
        Resource::Tasks,
        Resource::Cpus,
        Resource::Memory,
        Resource::Disk,
        Resource::Queued,
        Resource::Kernels,
    ];

    /// The name of the quota's field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Sandboxes => "sandboxes",
            Resource::Tasks => "tasks",
            Resource::Cpus => "cpus",
            Resource::Memory => "memory",
            Resource::Disk => "disk",
            Resource::Queued => "queued",
            Resource::Kernels => "kernels",
        }
    }

    /// `count` of this, with its unit.
    pub fn show(self, count: u64) -> String {
        match self {
            Resource::Memory | Resource::Disk => Bytes(count).to_string(),
            Resource::Cpus => {
                let millis = u32::try_from(count).unwrap_or(u32::MAX);
                Amount::from(Cpus::from_millis(millis)).to_string()
            }
            _ => count.to_string(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An amount of every resource: what is used, or what is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; KINDS]);

impl Counters {
    /// Nothing of anything.
    pub const NONE: Counters = Counters([0; KINDS]);

    /// This, with `count` of `resource` (thousandths of a CPU, bytes, or a
    /// number).
    #[must_use]
    pub const fn with(mut self, resource: Resource, count: u64) -> Counters {
        self.0[resource as usize] = count;
        self
    }

    /// The amount of `resource`.
    pub const fn get(&self, resource: Resource) -> u64 {
        self.0[resource as usize]
    }

    /// Whether this is nothing at all.
    pub fn is_none(&self) -> bool {
        *self == Counters::NONE
    }

    fn zip(&self, other: &Counters, with: fn(u64, u64) -> Option<u64>) -> Option<Counters> {
        let mut result = Counters::NONE;
        for resource in Resource::ALL {
            let index = resource as usize;
            result.0[index] = with(self.0[index], other.0[index])?;
        }
        Some(result)
    }

    /// The sum; `None` if it cannot be counted.
    pub fn plus(&self, other: &Counters) -> Option<Counters> {
        self.zip(other, u64::checked_add)
    }

    /// The difference; `None` if more would be taken than there is.
    pub fn minus(&self, other: &Counters) -> Option<Counters> {
        self.zip(other, u64::checked_sub)
    }
}

/// A bound of every resource; `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps([Option<u64>; KINDS]);

impl Caps {
    /// This, with the bound `most` of `resource`.
    #[must_use]
    pub const fn with(mut self, resource: Resource, most: Option<u64>) -> Caps {
        self.0[resource as usize] = most;
        self
    }

    /// The bound of `resource`.
    pub const fn get(&self, resource: Resource) -> Option<u64> {
        self.0[resource as usize]
    }
}

/// The quotas of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    profile: Caps,
    per_user: Caps,
}

impl Quotas {
    /// Quotas from bounds; a user's are at most the profile's.
    #[must_use]
    pub fn from_caps(profile: Caps, per_user: Caps) -> Quotas {
        let mut quotas = Quotas { profile, per_user };
        for resource in Resource::ALL {
            let bounds = [profile.get(resource), per_user.get(resource)];
            let least = bounds.into_iter().flatten().min();
            quotas.per_user = quotas.per_user.with(resource, least);
        }
        quotas
    }

    /// The quotas of a document; what it leaves out is in `ceilings`.
    pub(crate) fn new(doc: &QuotasDoc, ceilings: &QuotasDoc) -> Quotas {
        let (mut profile, mut per_user) = (Caps::default(), Caps::default());
        let whole = doc.clone().or(ceilings).amounts();
        let each = doc.per_user.clone().or(&ceilings.per_user).amounts();
        for ((resource, (_, whole)), (_, each)) in Resource::ALL.into_iter().zip(whole).zip(each) {
            profile = profile.with(resource, whole.map(Amount::get));
            per_user = per_user.with(resource, each.map(Amount::get));
        }
        Quotas::from_caps(profile, per_user)
    }

    /// The bound of `resource` for all users together.
    pub fn of_profile(&self, resource: Resource) -> Option<u64> {
        self.profile.get(resource)
    }

    /// The bound of `resource` for each user.
    pub fn of_user(&self, resource: Resource) -> Option<u64> {
        self.per_user.get(resource)
    }
}

/// Whose quota it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Each user's own.
    User,
    /// The whole profile's.
    Profile,
}

/// A quota that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Whose quota.
    pub scope: Scope,
    /// Of what.
    pub resource: Resource,
    /// What is used of it now.
    pub used: u64,
    /// What was asked for in addition.
    pub asked: u64,
    /// The quota.
    pub limit: u64,
}

impl Shortage {
    /// The quota's field in the profile.
    pub fn field(&self) -> String {
        match self.scope {
            Scope::User => format!("quotas.per_user.{}", self.resource),
            Scope::Profile => format!("quotas.{}", self.resource),
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        if self.asked > self.limit {
            format!(
                "ask for at most {}, or have the profile's owner raise {}",
                self.resource.show(self.limit),
                self.field()
            )
        } else {
            match self.scope {
                Scope::User => "wait, or end one of your sandboxes".to_owned(),
                Scope::Profile => "wait until somebody's sandbox ends".to_owned(),
            }
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |count| self.resource.show(count);
        let (field, asked) = (self.field(), show(self.asked));
        let (used, limit) = (show(self.used), show(self.limit));
        let remedy = self.remedy();
        write!(
            f,
            "{field}: {asked} asked for, {used} of {limit} used; {remedy}"
        )
    }
}

/// What the quotas say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room now.
    Admit,
    /// There will be room when something ends.
    Wait(Shortage),
    /// There is no room for it, ever: it asks for more than the whole quota.
    Refuse(Shortage),
}

/// Quotas held against usage.
#[derive(Clone, Copy, Debug)]
pub struct QuotaCheck<'a> {
    quotas: &'a Quotas,
}

impl<'a> QuotaCheck<'a> {
    /// A check of these quotas.
    pub fn new(quotas: &'a Quotas) -> QuotaCheck<'a> {
        QuotaCheck { quotas }
    }

    /// Whether `ask` fits beside what the whole profile and the user now use.
    /// A refusal goes before a wait, and the user's quota before the profile's:
    /// it is the one that the user can do something about.
    pub fn admit(&self, of_profile: &Counters, of_user: &Counters, ask: &Counters) -> Admission {
        let shortages = || {
            let user = (Scope::User, &self.quotas.per_user, of_user);
            let whole = (Scope::Profile, &self.quotas.profile, of_profile);
            [user, whole]
                .into_iter()
                .flat_map(|(scope, caps, used)| shortages(scope, caps, used, ask))
        };
        if let Some(shortage) = shortages().find(|short| short.asked > short.limit) {
            return Admission::Refuse(shortage);
        }
        shortages().next().map_or(Admission::Admit, Admission::Wait)
    }
}

/// The quotas that `ask` would exceed. A resource that is not asked for is in
/// nobody's way, even where a quota was lowered below what is used.
fn shortages(
    scope: Scope,
    caps: &Caps,
    used: &Counters,
    ask: &Counters,
) -> impl Iterator<Item = Shortage> {
    Resource::ALL.into_iter().filter_map(move |resource| {
        let limit = caps.get(resource)?;
        let (used, asked) = (used.get(resource), ask.get(resource));
        let fits = used.checked_add(asked).is_some_and(|sum| sum <= limit);
        (asked > 0 && !fits).then_some(Shortage {
            scope,
            resource,
            used,
            asked,
            limit,
        })
    })
}

/// What every user uses of every profile.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    profiles: BTreeMap<ProfileName, ProfileUsage>,
}

#[derive(Clone, Debug, Default)]
struct ProfileUsage {
    whole: Counters,
    users: BTreeMap<String, Counters>,
}

/// A release of more than was admitted: the caller's books are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "release of {} {resource} for user {user} of profile {profile}, who holds {}; \
     reconcile the usage with what exists", .resource.show(*.released), .resource.show(*.held)
)]
pub struct ReleaseError {
    /// The profile.
    pub profile: ProfileName,
    /// The user.
    pub user: String,
    /// Of what too much was released.
    pub resource: Resource,
    /// What was to be released.
    pub released: u64,
    /// What is held.
    pub held: u64,
}

impl Usage {
    /// What the whole profile uses.
    pub fn of_profile(&self, profile: &ProfileName) -> Counters {
        self.profiles
            .get(profile)
            .map_or(Counters::NONE, |usage| usage.whole)
    }

    /// What `user` uses of it.
    pub fn of_user(&self, profile: &ProfileName, user: &str) -> Counters {
        let usage = self.profiles.get(profile);
        let counters = usage.and_then(|usage| usage.users.get(user));
        counters.copied().unwrap_or_default()
    }

    /// What the quotas say to `ask`; nothing is counted.
    pub fn check(
        &self,
        quotas: &Quotas,
        (profile, user): (&ProfileName, &str),
        ask: &Counters,
    ) -> Admission {
        let (whole, own) = (self.of_profile(profile), self.of_user(profile, user));
        QuotaCheck::new(quotas).admit(&whole, &own, ask)
    }

    /// As [`Usage::check`], and counts `ask` if it is admitted.
    pub fn admit(
        &mut self,
        quotas: &Quotas,
        (profile, user): (&ProfileName, &str),
        ask: &Counters,
    ) -> Admission {
        let verdict = self.check(quotas, (profile, user), ask);
        if verdict == Admission::Admit && self.count((profile, user), ask).is_none() {
            // Without any quota the sum can be beyond counting; no host has that.
            let used = self.of_profile(profile);
            let over = Resource::ALL.into_iter().find(|resource| {
                used.get(*resource)
                    .checked_add(ask.get(*resource))
                    .is_none()
            });
            let resource = over.unwrap_or(Resource::Memory);
            return Admission::Refuse(Shortage {
                scope: Scope::Profile,
                resource,
                used: used.get(resource),
                asked: ask.get(resource),
                limit: u64::MAX,
            });
        }
        verdict
    }

    /// Counts what exists already, whatever the quotas say: for sandboxes that
    /// are adopted after a restart. `None`, and nothing is counted, if the sum
    /// cannot be counted.
    pub fn count(&mut self, (profile, user): (&ProfileName, &str), ask: &Counters) -> Option<()> {
        let whole = self.of_profile(profile).plus(ask)?;
        let own = self.of_user(profile, user).plus(ask)?;
        let usage = self.profiles.entry(profile.clone()).or_default();
        usage.whole = whole;
        usage.users.insert(user.to_owned(), own);
        Some(())
    }

    /// Gives back what was admitted.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] if the user does not hold that much; nothing changes.
    pub fn release(
        &mut self,
        (profile, user): (&ProfileName, &str),
        released: &Counters,
    ) -> Result<(), ReleaseError> {
        let (held, whole) = (self.of_user(profile, user), self.of_profile(profile));
        // The whole holds at least what each user holds.
        let (Some(own), Some(whole)) = (held.minus(released), whole.minus(released)) else {
            let more = |resource: &Resource| released.get(*resource) > held.get(*resource);
            let resource = Resource::ALL
                .into_iter()
                .find(more)
                .unwrap_or(Resource::Sandboxes);
            return Err(ReleaseError {
                profile: profile.clone(),
                user: user.to_owned(),
                resource,
                released: released.get(resource),
                held: held.get(resource),
            });
        };
        let Some(usage) = self.profiles.get_mut(profile) else {
            // Nothing held, nothing released.
            return Ok(());
        };
        usage.whole = whole;
        if own.is_none() {
            usage.users.remove(user);
        } else {
            usage.users.insert(user.to_owned(), own);
        }
        if usage.users.is_empty() {
            self.profiles.remove(profile);
        }
        Ok(())
    }
}
