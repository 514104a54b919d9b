//! The command line: one table for parser, help, man page and completions.

mod accounts;
pub mod egress;
pub mod environment;
pub mod images;
pub mod remote;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lakekeep_policy::{Bytes, Cpus, Preset, parse_duration};

/// Run untrusted code in a sandbox that holds, and learn what was enforced.
#[derive(Debug, Parser)]
#[command(name = "lakekeep", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command in a sandbox of its own.
    ///
    /// Where LAKEKEEP_SOCKET names a manager, it makes the sandbox.
    ///
    /// Exits with the command's own code; 124 when its time was over, 125 when
    /// lakekeep itself failed or refused, 126 when the command cannot be
    /// executed, 127 when it is not found, 128+N when signal N ended it.
    Run(Box<RunArgs>),
    /// Print what `run` would do, step by step, and do nothing.
    Plan(Box<PlanArgs>),
    /// Check what this host can enforce, with the remedy for what it cannot.
    Doctor(DoctorArgs),
    /// Show what the kernel enforces for a process, what a receipt says, or what a
    /// manager knows of a sandbox.
    Inspect(InspectArgs),
    /// Take up Python environments, and keep them for `run --environment`.
    Env {
        #[command(subcommand)]
        verb: environment::Verb,
    },
    /// Tell what rules of egress let out.
    #[command(subcommand)]
    Egress(egress::Verb),
    #[command(flatten)]
    Remote(Box<remote::Verb>),
    /// Keep images: load them, list them, remove them.
    ///
    /// `lakekeep run --image NAME` runs on one.
    #[command(subcommand)]
    Image(images::ImageVerb),
    /// Look after the store that images are kept in.
    #[command(subcommand)]
    Store(images::StoreVerb),
    /// Run a manager: many users' sandboxes on this machine. Needs lakekeep-manager beside
    /// this program.
    Serve(ServeArgs),
    /// Measure what a sandbox costs on this machine, beside other runtimes.
    ///
    /// `lakekeep bench spawn --help` tells more. Needs lakekeep-bench beside this program.
    Bench {
        /// Arguments of lakekeep-bench.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Keep the sandboxes of an engine's user functions; engines start it.
    #[command(hide = true)]
    UdfBroker {
        /// The inherited descriptor on which the engine asks.
        #[arg(long, value_name = "FD")]
        control: i32,
        /// How long the imports of an environment may take, before its first session, as in 90s.
        #[arg(long, value_name = "TIME", default_value = "50s", value_parser = time)]
        zygote_timeout: Duration,
    },
    /// Serve user functions in sandboxes over Arrow Flight: to RisingWave, Databend and others.
    ///
    /// `lakekeep udf-serve --help` tells more. Needs lakekeep-udf beside this program.
    #[command(disable_help_flag = true)]
    UdfServe {
        /// Arguments of `lakekeep-udf flight`.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Be a worker of Spark's for user functions in sandboxes: Spark starts it, and ends it.
    ///
    /// `lakekeep udf-worker --help` tells more. Needs lakekeep-udf beside this program.
    #[command(disable_help_flag = true)]
    UdfWorker {
        /// Arguments of `lakekeep-udf spark`.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Answer blocks of ClickHouse's executable functions on standard input, in a sandbox.
    ///
    /// `lakekeep udf-stdio --help` tells more. Needs lakekeep-udf beside this program.
    #[command(disable_help_flag = true)]
    UdfStdio {
        /// Arguments of `lakekeep-udf stdio`.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Print a shell completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write one for each command.
    Man {
        /// Write the pages into this folder instead.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// The policy that is asked for.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Policy document, TOML or JSON; flags are laid over it.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// What the rest starts from.
    #[arg(long, value_name = "NAME", value_parser = preset)]
    pub preset: Option<Preset>,

    /// "host", a read-only view of this host's programs; a folder that holds a
    /// root file system, written /DIR or ./DIR; or the name or digest of an image that
    /// `lakekeep image load` has loaded.
    #[arg(long, value_name = "host|./DIR|NAME|DIGEST")]
    pub image: Option<PathBuf>,

    /// Add the prefix of this interpreter to the host image, and its folder to
    /// PATH.
    #[arg(long, value_name = "PROGRAM")]
    pub interpreter: Option<PathBuf>,

    /// Show a file or folder of the host inside; ro unless rw is said. Through a
    /// manager, SRC is volume:NAME, a volume of the profile.
    #[arg(long = "mount", short = 'm', value_name = "SRC:DST[:ro|rw]")]
    pub mounts: Vec<String>,

    /// Set a variable inside; NAME alone takes the caller's value.
    #[arg(long = "env", short = 'e', value_name = "NAME[=VALUE]")]
    pub variables: Vec<String>,

    /// Working directory inside.
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,

    /// Memory, such as 512MiB.
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<Bytes>,

    /// Swap on top of the memory.
    #[arg(long, value_name = "BYTES")]
    pub swap: Option<Bytes>,

    /// Processors, such as 1.5.
    #[arg(long, value_name = "N")]
    pub cpus: Option<Cpus>,

    /// Processes and threads.
    #[arg(long, value_name = "N")]
    pub pids: Option<u32>,

    /// Elapsed time, such as 30s.
    #[arg(long, short = 't', value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,

    /// CPU time of each process.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub cpu_time: Option<Duration>,

    /// Open files of each process.
    #[arg(long, value_name = "N")]
    pub open_files: Option<u64>,

    /// Largest file that may be written.
    #[arg(long, value_name = "BYTES")]
    pub file_size: Option<Bytes>,

    /// All writable directories of the sandbox together.
    #[arg(long, value_name = "BYTES")]
    pub scratch_size: Option<Bytes>,

    /// Files and folders in them together.
    #[arg(long, value_name = "N")]
    pub scratch_inodes: Option<u64>,

    /// Standard output and standard error together.
    #[arg(long, value_name = "BYTES")]
    pub output_limit: Option<Bytes>,

    /// Let something leave, such as 'allow tls pypi.example:443'; without any rule nothing
    /// does (repeat).
    #[arg(long = "egress", value_name = "RULE")]
    pub egress: Vec<String>,

    /// Refuse to run unless this layer is enforced (repeat, or separate with
    /// commas).
    #[arg(long = "require", value_name = "LAYER", value_delimiter = ',')]
    pub require: Vec<String>,
}

/// The sandbox that is asked for, with its one command.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// Run with this environment, which `lakekeep env capture` printed: its interpreter,
    /// libraries and modules, read-only, where they were when it was captured.
    #[arg(long, value_name = "DIGEST")]
    pub environment: Option<lakekeep_environment::Digest>,

    /// Refuse to run if the environment of this Python is another now.
    #[arg(long, value_name = "PYTHON", requires = "environment")]
    pub environment_of: Option<PathBuf>,

    /// Report which system calls were refused.
    #[arg(long)]
    pub explain_syscalls: bool,

    /// Give the command a terminal.
    #[arg(long)]
    pub tty: bool,

    /// Run the command itself, without the words that the image's entrypoint puts before it.
    #[arg(long, requires = "image")]
    pub no_entrypoint: bool,

    /// The command and its arguments; an image may have one of its own.
    #[arg(last = true, value_name = "CMD", required_unless_present = "image")]
    pub command: Vec<OsString>,
}

/// `lakekeep run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// What the command reads: this program's standard input, nothing, or a
    /// file.
    #[arg(long, value_name = "inherit|null|FILE", default_value = "inherit")]
    pub stdin: OsString,

    /// Write the receipt and the verdict as JSON to this file; "-" is standard
    /// error.
    #[arg(long, value_name = "FILE|-")]
    pub receipt: Option<PathBuf>,

    /// Write messages and the verdict as JSON lines on standard error.
    #[arg(long)]
    pub json: bool,

    /// Get the image from its registry: never, if it is not in the store, or if there is another
    /// under its name by now. As `lakekeep image pull NAME` does.
    #[arg(long, value_enum, default_value_t = Pull::Never, value_name = "WHEN", requires = "image")]
    pub pull: Pull,

    /// Use no manager, even where LAKEKEEP_SOCKET names one.
    #[arg(long, conflicts_with_all = ["profile", "secrets", "volumes", "on_behalf_of"])]
    pub embedded: bool,

    /// Make the task ready before its command is given, as a manager does: to try that way.
    #[arg(long, hide = true, requires = "embedded")]
    pub made_ready: bool,

    /// Have that task forked from a zygote of this interpreter: to try that way.
    #[arg(long, hide = true, requires = "made_ready", value_name = "PYTHON")]
    pub forked_from: Option<String>,

    /// The manager's profile; your only or personal one if left out.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Give the command this secret that the manager keeps.
    #[arg(long = "secret", value_name = "NAME")]
    pub secrets: Vec<String>,

    /// Show this volume of the profile that does not attach by itself.
    #[arg(long = "volume", value_name = "NAME")]
    pub volumes: Vec<String>,

    /// Act for this user, by a right that the manager gives you.
    #[arg(long, value_name = "USER")]
    pub on_behalf_of: Option<String>,
}

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Images are those of the store.
    Never,
    /// If the store has none of that name.
    Missing,
    /// Each time; what is there is not fetched again.
    Always,
}

/// `lakekeep plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lakekeep doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Run the attack suite on this host: each attack first without a sandbox,
    /// where it must succeed, then in one, where it must fail. Nothing of the host
    /// is changed; memory, processes and processors are used for a while.
    #[arg(long)]
    pub attack: bool,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `lakekeep inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A process id of this host, a file that `run --receipt` wrote, or a sandbox
    /// of the manager's.
    #[arg(value_name = "PID|FILE|SANDBOX")]
    pub subject: String,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

fn preset(text: &str) -> Result<Preset, String> {
    text.parse::<Preset>().map_err(|error| error.to_string())
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        let mut verbs = vec![Cli::command()];
        while let Some(verb) = verbs.pop() {
            for argument in verb.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    verb.get_name(),
                    argument.get_id()
                );
            }
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            verbs.extend(verb.get_subcommands().cloned());
        }
    }
}

/// Arguments of `lakekeep serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The manager's configuration (TOML).
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/lakekeep/lakekeep.toml"
    )]
    pub config: PathBuf,
    /// Only read the configuration and say what is wrong with it.
    #[arg(long)]
    pub check: bool,
}
