//! `lakekeep egress`: the arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with rules of egress.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Tell whether something may leave, by which rule, and connect to nothing.
    ///
    /// Exits with 0 if it may, and with 1 if it may not. A name is not resolved: the addresses
    /// that it turns out to have are held against the rules once more when it is used.
    Test(TestArgs),
}

/// `lakekeep egress test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Where something would go.
    #[arg(value_name = "NAME:PORT")]
    pub destination: String,

    /// The policy document with the rules.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// A rule beside the policy's (repeat).
    #[arg(long = "egress", value_name = "RULE")]
    pub egress: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
