//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lakekeep_environment::Digest;

use crate::peers::{Choice, Name};

/// Measure what a sandbox costs, beside other runtimes.
#[derive(Debug, Parser)]
#[command(name = "lakekeep-bench", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a static /bin/true through every peer, interleaved.
    Spawn(SpawnArgs),
    /// Draw samples that were kept.
    Plot(PlotArgs),
    /// Measure what is kept ready: a burst, a steady load, memory, and the first request
    /// after rest.
    Keep(KeepArgs),
    /// Wait for a Python that has made its imports, in a new user's sandbox.
    Python(PythonArgs),
    /// Claim sandboxes that get a client's environment with the claim.
    Attach(AttachArgs),
    /// Call user functions in sandboxes, beside other ways to have them answered.
    Udf(UdfArgs),
    /// Carry what leaves a sandbox through the relay, beside a veth pair with masquerade.
    Egress(EgressArgs),
    /// Show where the time of one `lakekeep run` goes.
    Stages(StagesArgs),
    /// One of the processes that `spawn` measures in.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Where programs are found.
#[derive(Debug, Clone, Args)]
pub struct Programs {
    /// The lakekeep to measure, with its launcher beside it; by default the one
    /// beside this program.
    #[arg(long, value_name = "FILE")]
    pub lakekeep: Option<PathBuf>,

    /// Folders that are searched for peers before PATH.
    #[arg(long = "search", value_name = "DIR")]
    pub search: Vec<PathBuf>,
}

/// Where the figures go for programs.
#[derive(Debug, Args)]
pub struct Json {
    /// Write the figures here, as a JSON array; without a file, or with "-", to standard
    /// output, and the table to standard error.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

/// `lakekeep-bench spawn`
#[derive(Debug, Args)]
pub struct SpawnArgs {
    /// Rounds; in each, every worker runs every peer once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// The peers, separated by commas; fork, the measure of all, is always one. Those that
    /// are not installed are named on standard error.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub peers: Vec<Choice>,

    /// How many run the same at the same moment, separated by commas: all rounds for each
    /// number, one number after the other.
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub concurrency: Vec<u16>,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,

    /// Draw the distributions here.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// The user that runs the rootless peer.
    #[arg(long, value_name = "UID", default_value_t = 65534)]
    pub user: u32,

    /// Decides the order of peers within the rounds.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub programs: Programs,
}

/// `lakekeep-bench plot`
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// A CSV file that --raw wrote; the facts of its machine are looked for beside it.
    #[arg(value_name = "RAW.csv")]
    pub raw: PathBuf,

    /// Write the picture here.
    #[arg(long, value_name = "FILE")]
    pub svg: PathBuf,
}

/// `lakekeep-bench keep`
#[derive(Debug, Args)]
pub struct KeepArgs {
    /// New sandboxes that are asked for at once.
    #[arg(long, default_value_t = 100)]
    pub burst: usize,

    /// How long each steady load lasts, seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,

    /// Sandboxes whose memory is looked at.
    #[arg(long, default_value_t = 20)]
    pub sandboxes: usize,

    /// Rests before a first request, and how long each is, seconds.
    #[arg(long, default_value_t = 10)]
    pub rests: u32,
    #[arg(long, default_value_t = 10)]
    pub rest: u64,

    #[command(flatten)]
    pub json: Json,

    /// Keep the figures, every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,

    #[command(flatten)]
    pub programs: Programs,
}

/// `lakekeep-bench attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Rounds; imports are made in each tenth.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// The store of environments: `environments` in lakekeep's folder of data, absolute.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,

    /// The environment, as `lakekeep env capture` printed it on this machine.
    #[arg(long, value_name = "DIGEST")]
    pub environment: Digest,

    /// What its interpreter imports, separated by commas.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "pyarrow,pandas"
    )]
    pub modules: Vec<String>,

    /// Claim of a manager too, which is started for that.
    #[arg(long)]
    pub manager: bool,

    #[command(flatten)]
    pub programs: Programs,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample in a folder below this one, with the facts of the machine.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,
}

/// `lakekeep-bench python`
#[derive(Debug, Args)]
pub struct PythonArgs {
    /// Rounds.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// The interpreter: absolute, with the modules installed.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/python3")]
    pub python: PathBuf,

    /// What it imports, separated by commas.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "pyarrow,pandas"
    )]
    pub modules: Vec<String>,

    /// Sandboxes that are ready at a time: they share the memory of one zygote.
    #[arg(long, default_value_t = 8)]
    pub ready: usize,

    /// Sandboxes of one zygote.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub sandboxes: u16,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,
}

/// `lakekeep-bench udf`
#[derive(Debug, Args)]
pub struct UdfArgs {
    /// Rounds; in each, every peer has its turn of some calls. A fifth as many for engines.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// The interpreter, with lakekeep, what it is measured in, and the peers installed.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/python3")]
    pub python: PathBuf,

    /// Print how to make such an interpreter, and measure nothing.
    #[arg(long)]
    pub setup: bool,

    /// The peers, separated by commas, or `all`; the measure of each scenario is always one.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub peers: Vec<String>,

    /// call-1-row, batch-8k, batch-64k, duckdb, polars, separated by commas, or `all`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub scenarios: Vec<String>,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,

    /// Draw the distributions here.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Decides the order of peers within the rounds.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub programs: Programs,
}

/// `lakekeep-bench egress`
#[derive(Debug, Args)]
pub struct EgressArgs {
    /// Rounds; in each, both ways have their turn in every scenario.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// What one transfer moves, MiB.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub megabytes: u64,

    /// Connections that live at once.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=60000))]
    pub connections: u32,

    /// start, claim, traffic, crowd, separated by commas, or `all`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "all",
        value_parser = ["all", "start", "claim", "traffic", "crowd"]
    )]
    pub scenarios: Vec<String>,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,
}

/// `lakekeep-bench stages`
#[derive(Debug, Args)]
pub struct StagesArgs {
    /// Traced runs.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    #[command(flatten)]
    pub programs: Programs,
}

/// `lakekeep-bench worker`
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The shared root file system; by default one of its own.
    #[arg(long, requires = "hold")]
    pub root: Option<PathBuf>,

    /// Name of the guest in it that stays.
    #[arg(long, default_value = "")]
    pub hold: String,

    #[arg(long, default_value_t = 65534)]
    pub user: u32,

    #[command(flatten)]
    pub ready: Ready,

    #[command(flatten)]
    pub programs: Programs,
}

/// What is kept ready while workers measure.
#[derive(Debug, Clone, Default, Args)]
pub struct Ready {
    /// The folder of the manager that runs, if one does.
    #[arg(long)]
    pub manager: Option<PathBuf>,

    /// Sandboxes that it makes ahead.
    #[arg(long, default_value_t = 0)]
    pub parked: usize,

    /// Sandboxes that a pool in a worker's own process makes ahead.
    #[arg(long, default_value_t = 4)]
    pub pooled: usize,
}

impl EgressArgs {
    /// Whether a part is asked for.
    pub fn wants(&self, part: &str) -> bool {
        self.scenarios
            .iter()
            .any(|name| name == "all" || name == part)
    }
}

impl SpawnArgs {
    /// Whether a peer is asked for.
    pub fn wants(&self, name: Name) -> bool {
        name == Name::Fork || self.peers.iter().any(|choice| choice.takes(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(words: &[&str]) -> SpawnArgs {
        let words = ["lakekeep-bench", "spawn"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().verb {
            Verb::Spawn(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn all_peers_are_asked_for_by_default_and_by_name() {
        for words in [&[][..], &["--peers", "all"]] {
            let arguments = spawn(words);
            assert!(Name::ALL.into_iter().all(|name| arguments.wants(name)));
        }
        let arguments = spawn(&["--peers", "crun,claim"]);
        let wanted = Name::ALL.into_iter().filter(|name| arguments.wants(*name));
        assert_eq!(
            wanted.collect::<Vec<_>>(),
            [Name::Fork, Name::Crun, Name::Claim]
        );
    }

    #[test]
    fn concurrency_is_a_list_of_numbers_above_none() {
        assert_eq!(spawn(&[]).concurrency, [1]);
        assert_eq!(
            spawn(&["--concurrency", "1,2,8,32"]).concurrency,
            [1, 2, 8, 32]
        );
        for wrong in ["0", "1,", "a", "257"] {
            let words = ["lakekeep-bench", "spawn", "--concurrency", wrong];
            assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_needs_no_file() {
        assert_eq!(spawn(&[]).json.json, None);
        let arguments = spawn(&["--json", "--peers", "all"]);
        assert_eq!(arguments.json.json, Some("-".into()));
        assert_eq!(
            spawn(&["--json", "a.json"]).json.json,
            Some("a.json".into())
        );
    }
}
