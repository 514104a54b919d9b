//! `lakekeep env`: the arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lakekeep_environment::Digest;
use lakekeep_policy::Bytes;

use super::remote::Via;

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take up a Python's environment, and print its digest.
    ///
    /// The interpreter is run as you, to ask where its things are; nothing else is. What is
    /// stored is the interpreter, its standard library, all that is on its sys.path, editable
    /// installations, and the shared libraries that they need.
    Capture(CaptureArgs),
    /// Send an environment to the manager that LAKEKEEP_SOCKET names: only what you have not
    /// sent it before.
    Push(PushArgs),
    /// List the environments that are stored.
    Ls(ListArgs),
    /// Show what an environment holds.
    Inspect(InspectArgs),
    /// Tell how a Python's environment now differs from a stored one.
    Diff(DiffArgs),
    /// Read a stored environment through, and compare every file with its digest.
    Verify(OneArgs),
    /// Remove environments that no sandbox uses.
    Rm(RemoveArgs),
    /// Remove the environments that were not used for longest, and that no sandbox uses, until
    /// the rest fits.
    Gc(GcArgs),
}

/// Where environments are kept.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// This machine's store, although LAKEKEEP_SOCKET names a manager.
    #[arg(long)]
    pub local: bool,

    #[command(flatten)]
    pub via: Via,
}

/// Which environment.
#[derive(Debug, Args)]
pub struct What {
    /// The interpreter: a path, or a name on PATH.
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub python: PathBuf,

    /// Also this module or package that is not on sys.path; it can be imported inside.
    #[arg(long = "module", value_name = "PATH")]
    pub modules: Vec<PathBuf>,

    /// Also this folder or file.
    #[arg(long, value_name = "PATH")]
    pub include: Vec<PathBuf>,
}

/// `lakekeep env capture`
#[derive(Debug, Args)]
pub struct CaptureArgs {
    #[command(flatten)]
    pub what: What,

    /// Compile modules that have no valid bytecode, in a sandbox: they are then imported as
    /// fast as others. The digest is that of the environment with it.
    #[arg(long)]
    pub compile: bool,

    #[command(flatten)]
    pub at: Where,
}

/// `lakekeep env push`
#[derive(Debug, Args)]
pub struct PushArgs {
    /// An environment of this machine's store; without it: that of a Python, now.
    #[arg(value_name = "DIGEST", conflicts_with_all = ["python", "modules", "include"])]
    pub digest: Option<Digest>,

    #[command(flatten)]
    pub what: What,

    /// Let everybody run with it who may make sandboxes in this profile; you must be able to
    /// change it.
    #[arg(long, value_name = "PROFILE")]
    pub share: Option<String>,

    #[command(flatten)]
    pub via: Via,
}

/// `lakekeep env ls`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub at: Where,
}

/// `lakekeep env gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// What may stay.
    #[arg(long, value_name = "BYTES")]
    pub keep: Bytes,

    #[command(flatten)]
    pub at: Where,
}

/// `lakekeep env inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The environment.
    #[arg(value_name = "DIGEST")]
    pub digest: Digest,

    /// Print JSON.
    #[arg(long, conflicts_with = "manifest")]
    pub json: bool,

    /// Print the manifest itself, file by file.
    #[arg(long)]
    pub manifest: bool,
}

/// `lakekeep env diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The stored environment.
    #[arg(value_name = "DIGEST")]
    pub digest: Digest,

    #[command(flatten)]
    pub what: What,
}

/// One environment.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The environment.
    #[arg(value_name = "DIGEST")]
    pub digest: Digest,
}

/// `lakekeep env rm`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The environments.
    #[arg(value_name = "DIGEST", required = true)]
    pub digests: Vec<Digest>,

    /// Those that are shared in this profile.
    #[arg(long, value_name = "PROFILE", conflicts_with = "local")]
    pub share: Option<String>,

    #[command(flatten)]
    pub at: Where,
}
