//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Measure what is kept ready: a burst, a steady load, memory, and the first request
    /// after rest.
    Keep(KeepArgs),
    /// Show where the time of one `lakekeep run` goes.
    Stages(StagesArgs),
}

/// Where programs are found.
#[derive(Debug, Args)]
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
    /// Rounds; in each, every peer runs once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// The peers, separated by commas; fork, the measure of all, is always one. Those that
    /// are not installed are named on standard error.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub peers: Vec<Choice>,

    #[command(flatten)]
    pub json: Json,

    /// Keep every sample and the facts of this machine in a folder made below
    /// this one.
    #[arg(long, value_name = "DIR")]
    pub raw: Option<PathBuf>,

    /// The user that runs the rootless peer.
    #[arg(long, value_name = "UID", default_value_t = 65534)]
    pub user: u32,

    /// Decides the order of peers within the rounds.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    pub programs: Programs,
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

/// `lakekeep-bench stages`
#[derive(Debug, Args)]
pub struct StagesArgs {
    /// Traced runs.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    #[command(flatten)]
    pub programs: Programs,
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
