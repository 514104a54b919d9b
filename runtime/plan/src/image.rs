//! What the planner knows about an image and the mounts: read by someone else.

use std::path::PathBuf;

use serde::Serialize;

/// Where the root file system comes from, as found on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ImageFacts {
    /// The host's own programs and libraries.
    Host(HostImage),
    /// A folder that holds a root file system.
    Folder(FolderImage),
}

/// The parts of the host's root that a sandbox is shown, read-only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostImage {
    /// Directories of `/` to show: `/usr`, and on hosts without a merged /usr
    /// also `/bin`, `/lib` and so on.
    pub directories: Vec<String>,
    /// Symbolic links of `/` to repeat: `/bin` → `usr/bin`.
    pub links: Vec<(String, String)>,
    /// Files of /etc that carry no secret and that programs need.
    pub etc_files: Vec<String>,
    /// Directories of /etc alike: certificates, alternatives.
    pub etc_directories: Vec<String>,
    /// The prefixes of an interpreter outside of these, when asked for.
    pub prefixes: Vec<String>,
    /// The parts of a client's environment, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
}

/// A folder or file of a client's environment, shown read-only where it was on the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Its real path on the host.
    pub source: String,
    /// Its path inside. No other replica is within it.
    pub target: String,
    /// Whether it is a directory (else a file).
    pub directory: bool,
}

/// How a client's environment is shown to a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its parts.
    pub replicas: Vec<Replica>,
    /// Folder of its interpreter, first on `PATH`; absolute, inside.
    pub programs: String,
    /// Name and value of variables that its interpreter needs. Those that a policy or a caller
    /// gives come before them.
    pub variables: Vec<(String, String)>,
}

/// A folder given as an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderImage {
    /// Its real path on the host.
    pub folder: PathBuf,
    /// `/dev`, `/proc`, `/sys` and others that the sandbox mounts over, where
    /// they exist and are not directories: path and what they are.
    pub not_directories: Vec<(String, &'static str)>,
}

/// A mount's source as found on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountFacts {
    /// Whether it is a directory (else a file).
    pub directory: bool,
    /// On-disk owner.
    pub owner: (u32, u32),
    /// The owner whose files these shall be, where it is not the folder's own: the
    /// identity that its user was mapped to.
    pub identity: Option<(u32, u32)>,
}
