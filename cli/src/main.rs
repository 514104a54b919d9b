//! `lakekeep`: untrusted code in a sandbox that holds.

mod args;
mod attack;
mod beside;
mod doctor;
mod egress;
mod environment;
mod images;
mod in_image;
mod inspect;
mod manual;
mod plan;
mod remote;
mod report;
mod request;
mod run;
mod terminal;
mod udf;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};

/// Help and version are answers; the rest is refused as everything else is, for
/// 2 could be the command's own exit code.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(run::OWN_FAILURE),
        };
    }
    let text = error.to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    let what = said.strip_prefix("error: ").unwrap_or(&said);
    let json = std::env::args_os().any(|argument| argument == "--json");
    report::Messages { json }.say("error", &format!("{what}; see lakekeep --help"));
    ExitCode::from(run::OWN_FAILURE)
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Plan(arguments) => plan::plan(&arguments),
        Verb::Doctor(arguments) => doctor::doctor(&arguments),
        Verb::Inspect(arguments) => inspect::inspect(&arguments),
        Verb::Image(verb) => images::image(&verb),
        Verb::Store(verb) => images::store(&verb),
        Verb::Egress(verb) => egress::answer(verb),
        Verb::Env { verb } => environment::answer(&verb),
        Verb::Remote(verb) => remote::answer(*verb),
        Verb::Serve(arguments) => beside::serve(&arguments),
        Verb::Bench { arguments } => beside::bench(&arguments),
        Verb::UdfServe { arguments } => beside::udf("flight", &arguments),
        Verb::UdfWorker { arguments } => beside::udf("spark", &arguments),
        Verb::UdfStdio { arguments } => beside::udf("stdio", &arguments),
        Verb::UdfBroker {
            control,
            zygote_timeout,
        } => udf::broker(control, zygote_timeout),
        Verb::Completions { shell } => manual::completions(shell),
        Verb::Man { directory } => manual::man(directory.as_deref()),
    }
}
