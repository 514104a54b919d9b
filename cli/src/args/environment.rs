//! `lakekeep env`: the arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
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
    /// Make an environment from a list of packages, and print its digest.
    ///
    /// uv resolves and installs, in sandboxes that reach the indexes and nothing else. No package's
    /// code runs outside, and without --allow-source none runs inside. The exact versions and
    /// their hashes are written beside the list; as long as it has not changed, the next build takes
    /// them from there.
    ///
    /// Exits with 1 when the packages cannot be resolved or installed, 124 when the time was over,
    /// 125 when lakekeep itself failed or refused.
    Build(Box<BuildArgs>),
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

/// How a build tells what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// uv's words, line by line.
    Plain,
    /// Nothing, until something fails: then uv's last words.
    None,
}

/// `lakekeep env build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// A requirements file (.txt or .in), a pyproject.toml, or a uv.lock beside its pyproject.toml.
    #[arg(value_name = "LIST")]
    pub list: PathBuf,

    /// The interpreter: a path, or a name on PATH.
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub python: PathBuf,

    /// Where packages come from; a user and a password may be in it. Without it: PyPI.
    #[arg(long, value_name = "URL")]
    pub index: Option<String>,

    /// Where those come from that the indexes before it have no package of that name of (repeat).
    #[arg(long = "extra-index", value_name = "URL")]
    pub extra_indexes: Vec<String>,

    /// What else the build may reach, such as the host of an index's files, or the address of
    /// an index in a private network (repeat): 'allow tls files.example:443'.
    #[arg(long = "egress", value_name = "RULE")]
    pub egress: Vec<String>,

    /// The certificate authorities of the indexes, in PEM, in the place of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// An extra of the project's (repeat).
    #[arg(long = "extra", value_name = "NAME")]
    pub extras: Vec<String>,

    /// A dependency group of the project's (repeat).
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,

    /// Where the exact versions are written, and read. Without it: beside the list, with .lock
    /// behind its name.
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,

    /// Refuse if the lock is missing or does not fit the list.
    #[arg(long, conflicts_with = "upgrade")]
    pub locked: bool,

    /// Resolve anew, although the lock fits.
    #[arg(long)]
    pub upgrade: bool,

    /// Build source distributions too: their code runs in the sandbox and can reach the indexes. Such a
    /// build uses no cache that another one uses.
    #[arg(long)]
    pub allow_source: bool,

    /// Compile the modules, in a sandbox, so that they are imported faster.
    #[arg(long)]
    pub compile: bool,

    /// uv's program. Without it: the one on PATH.
    #[arg(long, value_name = "PROGRAM")]
    pub uv: Option<PathBuf>,

    /// Most memory of a step. Without it: half of the machine's, at most 4GiB.
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<Bytes>,

    /// What a step must leave free on the disk: one that leaves less is ended, and nothing is stored.
    #[arg(long, value_name = "BYTES", default_value = "1GiB")]
    pub keep_free: Bytes,

    /// Longest time of a step.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = super::time)]
    pub timeout: Duration,

    /// How to tell what goes on, on standard error.
    #[arg(long, value_enum, default_value_t = Progress::Plain)]
    pub progress: Progress,

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
