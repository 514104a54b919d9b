//! What a sandbox costs, measured beside other runtimes in one interleaved run.
//!
//! `lakekeep-bench spawn` runs the same static program through every peer, round
//! after round in a random order; `lakekeep-bench keep` looks at what is kept ready;
//! `lakekeep-bench python` waits for an interpreter with its imports;
//! `lakekeep-bench attach` claims sandboxes with a client's environment;
//! `lakekeep-bench udf` calls user functions;
//! `lakekeep-bench egress` carries what leaves a sandbox through the relay;
//! `lakekeep-bench stages` shows where the time of one `lakekeep run` goes. docs/benchmarks.md holds the method and the results.

mod args;
mod attach;
mod crew;
mod egress;
mod error;
mod ground;
mod isolation;
mod keep;
mod machine;
mod managed;
mod measure;
mod orders;
mod peers;
mod plot;
mod pooled;
mod python;
mod raw;
mod report;
mod spawn;
mod stages;
mod stats;
mod udf;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::error::BenchError;

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Spawn(arguments) => spawn::run(&arguments),
        Verb::Plot(arguments) => plot::run(&arguments),
        Verb::Keep(arguments) => keep::run(&arguments),
        Verb::Python(arguments) => python::run(&arguments),
        Verb::Attach(arguments) => attach::run(&arguments),
        Verb::Udf(arguments) => udf::run(&arguments),
        Verb::Egress(arguments) => egress::run(&arguments),
        Verb::Stages(arguments) => stages::run(&arguments),
        Verb::Worker(arguments) => worker::run(arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lakekeep-bench: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, on one line.
fn chain(error: &BenchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
