//! Commands that a manager answers.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

pub use super::accounts::{
    AuditVerb, CanArgs, Decision, DelegateArgs, IdentityArgs, IdentityVerb, ListVariablesArgs,
    NameArgs, ProfileArgs, ProfileVerb, PutArgs, QueryArgs, RevokeArgs, Scope, ScopeArgs,
    SecretVerb, SetSecretArgs, SetVariableArgs, VariableVerb, VerifyArgs, ViaArgs, WhoamiArgs,
};
use super::{PolicyArgs, time};

/// What to ask a manager. LAKEKEEP_SOCKET names it.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a sandbox, and print its identifier.
    Create(Box<CreateArgs>),
    /// Run a command in a sandbox.
    Exec(ExecArgs),
    /// Take up the streams of a task; ^] leaves it running.
    Attach(AttachArgs),
    /// Print what a task wrote.
    Logs(LogsArgs),
    /// List sandboxes.
    Ps(PsArgs),
    /// Show once what sandboxes use.
    Stats(StatsArgs),
    /// Show what sandboxes use, again and again.
    Top(TopArgs),
    /// End sandboxes with everything in them.
    Kill(SandboxesArgs),
    /// Send a signal to a task.
    Signal(SignalArgs),
    /// Stop all processes of sandboxes where they are.
    Freeze(SandboxesArgs),
    /// Let frozen sandboxes go on.
    Thaw(SandboxesArgs),
    /// Print what was enforced, as JSON.
    Receipt(TaskArgs),
    /// Say why a task ended.
    Verdict(TaskArgs),
    /// Say what happens to sandboxes.
    Events(EventsArgs),
    /// Copy a file into a sandbox, or out of it.
    Cp(CpArgs),
    /// List a folder of a sandbox.
    Ls(LsArgs),
    /// Volumes of a running sandbox.
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Say who you are to the manager.
    Whoami(WhoamiArgs),
    /// Rules that map users to identities.
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// Say whether a user may do something, and why; exits with 1 for no.
    Can(CanArgs),
    /// Profiles.
    #[command(subcommand)]
    Profile(ProfileVerb),
    /// Variables that the manager sets in sandboxes.
    #[command(subcommand)]
    Variable(VariableVerb),
    /// Secrets that the manager keeps. Their values are never printed.
    #[command(subcommand)]
    Secret(SecretVerb),
    /// Print a token with which another can act for you.
    Delegate(DelegateArgs),
    /// Take delegations back.
    Revoke(RevokeArgs),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditVerb),
}

/// How the manager is asked, and answers are printed.
#[derive(Debug, Clone, Args)]
pub struct Via {
    /// Print JSON, one object a line; messages too.
    #[arg(long)]
    pub json: bool,

    /// Act for this user, by a right that the manager gives you.
    #[arg(long, value_name = "USER")]
    pub on_behalf_of: Option<String>,
}

/// What becomes of a sandbox when its manager ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Commands of a person or an agent; survives.
    Interactive,
    /// A notebook kernel; survives.
    Kernel,
    /// Functions of an engine; ends with it.
    Udf,
    /// One command; survives.
    Batch,
}

/// `lakekeep create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub via: Via,

    #[command(flatten)]
    pub policy: PolicyArgs,

    /// The profile; your only or personal one if left out.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// What it is for.
    #[arg(long, value_enum, default_value_t = Kind::Interactive)]
    pub kind: Kind,

    /// A word to find it by.
    #[arg(long = "label", value_name = "K=V", value_parser = pair)]
    pub labels: Vec<(String, String)>,

    /// Show this environment, which `lakekeep env push` printed.
    #[arg(long, value_name = "DIGEST")]
    pub environment: Option<lakekeep_environment::Digest>,

    /// Show this volume of the profile that does not attach by itself.
    #[arg(long = "volume", value_name = "NAME")]
    pub volumes: Vec<String>,

    /// End it when no task has run for so long.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub idle_timeout: Option<Duration>,

    /// End it after so long, whatever it does.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub lifetime: Option<Duration>,

    /// Wait so long for room under the quotas.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub deadline: Option<Duration>,

    /// Who wrote the code that will run; you if left out.
    #[arg(long, value_name = "USER")]
    pub code_owner: Option<String>,

    /// Take a live sandbox of yours that is the same, if there is one.
    #[arg(long)]
    pub claim: bool,
}

/// `lakekeep exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    pub via: Via,

    /// Give the command a terminal.
    #[arg(long, short = 't')]
    pub tty: bool,

    /// Leave it running, and print SANDBOX/TASK.
    #[arg(long, short = 'd', conflicts_with = "tty")]
    pub detach: bool,

    /// Set a variable; NAME alone takes the caller's value.
    #[arg(long = "env", short = 'e', value_name = "NAME[=VALUE]")]
    pub variables: Vec<String>,

    /// Pass on your environment, except what names places and accounts of this
    /// host (PATH, HOME, USER and the like) and LAKEKEEP_*.
    #[arg(long)]
    pub user_env: bool,

    /// Give the command this secret that the manager keeps.
    #[arg(long = "secret", value_name = "NAME")]
    pub secrets: Vec<String>,

    /// Working directory inside.
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,

    /// What the command reads: this program's standard input, nothing, or a
    /// file.
    #[arg(long, value_name = "inherit|null|FILE", default_value = "inherit")]
    pub stdin: OsString,

    /// Report which system calls were refused.
    #[arg(long)]
    pub explain_syscalls: bool,

    /// A name for it in the audit log.
    #[arg(long, value_name = "WORD")]
    pub query_id: Option<String>,

    /// The sandbox.
    pub sandbox: String,

    /// The command and its arguments; that of the sandbox's image, with its entrypoint, if left
    /// out.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// One task of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskName {
    /// The sandbox.
    pub sandbox: String,
    /// Its task's number; 0: the last one.
    pub task: u32,
}

/// `lakekeep attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    pub via: Via,

    /// The task; the sandbox's last one if it is left out.
    #[arg(value_name = "SANDBOX[/TASK]", value_parser = task_name)]
    pub task: TaskName,
}

/// `lakekeep logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub via: Via,

    /// Go on until the task ends.
    #[arg(long, short = 'f')]
    pub follow: bool,

    /// Only standard error, on standard output.
    #[arg(long)]
    pub stderr: bool,

    /// The task; the sandbox's last one if it is left out.
    #[arg(value_name = "SANDBOX[/TASK]", value_parser = task_name)]
    pub task: TaskName,
}

/// `lakekeep ps`
#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    pub via: Via,

    /// Those that have ended too.
    #[arg(long, short = 'a')]
    pub all: bool,

    /// Those of others too, in profiles where you may see them.
    #[arg(long)]
    pub all_users: bool,

    /// Only those of this profile.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Only those with this label.
    #[arg(long = "label", value_name = "K=V", value_parser = pair)]
    pub labels: Vec<(String, String)>,
}

/// `lakekeep stats`
#[derive(Debug, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub via: Via,

    /// One sandbox; all of yours if it is left out.
    pub sandbox: Option<String>,
}

/// `lakekeep top`
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub via: Via,

    /// Between two looks.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "2s")]
    pub interval: Duration,

    /// End after so many looks.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `lakekeep kill`, `freeze`, `thaw`
#[derive(Debug, Args)]
pub struct SandboxesArgs {
    #[command(flatten)]
    pub via: Via,

    /// The sandboxes.
    #[arg(value_name = "SANDBOX", required = true)]
    pub sandboxes: Vec<String>,
}

/// `lakekeep signal`
#[derive(Debug, Args)]
pub struct SignalArgs {
    #[command(flatten)]
    pub via: Via,

    /// The signal: a name of signal(7) or its number.
    #[arg(value_name = "SIGNAL", value_parser = signal)]
    pub signal: i32,

    /// The task; the sandbox's last one if it is left out.
    #[arg(value_name = "SANDBOX[/TASK]", value_parser = task_name)]
    pub task: TaskName,
}

/// `lakekeep receipt`, `verdict`
#[derive(Debug, Args)]
pub struct TaskArgs {
    #[command(flatten)]
    pub via: Via,

    /// The task; the sandbox's last one if it is left out.
    #[arg(value_name = "SANDBOX[/TASK]", value_parser = task_name)]
    pub task: TaskName,
}

/// `lakekeep events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    pub via: Via,

    /// Go on with what happens from now on; without it, print what is kept and end.
    #[arg(long, short = 'f')]
    pub follow: bool,

    /// With --follow: first those that are kept.
    #[arg(long, requires = "follow", conflicts_with = "after")]
    pub oldest: bool,

    /// Begin after the event of this number (--json shows them), as far as events are
    /// kept.
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,

    /// Those of others too, in profiles where you may see them.
    #[arg(long)]
    pub all_users: bool,

    /// Only of this sandbox.
    pub sandbox: Option<String>,
}

/// `lakekeep cp`
#[derive(Debug, Args)]
pub struct CpArgs {
    #[command(flatten)]
    pub via: Via,

    /// Refuse to replace a file.
    #[arg(long, short = 'n')]
    pub no_clobber: bool,

    /// What to copy: a file here, "-", or SANDBOX:PATH.
    #[arg(value_name = "FROM")]
    pub from: OsString,

    /// Where to: the other of the two.
    #[arg(value_name = "TO")]
    pub to: OsString,
}

/// `lakekeep ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    pub via: Via,

    /// Permissions and sizes too.
    #[arg(long, short = 'l')]
    pub long: bool,

    /// The folder.
    #[arg(value_name = "SANDBOX:PATH", value_parser = place)]
    pub place: Place,
}

/// A path in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The sandbox.
    pub sandbox: String,
    /// From `/`, as it sees it.
    pub path: String,
}

/// `lakekeep volume`
#[derive(Debug, Subcommand)]
pub enum VolumeVerb {
    /// Show a volume of its profile in a running sandbox.
    Attach(VolumeArgs),
}

/// `lakekeep volume attach`
#[derive(Debug, Args)]
pub struct VolumeArgs {
    #[command(flatten)]
    pub via: Via,

    /// The sandbox.
    pub sandbox: String,

    /// The volume's name in the profile.
    pub name: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn task_name(text: &str) -> Result<TaskName, String> {
    let (sandbox, task) = match text.split_once('/') {
        Some((sandbox, task)) => (sandbox, task.parse().ok().filter(|task| *task > 0)),
        None => (text, Some(0)),
    };
    match task {
        Some(task) if !sandbox.is_empty() => Ok(TaskName {
            sandbox: sandbox.to_owned(),
            task,
        }),
        _ => Err("write SANDBOX, or SANDBOX/TASK with the task's number".to_owned()),
    }
}

/// A path in a sandbox. What has a slash before its colon is a path here.
pub fn place(text: &str) -> Result<Place, String> {
    match text.split_once(':') {
        Some((sandbox, path))
            if !sandbox.is_empty() && !sandbox.contains('/') && path.starts_with('/') =>
        {
            Ok(Place {
                sandbox: sandbox.to_owned(),
                path: path.to_owned(),
            })
        }
        _ => Err("write SANDBOX:/PATH".to_owned()),
    }
}

/// Names of signal(7), as kill(1) takes them, for every architecture that we run on.
const SIGNALS: [(&str, i32); 22] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("WINCH", 28),
];

fn signal(text: &str) -> Result<i32, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == name);
    let number = named.map(|(_, number)| *number);
    let number = number.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)));
    number.ok_or_else(|| "write a name such as TERM, or a number from 1 to 64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_places_signals_and_labels_are_read_as_written() {
        let task = |sandbox: &str, task| {
            Ok(TaskName {
                sandbox: sandbox.to_owned(),
                task,
            })
        };
        assert_eq!(task_name("ab"), task("ab", 0));
        assert_eq!(task_name("ab/12"), task("ab", 12));
        for wrong in ["", "/1", "ab/0", "ab/x", "ab/"] {
            assert!(task_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(place("ab:/x:y").unwrap().path, "/x:y");
        for wrong in ["ab", "ab:x", ":/x", "./ab:/x"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
        for (text, number) in [("TERM", 15), ("sigint", 2), ("9", 9), ("64", 64)] {
            assert_eq!(signal(text), Ok(number));
        }
        for wrong in ["0", "65", "NOPE", "-1"] {
            assert!(signal(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn a_shared_scope_needs_its_name() {
        use clap::Parser;
        let parse = |words: &[&str]| crate::args::Cli::try_parse_from(words).is_ok();
        let set = ["lakekeep", "variable", "set", "A", "b"];
        assert!(parse(&set));
        let with = |more: &[&'static str]| [&set[..], more].concat();
        assert!(parse(&with(&["--scope", "project", "--of", "churn"])));
        assert!(!parse(&with(&["--scope", "project"])));
    }

    #[test]
    fn revoking_names_one_or_says_all() {
        use clap::Parser;
        let parse = |words: &[&str]| crate::args::Cli::try_parse_from(words).is_ok();
        assert!(parse(&["lakekeep", "revoke", "--all"]));
        assert!(parse(&["lakekeep", "revoke", "x"]));
        assert!(!parse(&["lakekeep", "revoke"]));
        assert!(!parse(&["lakekeep", "revoke", "x", "--all"]));
    }
}
