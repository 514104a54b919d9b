//! The policy document: the wire type, as read from TOML or JSON.
//!
//! Reading settles what can be settled about one value where it stands (its
//! type, its unit, its name), with the line. What depends on other values or on
//! the presets is settled by [`Policy::check`](crate::Policy::check), which
//! knows the line from the [`Origin`] that reading leaves behind.

mod env;
mod error;
mod origin;
mod outline;
mod outline_json;
mod overlay;
mod read;
mod schema;
mod table;

use std::time::Duration;

use lakekeep_egress_rules::EgressDoc;
use serde::{Deserialize, Serialize};

pub use env::EnvDoc;
pub use error::DocumentError;
pub use origin::{Origin, Place};
pub use read::MAX_DOCUMENT_BYTES;
pub use schema::{FieldInfo, SCHEMA};

use crate::preset::{MountMode, NetworkMode, Preset, ProcView};
use crate::units::{Bytes, Cpus, serde_duration};

/// A policy document. What is `None` or empty comes from the preset.
///
/// This is what someone wrote, not what is allowed: only a
/// [`Policy`](crate::Policy) says that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDoc {
    /// Version of the document's schema; a file must say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Where the values that are left out come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// `host`, or the absolute path of a folder that holds a root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The working directory, inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Limits of resources.
    #[serde(deserialize_with = "table::one")]
    pub limits: LimitsDoc,
    /// Host files and folders that are made visible.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "table::many"
    )]
    pub mounts: Vec<MountDoc>,
    /// Environment variables; none is inherited.
    pub env: EnvDoc,
    /// The network.
    #[serde(deserialize_with = "table::one")]
    pub network: NetworkDoc,
    /// What may leave; nothing if left out.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "table::maybe"
    )]
    pub egress: Option<EgressDoc>,
    /// The system call filter.
    #[serde(deserialize_with = "table::one")]
    pub seccomp: SeccompDoc,
    /// The `/proc` file system.
    #[serde(deserialize_with = "table::one")]
    pub proc: ProcDoc,
    /// The Landlock layer.
    #[serde(deserialize_with = "table::one")]
    pub landlock: LandlockDoc,
    /// What must be enforced.
    #[serde(deserialize_with = "table::one")]
    pub floor: FloorDoc,
    /// Where each field was written; left by the reader, used in errors.
    #[serde(skip)]
    pub origin: Origin,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDoc {
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
    #[serde(skip_serializing_if = "Option::is_none", with = "serde_duration")]
    pub wall_time: Option<Duration>,
    /// CPU time of each process.
    #[serde(skip_serializing_if = "Option::is_none", with = "serde_duration")]
    pub cpu_time: Option<Duration>,
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
}

/// One of `[[mounts]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountDoc {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Read-only if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<MountMode>,
}

/// `[network]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkDoc {
    /// Which network there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
}

/// `[seccomp]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeccompDoc {
    /// Name of the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// `[proc]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcDoc {
    /// What of `/proc` can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<ProcView>,
}

/// `[landlock]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LandlockDoc {
    /// Whether the Landlock layer is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// `[floor]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FloorDoc {
    /// Names of layers without which nothing is run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
}
