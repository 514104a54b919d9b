//! Profiles: owners, quotas, what is allowed; and who may do what with them.
//!
//! A profile is a tenant. The way through this crate has one direction: text
//! becomes a [`ProfileDoc`] (a wire type: public fields, unknown fields
//! refused), a `ProfileDoc` becomes a [`Profile`] through [`Profile::check`]
//! (private fields; a `Profile` that exists is valid), and many of them are a
//! [`ProfileSet`], which [`Profiles`] replaces as a whole or not at all.
//!
//! - [`resolve`] holds a user's policy document against a profile.
//! - [`Authorizer`] decides who may do what, and says why.
//! - [`Usage`] and [`AdmissionQueue`] are the arithmetic of admission: pure,
//!   with time as an input.
//! - [`PersonalProfile`] makes a profile for a user who has none.
//!
//! Everything but [`ProfileSet::load`], [`Profiles`], [`ProfileWatcher`], [`FolderWatcher`] and
//! [`Authorizer::load`] is pure.

mod amount;
mod authz;
mod ceilings;
mod check;
mod document;
mod egress;
mod fault;
mod folder;
mod images;
mod names;
mod owned;
mod owner_rules;
mod personal;
mod profile;
mod profiles;
mod queue;
mod quota;
mod resolve;
mod set;
mod show;
mod watch;

pub use authz::{
    Action, Authorizer, Decision, Effect, PolicyFileError, Reason, Resource, SCHEMA_TEXT, Subject,
    UnknownAction,
};
pub use ceilings::Ceilings;
pub use document::{
    AdminDoc, CeilingsDoc, FieldInfo, FloorDoc, LimitSetDoc, LimitsDoc, MAX_DOCUMENT_BYTES,
    MOST_FAULTS, PeopleDoc, ProfileDoc, QuotasDoc, SecretDoc, SecretForm, Section, Span,
    UserQuotasDoc, VolumeDoc, VolumeOwner, Weakening, ceilings_schema, profile_schema,
};
pub use egress::{EgressBounds, EgressLevels};
pub use fault::{Fault, Origin, Place, ProfileErrors};
pub use images::ImageRule;
pub use names::{BadProfileName, ProfileName, is_secret_name};
pub use owned::{Etag, Writer};
pub use personal::{PersonalError, PersonalProfile};
pub use profile::{Admin, Lifetimes, People, Profile, Secret, SecretTarget, Volume};
pub use profiles::{ProfileWriteError, Profiles};
pub use queue::{
    AdmissionQueue, Entry, Leaving, Moment, QueueBounds, QueueRefusal, Ticket, Waiting,
};
pub use quota::{
    Admission, Caps, Counters, QuotaCheck, Quotas, ReleaseError, Resource as QuotaResource, Scope,
    Shortage, Usage,
};
pub use resolve::{
    Asker, Refusal, Resolved, VOLUME_SCHEME, VolumeGrant, resolve, resolve_lifetimes,
};
pub use set::{Diff, LoadError, ProfileSet, Stored};
pub use watch::{FolderWatcher, ProfileWatcher, WatchError};

/// The document version that this crate reads and writes.
pub const DOCUMENT_VERSION: u32 = 1;
