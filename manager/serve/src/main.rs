//! The service: a supervisor, which stays root, and the manager, which is not.
//!
//! A program of its own, beside `lakekeep`, which becomes it for `lakekeep serve`: what a
//! person starts a hundred times a day does not carry what runs once.

mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lakekeep_manager::evidence::{Evidence, Key};
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
    /// Check that an audit log is whole, without a manager; exits with 1 if it is not.
    VerifyAudit(VerifyArgs),
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

/// Arguments of `verify-audit`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The log's folder: `audit` below the manager's `state`.
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,
    /// Its key; `audit.key` beside the folder if left out.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Check only the order of the events: the key is not to be had.
    #[arg(long, conflicts_with = "key")]
    pub no_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Serve(arguments) => serve::serve(&arguments),
        Verb::Manager(arguments) => serve::manager(&arguments),
        Verb::VerifyAudit(arguments) => return verify(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn verify(arguments: &VerifyArgs) -> ExitCode {
    let key = match &arguments.key {
        Some(path) => Key::File(path),
        None if arguments.no_key => Key::None,
        None => Key::Beside,
    };
    match Evidence::verify(&arguments.folder, key) {
        Ok(found) => {
            tell(&found, arguments.json);
            match found.is_whole() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            match arguments.json {
                true => say_line(&error.to_json().to_string()),
                false => say(&chain(&error)),
            }
            ExitCode::from(OWN_FAILURE)
        }
    }
}

/// For programs on standard output; for people, what is wrong on standard error.
fn tell(found: &Evidence, json: bool) {
    use std::io::Write;
    let text = match json {
        true => found.to_json().to_string(),
        false if !found.is_whole() => return say(&found.to_string()),
        false => found.to_string(),
    };
    // Who reads it may have gone.
    writeln!(std::io::stdout(), "{text}").ok();
}

/// One message on standard error.
pub fn say(text: &str) {
    say_line(&format!("lakekeep: {text}"));
}

fn say_line(text: &str) {
    use std::io::Write;
    // Who reads it may have gone.
    writeln!(std::io::stderr(), "{text}").ok();
}
