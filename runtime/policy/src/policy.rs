//! A checked policy.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lakekeep_egress_rules::{EgressDoc, Ruleset};

use crate::check;
use crate::document::PolicyDoc;
use crate::guest_path::GuestPath;
use crate::layer::Layer;
use crate::preset::{MountMode, NetworkMode, Preset, ProcView, SeccompProfile};
use crate::units::{Bytes, Cpus};
use crate::violation::PolicyErrors;
use crate::warning::Warning;

/// What a sandbox is allowed. Made only by [`Policy::check`], so every value
/// is valid on its own and together with the others.
///
/// Neither `Debug` nor `Display` shows the value of an environment variable.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    pub(crate) preset: Preset,
    pub(crate) image: ImageRef,
    pub(crate) workdir: GuestPath,
    pub(crate) limits: Limits,
    pub(crate) mounts: Vec<MountRule>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) network: NetworkMode,
    pub(crate) egress: Option<Egress>,
    pub(crate) seccomp: SeccompProfile,
    pub(crate) proc_view: ProcView,
    pub(crate) landlock: bool,
    pub(crate) floor: Vec<Layer>,
}

/// What may leave: rules that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    pub(crate) document: EgressDoc,
    json: String,
    digest: String,
    warnings: Vec<String>,
}

impl Egress {
    /// `json` is the document, as [`EgressDoc::from_json`] reads it.
    pub(crate) fn new(document: &EgressDoc, json: String, rules: &Ruleset) -> Self {
        let warnings = rules.warnings().into_iter();
        Self {
            document: document.clone(),
            json,
            digest: rules.digest(),
            warnings: warnings.map(|warning| warning.message).collect(),
        }
    }

    /// The document as JSON, as whoever enforces it reads it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// BLAKE3 of what decides, in lower-case hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The rules, as they were written.
    pub fn rules(&self) -> &[String] {
        &self.document.rules
    }

    /// What of them is weaker than it could be.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageRef {
    /// The host's own system folders, read-only.
    Host,
    /// An absolute folder on the host that holds a root file system.
    Folder(PathBuf),
}

/// The limits of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) memory: Bytes,
    pub(crate) swap: Bytes,
    pub(crate) cpus: Cpus,
    pub(crate) pids: u32,
    pub(crate) wall_time: Option<Duration>,
    pub(crate) cpu_time: Option<Duration>,
    pub(crate) open_files: u64,
    pub(crate) file_size: Bytes,
    pub(crate) scratch_size: Bytes,
    pub(crate) scratch_inodes: u64,
    pub(crate) output: Bytes,
}

/// A host file or folder that is made visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRule {
    pub(crate) source: PathBuf,
    pub(crate) target: GuestPath,
    pub(crate) mode: MountMode,
}

impl Policy {
    /// Checks a document against every rule and fills in the preset's values.
    ///
    /// # Errors
    ///
    /// [`PolicyErrors`] with every rule that the document breaks.
    pub fn check(doc: PolicyDoc) -> Result<Policy, PolicyErrors> {
        check::check(doc)
    }

    /// The same without anything of its user's: no mounts, no variables, no egress, and the root as
    /// working directory. For what must not know whose tasks it will serve.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            mounts: Vec::new(),
            env: BTreeMap::new(),
            workdir: GuestPath::root(),
            egress: None,
            ..self.clone()
        }
    }

    /// Where the values that the document left out came from.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Where the root file system comes from.
    pub fn image(&self) -> &ImageRef {
        &self.image
    }

    /// The working directory, inside.
    pub fn workdir(&self) -> &GuestPath {
        &self.workdir
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The mounts, ordered by target: a folder precedes what is mounted
    /// beneath it, so that making them in this order hides none.
    pub fn mounts(&self) -> &[MountRule] {
        &self.mounts
    }

    /// The environment variables. The values may be secret: do not log them.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Which network there is.
    pub fn network(&self) -> NetworkMode {
        self.network
    }

    /// What may leave; `None` for nothing.
    pub fn egress(&self) -> Option<&Egress> {
        self.egress.as_ref()
    }

    /// Name of the seccomp profile: `udf`, `notebook` or `general`.
    pub fn seccomp_profile(&self) -> &str {
        self.seccomp.as_str()
    }

    /// What of `/proc` can be seen.
    pub fn proc_view(&self) -> ProcView {
        self.proc_view
    }

    /// Whether the Landlock layer is used.
    pub fn landlock(&self) -> bool {
        self.landlock
    }

    /// The layers without which nothing may be run; ordered, each once.
    pub fn floor(&self) -> &[Layer] {
        &self.floor
    }

    /// What in this policy is weaker than its preset, or exposes the host.
    pub fn warnings(&self) -> Vec<Warning> {
        crate::warning::warnings(self)
    }

    /// BLAKE3 of everything in the policy, values of environment variables
    /// included, in lower-case hexadecimal (64 characters). Equal policies have
    /// equal digests, however their documents were written.
    pub fn digest(&self) -> String {
        crate::text::digest(self)
    }

    /// The policy as text with every value spelt out, except those of the
    /// environment variables, of which only the names are given.
    pub fn to_text(&self) -> String {
        crate::text::text(self)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("preset", &self.preset)
            .field("image", &self.image)
            .field("workdir", &self.workdir)
            .field("limits", &self.limits)
            .field("mounts", &self.mounts)
            .field("env", &self.env.keys())
            .field("network", &self.network)
            .field("egress", &self.egress)
            .field("seccomp", &self.seccomp)
            .field("proc_view", &self.proc_view)
            .field("landlock", &self.landlock)
            .field("floor", &self.floor)
            .finish()
    }
}

impl MountRule {
    /// The absolute path on the host.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The path inside.
    pub fn target(&self) -> &GuestPath {
        &self.target
    }

    /// What may be done with it.
    pub fn mode(&self) -> MountMode {
        self.mode
    }
}

impl Limits {
    /// Memory.
    pub fn memory(&self) -> Bytes {
        self.memory
    }

    /// Swap in addition to memory; zero for none.
    pub fn swap(&self) -> Bytes {
        self.swap
    }

    /// CPU bandwidth.
    pub fn cpus(&self) -> Cpus {
        self.cpus
    }

    /// Processes and threads.
    pub fn pids(&self) -> u32 {
        self.pids
    }

    /// Elapsed time in whole milliseconds; `None` for no limit.
    pub fn wall_time(&self) -> Option<Duration> {
        self.wall_time
    }

    /// CPU time of each process in whole seconds; `None` for no limit.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.cpu_time
    }

    /// Open files of each process.
    pub fn open_files(&self) -> u64 {
        self.open_files
    }

    /// Size of any file written.
    pub fn file_size(&self) -> Bytes {
        self.file_size
    }

    /// All writable in-memory file systems together.
    pub fn scratch_size(&self) -> Bytes {
        self.scratch_size
    }

    /// Files and folders in them.
    pub fn scratch_inodes(&self) -> u64 {
        self.scratch_inodes
    }

    /// Standard output and standard error together.
    pub fn output(&self) -> Bytes {
        self.output
    }
}
