//! `lakekeep`: untrusted code in a sandbox that holds.

mod args;
mod chain;
mod doctor;
mod inspect;
mod manual;
mod plan;
mod report;
mod request;
mod run;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Plan(arguments) => plan::plan(&arguments),
        Verb::Doctor(arguments) => doctor::doctor(&arguments),
        Verb::Inspect(arguments) => inspect::inspect(&arguments),
        Verb::Completions { shell } => manual::completions(shell),
        Verb::Man { directory } => manual::man(directory.as_deref()),
    }
}
