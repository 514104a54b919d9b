//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::peers::Name;

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

/// `lakekeep-bench spawn`
#[derive(Debug, Args)]
pub struct SpawnArgs {
    /// Rounds; in each, every peer runs once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub n: u32,

    /// The peers, separated by commas; fork, the measure of all, is always one.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Name::ALL)]
    pub peers: Vec<Name>,

    /// Write the figures here, as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

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

    /// Write the figures here, as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

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
