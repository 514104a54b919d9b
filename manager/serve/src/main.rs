//! The service: a supervisor, which stays root, and the manager, which is not.
//!
//! A program of its own, beside `lakekeep`, which becomes it for `lakekeep serve`: what a
//! person starts a hundred times a day does not carry what runs once.

mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lakekeep_sandbox::chain;

/// As `lakekeep` exits when it fails itself.
const OWN_FAILURE: u8 = 125;

/// Run a manager: many users' sandboxes on this machine.
#[derive(Debug, Parser)]
#[command(name = "lakekeep-manager", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Start launchers and the manager, and start again what dies.
    Serve(ServeArgs),
    /// The manager's own process; `serve` starts it.
    #[command(hide = true)]
    Manager(ManagerArgs),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The manager's configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Only read the configuration and say what is wrong with it.
    #[arg(long)]
    pub check: bool,
}

/// Arguments of the manager's own process.
#[derive(Debug, Args)]
pub struct ManagerArgs {
    /// The manager's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Numbers of the descriptors that it was started with.
    #[arg(long, value_name = "API,FACTS,LIFELINE", value_delimiter = ',')]
    pub descriptors: Vec<i32>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Serve(arguments) => serve::serve(&arguments),
        Verb::Manager(arguments) => serve::manager(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

/// One message on standard error.
pub fn say(text: &str) {
    use std::io::Write;
    // Who reads it may have gone.
    writeln!(std::io::stderr(), "lakekeep: {text}").ok();
}
