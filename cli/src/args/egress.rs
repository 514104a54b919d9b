//! `lakekeep egress`: the arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::remote::Via;

/// What to do with rules of egress.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Tell whether something may leave, by which rule of which level, and connect to nothing.
    ///
    /// Exits with 0 if it may, and with 1 if it may not. A name is not resolved: the addresses
    /// that it turns out to have are held against the rules once more when it is used. Where a
    /// manager is named, it is asked, and its administrator's and the profile's rules count.
    Test(TestArgs),
    /// Print what left sandboxes and what was refused, oldest first.
    ///
    /// A manager has it: everybody sees their own flows, the owner of a profile those of the
    /// profile, administrators all.
    Log(LogArgs),
    /// Tell what a document of rules would have changed: which users, profiles and queries it
    /// would break, and what it would newly let out.
    ///
    /// Exits with 0 if nothing breaks, and with 1 if something does. The document stands for
    /// all that decided then; addresses of names that were refused are not known.
    Replay(ReplayArgs),
}

/// `lakekeep egress test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Where something would go.
    #[arg(value_name = "NAME:PORT")]
    pub destination: String,

    #[command(flatten)]
    pub via: Via,

    /// The policy document with the rules.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// A rule beside the policy's (repeat).
    #[arg(long = "egress", value_name = "RULE")]
    pub egress: Vec<String>,

    #[command(flatten)]
    pub at: TestAt,

    /// The owner's document of egress, which narrows the policy; no manager is asked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "profile", "sandbox"])]
    pub owner: Option<PathBuf>,

    /// The administrator's document of egress, the upper bound; no manager is asked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "profile", "sandbox"])]
    pub administrator: Option<PathBuf>,
}

/// Whose rules a manager is asked about.
#[derive(Debug, Default, Args)]
pub struct TestAt {
    /// As a sandbox of this user's; yours if left out. Of others: who may see their flows.
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        conflicts_with = "sandbox"
    )]
    pub user: String,

    /// In this profile; in the one where the user's would be made if left out.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        conflicts_with = "sandbox"
    )]
    pub profile: String,

    /// The rules that hold now in this sandbox.
    #[arg(
        long,
        value_name = "SANDBOX",
        default_value = "",
        conflicts_with_all = ["policy", "egress"]
    )]
    pub sandbox: String,
}

/// Which flows.
#[derive(Debug, Clone, Args)]
pub struct FlowArgs {
    /// Not before: a time (RFC 3339), or how long ago, such as 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// Before.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Of this user; all that you may see if left out.
    #[arg(long, value_name = "USER", default_value = "")]
    pub user: String,

    /// In this profile.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub profile: String,

    /// Of this sandbox.
    #[arg(long, value_name = "SANDBOX", default_value = "")]
    pub sandbox: String,

    /// To this name; '*.files.example' is every name below it.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub name: String,
}

/// `lakekeep egress log`
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub flows: FlowArgs,

    /// Only what was refused, or would be if the rules were enforced.
    #[arg(long)]
    pub denied: bool,

    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: u64,

    /// Write them to this file instead, as an Arrow IPC file.
    #[arg(long, value_name = "FILE")]
    pub arrow: Option<PathBuf>,
}

/// `lakekeep egress replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub flows: FlowArgs,

    /// The document of rules (TOML).
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
}
