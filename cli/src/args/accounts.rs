//! Commands about users, profiles, variables and the audit log.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::remote::Via;
use super::time;

/// `lakekeep whoami`
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    #[command(flatten)]
    pub via: Via,

    /// As whom in this project.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub project: String,
}

/// `lakekeep identity`
#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Try the rules for a user, and say what came of each.
    Test(IdentityArgs),
}

/// `lakekeep identity test`
#[derive(Debug, Args)]
pub struct IdentityArgs {
    #[command(flatten)]
    pub via: Via,

    /// The user.
    pub user: String,

    /// In this project.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub project: String,
}

/// `lakekeep can`
#[derive(Debug, Args)]
pub struct CanArgs {
    #[command(flatten)]
    pub via: Via,

    /// The user.
    pub user: String,

    /// What it would do, such as create_sandbox.
    pub action: String,

    /// With this profile; with the manager if left out.
    #[arg(default_value = "")]
    pub profile: String,
}

/// `lakekeep profile`
#[derive(Debug, Subcommand)]
pub enum ProfileVerb {
    /// List the profiles that you may see.
    Ls(ViaArgs),
    /// Print a profile's document.
    Show(ProfileArgs),
    /// Write a profile from a TOML file.
    Put(PutArgs),
    /// Remove a profile.
    Rm(ProfileArgs),
}

/// A command without arguments of its own.
#[derive(Debug, Args)]
pub struct ViaArgs {
    #[command(flatten)]
    pub via: Via,
}

/// `lakekeep profile show`, `rm`
#[derive(Debug, Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    pub via: Via,

    /// The profile.
    pub name: String,
}

/// `lakekeep profile put`
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub via: Via,

    /// The profile that it replaces or becomes.
    pub name: String,

    /// The document; "-" is standard input.
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,

    /// Refuse unless the present version is this one; the one that is there now if
    /// left out.
    #[arg(long, value_name = "VERSION")]
    pub version_is: Option<String>,
}

/// Whose variables and secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Your own.
    User,
    /// A project's.
    Project,
    /// A profile's.
    Profile,
}

/// Whose variable or secret is meant.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Whose it is.
    #[arg(long, value_enum, default_value_t = Scope::User)]
    pub scope: Scope,

    /// Which project or profile.
    #[arg(
        long = "of",
        value_name = "NAME",
        default_value = "",
        required_if_eq_any([("scope", "project"), ("scope", "profile")])
    )]
    pub owner: String,
}

/// `lakekeep variable`
#[derive(Debug, Subcommand)]
pub enum VariableVerb {
    /// Set a variable.
    Set(SetVariableArgs),
    /// Remove a variable.
    Rm(NameArgs),
    /// List variables of all scopes.
    Ls(ListVariablesArgs),
}

/// `lakekeep variable set`
#[derive(Debug, Args)]
pub struct SetVariableArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Its name.
    pub name: String,

    /// Its value. For what nobody may see, use `lakekeep secret set`.
    #[arg(allow_hyphen_values = true)]
    pub value: String,
}

/// `lakekeep variable rm`, `secret rm`
#[derive(Debug, Args)]
pub struct NameArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Its name.
    pub name: String,
}

/// `lakekeep variable ls`, `secret ls`
#[derive(Debug, Args)]
pub struct ListVariablesArgs {
    #[command(flatten)]
    pub via: Via,

    /// As they count in this profile; your own if left out.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub profile: String,
}

/// `lakekeep secret`
#[derive(Debug, Subcommand)]
pub enum SecretVerb {
    /// Set a secret from standard input or a file, never from an argument.
    Set(SetSecretArgs),
    /// Remove a secret.
    Rm(NameArgs),
    /// List names of secrets of all scopes.
    Ls(ListVariablesArgs),
}

/// `lakekeep secret set`
#[derive(Debug, Args)]
pub struct SetSecretArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Its name.
    pub name: String,

    /// The file that holds its value, byte for byte; "-" is standard input. A line
    /// that is typed at a terminal is not shown, and its end is not part of it.
    #[arg(value_name = "FILE|-", default_value = "-")]
    pub file: PathBuf,
}

/// `lakekeep delegate`
#[derive(Debug, Args)]
pub struct DelegateArgs {
    #[command(flatten)]
    pub via: Via,

    /// Who may act for you: the user name that the manager knows it by.
    #[arg(long, value_name = "ACTOR")]
    pub to: String,

    /// Only with this profile.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub profile: String,

    /// For so long; as long as the manager allows if left out.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub lifetime: Option<Duration>,
}

/// `lakekeep revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    pub via: Via,

    /// All delegations of yours so far.
    #[arg(long, conflicts_with = "id", required_unless_present = "id")]
    pub all: bool,

    /// The delegation's identifier, as `lakekeep delegate` printed it.
    pub id: Option<String>,
}

/// `lakekeep audit`
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Print events, oldest first.
    Query(QueryArgs),
    /// Check that the log is whole; exits with 1 if it is not.
    ///
    /// With --folder no manager is asked: the log may be one that was put aside as
    /// evidence, or that a manager refuses to go on with. Needs lakekeep-manager beside
    /// this program.
    Verify(VerifyArgs),
}

/// `lakekeep audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub via: Via,

    /// The log's folder, `audit` below a manager's `state`.
    #[arg(long, value_name = "DIR", conflicts_with = "on_behalf_of")]
    pub folder: Option<PathBuf>,

    /// The key that it was written with; `audit.key` beside the folder if left out.
    #[arg(long, value_name = "FILE", requires = "folder")]
    pub key: Option<PathBuf>,

    /// Check only the order of the events, without the key.
    #[arg(long, requires = "folder", conflicts_with = "key")]
    pub no_key: bool,
}

/// `lakekeep audit query`
#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    pub via: Via,

    /// Not before: a time (RFC 3339), or how long ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// Not after.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Who acted.
    #[arg(long, value_name = "USER", default_value = "")]
    pub who: String,

    /// What was done, such as exec.
    #[arg(long, value_name = "ACTION", default_value = "")]
    pub action: String,

    /// In which profile; of the manager as a whole if left out.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub profile: String,

    /// On which sandbox.
    #[arg(long, value_name = "SANDBOX", default_value = "")]
    pub sandbox: String,

    /// What came of it.
    #[arg(long, value_enum)]
    pub outcome: Option<Decision>,

    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: u32,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
    /// It failed.
    Error,
}
