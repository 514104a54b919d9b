//! The profile document: the wire type, as read from TOML.
//!
//! Reading settles what can be settled about one value where it stands. What
//! depends on other values is settled by [`Profile::check`](crate::Profile::check),
//! which knows the place of each field from the [`Origin`] that reading leaves.

mod outline;
mod read;
mod schema;
mod span;
mod table;

use lakekeep_egress_rules::EgressDoc;
use lakekeep_policy::{Bytes, Cpus, EnvDoc, Layer, MountMode, Preset};
use serde::{Deserialize, Serialize};

pub use read::{MAX_DOCUMENT_BYTES, MOST_FAULTS};
pub use schema::{FieldInfo, ceilings_schema, profile_schema};
pub use span::Span;

use crate::fault::{Origin, ProfileErrors};
use schema::Schema;

/// Makes a section: serde by name, what is left out is `None` or empty.
macro_rules! section {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

section! {
    /// A profile, as someone wrote it; only a [`Profile`](crate::Profile) says
    /// what is allowed.
    pub struct ProfileDoc {
        /// Version of the document's schema; a file must say it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub version: Option<u32>,
        /// The profile's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// One line for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub title: Option<String>,
        /// The user who answers for the profile.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub owner: Option<String>,
        /// The name that identity rules of projects are matched with.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub project: Option<String>,
        /// `host`, absolute folders, and patterns of folders.
        pub images: Vec<String>,
        /// Allowed presets.
        pub presets: Vec<Preset>,
        /// Who makes sandboxes.
        #[serde(deserialize_with = "table::one")]
        pub contributors: PeopleDoc,
        /// Who sees lists and receipts.
        #[serde(deserialize_with = "table::one")]
        pub viewers: PeopleDoc,
        /// What all sandboxes of the profile may have at one time.
        #[serde(deserialize_with = "table::one")]
        pub quotas: QuotasDoc,
        /// What one sandbox has, and may have.
        #[serde(deserialize_with = "table::one")]
        pub limits: LimitsDoc,
        /// Host folders that are made visible.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "table::many")]
        pub volume: Vec<VolumeDoc>,
        /// Variables of every sandbox.
        pub env: EnvDoc,
        /// Names of secrets; their values are never in a profile.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "table::many")]
        pub secret: Vec<SecretDoc>,
        /// What may leave sandboxes; nothing if left out.
        #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table::maybe")]
        pub egress: Option<EgressDoc>,
        /// What must be enforced.
        #[serde(deserialize_with = "table::one")]
        pub floor: FloorDoc,
        /// What only an administrator may set.
        #[serde(deserialize_with = "table::one")]
        pub admin: AdminDoc,
        /// Where each field was written; left by the reader, used in errors.
        #[serde(skip)]
        pub origin: Origin,
    }
}

section! {
    /// `[contributors]`, `[viewers]`.
    pub struct PeopleDoc {
        /// Names of users, as authentication gives them.
        pub users: Vec<String>,
        /// Names of groups, as authentication gives them.
        pub groups: Vec<String>,
    }
}

section! {
    /// `[quotas]`.
    pub struct QuotasDoc {
        /// Sandboxes that exist.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sandboxes: Option<u64>,
        /// Tasks that run.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tasks: Option<u64>,
        /// Sum of the sandboxes' CPU limits.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cpus: Option<Cpus>,
        /// Sum of the sandboxes' memory limits, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory: Option<Bytes>,
        /// Bytes on the host's disks.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub disk: Option<Bytes>,
        /// Requests that wait for admission.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub queued: Option<u64>,
        /// Interactive kernels.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub kernels: Option<u64>,
        /// What each user may have of this.
        #[serde(deserialize_with = "table::one")]
        pub per_user: UserQuotasDoc,
    }
}

section! {
    /// `[quotas.per_user]`; the fields are those of [`QuotasDoc`].
    pub struct UserQuotasDoc {
        /// Sandboxes that exist.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sandboxes: Option<u64>,
        /// Tasks that run.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tasks: Option<u64>,
        /// Sum of the sandboxes' CPU limits.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cpus: Option<Cpus>,
        /// Sum of the sandboxes' memory limits, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory: Option<Bytes>,
        /// Bytes on the host's disks.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub disk: Option<Bytes>,
        /// Requests that wait for admission.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub queued: Option<u64>,
        /// Interactive kernels.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub kernels: Option<u64>,
    }
}

section! {
    /// `[limits]`.
    pub struct LimitsDoc {
        /// What a sandbox has that does not ask.
        #[serde(deserialize_with = "table::one")]
        pub default: LimitSetDoc,
        /// The most that a sandbox may ask for.
        #[serde(deserialize_with = "table::one")]
        pub maximum: LimitSetDoc,
    }
}

section! {
    /// `[limits.default]`, `[limits.maximum]`.
    pub struct LimitSetDoc {
        /// Memory, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory: Option<Bytes>,
        /// Swap in addition to memory, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub swap: Option<Bytes>,
        /// CPU bandwidth, in CPUs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cpus: Option<Cpus>,
        /// Processes and threads.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub pids: Option<u32>,
        /// Elapsed time.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub wall_time: Option<Span>,
        /// CPU time of each process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cpu_time: Option<Span>,
        /// Open files of each process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub open_files: Option<u64>,
        /// Size of any file written, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub file_size: Option<Bytes>,
        /// All writable in-memory file systems together, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scratch_size: Option<Bytes>,
        /// Files and folders in them.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub scratch_inodes: Option<u64>,
        /// Standard output and standard error together, in bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub output: Option<Bytes>,
        /// Time without a task or an attached client, after which it ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub idle_timeout: Option<Span>,
        /// Age at which it ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_lifetime: Option<Span>,
    }
}

section! {
    /// One of `[[volume]]`.
    pub struct VolumeDoc {
        /// What requests call it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// Absolute folder on the host; with `home`, holds `{account}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub source: Option<String>,
        /// Whether each account has its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub home: Option<bool>,
        /// Absolute path inside.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub target: Option<String>,
        /// Read-only if left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub mode: Option<MountMode>,
        /// Whose the files are on disk; the user's if left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub owner: Option<VolumeOwner>,
        /// Most bytes on disk, where the file system can hold to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub quota: Option<Bytes>,
        /// Whether only sandboxes that ask for it have it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub optional: Option<bool>,
    }
}

/// Whose the files of a volume are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeOwner {
    /// The identity of the user whose sandbox it is.
    #[default]
    User,
    /// The identity of the profile's project.
    Project,
}

section! {
    /// One of `[[secret]]`.
    pub struct SecretDoc {
        /// The name it is stored under.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// How a task gets it; as a file if left out.
        #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
        pub form: Option<SecretForm>,
        /// The file's path inside, or the variable's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub target: Option<String>,
    }
}

/// How a task gets a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretForm {
    /// A file on a private in-memory file system.
    #[default]
    File,
    /// A variable of the task.
    Variable,
}

section! {
    /// `[floor]`.
    pub struct FloorDoc {
        /// Layers without which nothing is run.
        pub require: Vec<Layer>,
    }
}

section! {
    /// `[admin]`.
    pub struct AdminDoc {
        /// Whether the host's own system folders may be an image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub expose_host_image: Option<bool>,
        /// Whether the users in `delegates` may act for the profile's users.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub allow_delegation: Option<bool>,
        /// Engines' users.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub delegates: Vec<String>,
        /// Whether the owner reads the output of others' sandboxes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub owner_reads_output: Option<bool>,
        /// Whether the owner reads the files of others' sandboxes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub owner_reads_files: Option<bool>,
        /// Which weaker settings a sandbox may ask for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub allow_weakening: Vec<Weakening>,
        /// Bound of every sandbox's `max_lifetime`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_lifetime: Option<Span>,
        /// Bound of every sandbox's `idle_timeout`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_idle: Option<Span>,
        /// Sections whose rules must be enforced, or the profile is refused.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub require: Vec<Section>,
    }
}

/// A setting that makes a sandbox weaker than its preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weakening {
    /// `landlock.enabled = false`.
    Landlock,
    /// A seccomp profile wider than the preset's.
    Seccomp,
    /// All of `/proc` where the preset shows processes only.
    Proc,
}

/// A section that an administrator can require to be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// `[egress]`.
    Egress,
}

section! {
    /// What owners may not go beyond; from the manager's configuration.
    pub struct CeilingsDoc {
        /// Images, and patterns of images, that owners may allow.
        pub images: Vec<String>,
        /// Presets that owners may allow; all if left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub presets: Option<Vec<Preset>>,
        /// Folders on the host below which owners may make volumes.
        pub volume_roots: Vec<String>,
        /// Whether users who are no administrators may make profiles.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub users_may_create: Option<bool>,
        /// Most profiles that one user may own through the API.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub profiles_per_user: Option<u32>,
        /// Sections whose rules must be enforced, or a profile with one is refused.
        pub require: Vec<Section>,
        /// The most that a profile may give; also what one has that says nothing.
        #[serde(deserialize_with = "table::one")]
        pub quotas: QuotasDoc,
        /// The most that `limits.maximum` may be; also its default.
        #[serde(deserialize_with = "table::one")]
        pub limits: LimitSetDoc,
        /// Where each field was written.
        #[serde(skip)]
        pub origin: Origin,
    }
}

impl ProfileDoc {
    /// Reads a TOML document; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`ProfileErrors`] with up to [`MOST_FAULTS`] refused fields, if `text`
    /// is not TOML, has unknown fields or values of the wrong kind, or is longer
    /// than [`MAX_DOCUMENT_BYTES`].
    pub fn from_toml(name: &str, text: &str) -> Result<ProfileDoc, ProfileErrors> {
        let (doc, origin): (ProfileDoc, Origin) = read::read(name, text, Schema::PROFILE)?;
        Ok(ProfileDoc { origin, ..doc })
    }

    /// The document as TOML.
    ///
    /// # Errors
    ///
    /// [`toml::ser::Error`] if a number does not fit TOML's signed 64 bits.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl CeilingsDoc {
    /// Reads the ceilings as a document of their own.
    ///
    /// # Errors
    ///
    /// As [`ProfileDoc::from_toml`].
    pub fn from_toml(name: &str, text: &str) -> Result<CeilingsDoc, ProfileErrors> {
        let (doc, origin): (CeilingsDoc, Origin) = read::read(name, text, Schema::CEILINGS)?;
        Ok(CeilingsDoc { origin, ..doc })
    }
}
