//! What a manager knows of a sandbox beside its processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lakekeep_oci::Startup;
use serde::{Deserialize, Serialize};

/// What becomes of a sandbox when its manager ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Commands of a person or an agent; survives.
    Interactive,
    /// A notebook kernel; survives.
    Kernel,
    /// Functions of an engine; ends with the manager.
    Udf,
    /// One command, then its end; survives.
    Batch,
}

/// Whose a sandbox is, and what it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meta {
    /// Its identifier.
    pub id: String,
    /// Who asked for it, as authenticated.
    pub owner: String,
    /// What that user was mapped to.
    pub identity: Identity,
    /// The profile that it counts against.
    pub profile: String,
    /// What the identity rules were told.
    pub project: String,
    /// What it is for.
    pub kind: Kind,
    /// Digest of its trust key.
    pub trust_key: String,
    /// Digest of its policy.
    pub policy_digest: String,
    /// Its policy, checked and whole, as a document.
    pub policy: String,
    /// Its image.
    pub image: String,
    /// Free words of its owner's.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: SystemTime,
    /// Ended when no task has run for so long.
    pub idle_timeout: Option<Duration>,
    /// Ended after so long.
    pub lifetime: Option<Duration>,
    /// Names of its volumes.
    pub volumes: Vec<String>,
    /// On-disk owners of its mounts, in the policy's order.
    pub owners: Vec<Option<(u32, u32)>>,
    /// The interpreter that was asked for.
    pub interpreter: Option<PathBuf>,
    /// Which request made it, in its owner's words.
    pub request: String,
    /// Its volumes' quotas, and what became of each.
    #[serde(default)]
    pub quotas: Vec<VolumeQuota>,
    /// Digest of the names and versions of the secrets that its tasks may ask for.
    pub secrets: String,
    /// It ends with its only task.
    #[serde(default)]
    pub once: bool,
    /// Its environment.
    #[serde(default)]
    pub environment: Option<Found>,
    /// Its image, where it is one of the manager's store.
    #[serde(default)]
    pub stored_image: Option<StoredImage>,
}

/// An identity, as far as a sandbox needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Owner of its files on disk.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// Its names for engines.
    pub variables: BTreeMap<String, String>,
}

/// The quota of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeQuota {
    /// The volume's name.
    pub volume: String,
    /// Most bytes on its disk.
    pub bytes: u64,
    /// Bytes in use when it was set, where its file system counts.
    pub used: u64,
    /// Why it is not enforced, and what to do; `None`: it is.
    pub missing: Option<String>,
}

/// An environment in use, as a manager's successor finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its digest.
    pub digest: String,
    /// The folder of the store that it is in, below all.
    pub shelf: String,
    /// Its interpreter, absolute, inside.
    #[serde(default)]
    pub python: String,
}

/// An image of the manager's store, as a sandbox has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    /// The name that was asked for, in full.
    pub name: String,
    /// The digest of its manifest, to which the name led then.
    pub digest: String,
    /// Where it has its programs, as `PATH`.
    pub programs: Option<String>,
    /// What it wishes for and is not granted.
    pub note: Option<String>,
    /// What it runs, for whoever asks for that.
    #[serde(default)]
    pub startup: Startup,
}

impl VolumeQuota {
    /// What a receipt says of one that is not enforced.
    pub fn warning(&self) -> Option<String> {
        let why = self.missing.as_ref()?;
        let (volume, bytes) = (&self.volume, self.bytes);
        Some(format!(
            "volume {volume}: its quota of {bytes} bytes is not enforced: {why}"
        ))
    }
}

impl Meta {
    /// Whether it outlives its manager.
    pub fn survives(&self) -> bool {
        self.kind != Kind::Udf
    }
}
