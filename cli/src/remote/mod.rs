//! Commands that a manager answers. Only they start an asynchronous runtime.

mod accounts;
mod audit;
mod carry;
pub mod clean;
pub mod environments;
mod error;
mod figures;
mod files;
mod flows;
mod kept;
mod profiles;
mod run;
mod sandboxes;
mod show;
mod tasks;
mod tell;

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lakekeep_client::{Client, SOCKET_VARIABLE, Target};
use lakekeep_sandbox::chain;

use crate::args::InspectArgs;
use crate::args::egress::{LogArgs, ReplayArgs, TestArgs};
use crate::args::remote::{
    AuditVerb, IdentityVerb, ProfileVerb, SecretVerb, VariableVerb, Verb, Via, VolumeVerb,
};
use crate::beside;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

pub use error::RemoteError;
pub use run::run;

/// What a command comes to.
type Answer = Result<ExitCode, RemoteError>;

/// Asks the manager what a command says.
pub fn answer(verb: Verb) -> ExitCode {
    match verb {
        Verb::Create(a) => ask(&a.via.clone(), |client| sandboxes::create(client, *a)),
        Verb::Exec(a) => ask(&a.via.clone(), |client| tasks::exec(client, a)),
        Verb::Attach(a) => ask(&a.via.clone(), |client| tasks::attach(client, a)),
        Verb::Logs(a) => ask(&a.via.clone(), |client| tasks::logs(client, a)),
        Verb::Ps(a) => ask(&a.via.clone(), |client| sandboxes::list(client, a)),
        Verb::Stats(a) => ask(&a.via.clone(), |client| figures::stats(client, a)),
        Verb::Top(a) => ask(&a.via.clone(), |client| figures::top(client, a)),
        Verb::Kill(a) => ask(&a.via.clone(), |client| sandboxes::kill(client, a)),
        Verb::Signal(a) => ask(&a.via.clone(), |client| sandboxes::signal(client, a)),
        Verb::Freeze(a) => ask(&a.via.clone(), |client| sandboxes::freeze(client, a)),
        Verb::Thaw(a) => ask(&a.via.clone(), |client| sandboxes::thaw(client, a)),
        Verb::Receipt(a) => ask(&a.via.clone(), |client| tasks::receipt(client, a)),
        Verb::Verdict(a) => ask(&a.via.clone(), |client| tasks::verdict(client, a)),
        Verb::Events(a) => ask(&a.via.clone(), |client| figures::events(client, a)),
        Verb::Cp(a) => ask(&a.via.clone(), |client| files::copy(client, a)),
        Verb::Ls(a) => ask(&a.via.clone(), |client| files::list(client, a)),
        Verb::Volume(VolumeVerb::Attach(a)) => {
            ask(&a.via.clone(), |client| sandboxes::attach_volume(client, a))
        }
        Verb::Whoami(a) => ask(&a.via.clone(), |client| accounts::whoami(client, a)),
        Verb::Identity(IdentityVerb::Test(a)) => {
            ask(&a.via.clone(), |client| accounts::identity(client, a))
        }
        Verb::Can(a) => ask(&a.via.clone(), |client| accounts::can(client, a)),
        Verb::Delegate(a) => ask(&a.via.clone(), |client| accounts::delegate(client, a)),
        Verb::Revoke(a) => ask(&a.via.clone(), |client| accounts::revoke(client, a)),
        Verb::Profile(verb) => profile(verb),
        Verb::Variable(verb) => variable(verb),
        Verb::Secret(verb) => secret(verb),
        Verb::Audit(AuditVerb::Query(a)) => ask(&a.via.clone(), |client| audit::query(client, a)),
        Verb::Audit(AuditVerb::Verify(a)) => match &a.folder {
            Some(folder) => beside::verify_audit(folder, &a),
            None => ask(&a.via.clone(), |client| audit::verify(client, a)),
        },
    }
}

fn profile(verb: ProfileVerb) -> ExitCode {
    match verb {
        ProfileVerb::Ls(a) => ask(&a.via.clone(), |client| profiles::list(client, a)),
        ProfileVerb::Show(a) => ask(&a.via.clone(), |client| profiles::show(client, a)),
        ProfileVerb::Put(a) => ask(&a.via.clone(), |client| profiles::put(client, a)),
        ProfileVerb::Rm(a) => ask(&a.via.clone(), |client| profiles::remove(client, a)),
    }
}

fn variable(verb: VariableVerb) -> ExitCode {
    match verb {
        VariableVerb::Set(a) => ask(&a.via.clone(), |client| kept::set_variable(client, a)),
        VariableVerb::Rm(a) => ask(&a.via.clone(), |client| kept::remove(client, a, false)),
        VariableVerb::Ls(a) => ask(&a.via.clone(), |client| kept::list(client, a, false)),
    }
}

fn secret(verb: SecretVerb) -> ExitCode {
    match verb {
        SecretVerb::Set(a) => ask(&a.via.clone(), |client| kept::set_secret(client, a)),
        SecretVerb::Rm(a) => ask(&a.via.clone(), |client| kept::remove(client, a, true)),
        SecretVerb::Ls(a) => ask(&a.via.clone(), |client| kept::list(client, a, true)),
    }
}

/// Whether a manager is named.
pub fn is_named() -> bool {
    std::env::var_os(SOCKET_VARIABLE).is_some_and(|name| !name.is_empty())
}

/// Whether `subject` can only be a sandbox: no process, no file, and a manager is named.
pub fn is_sandbox(subject: &str) -> bool {
    is_named() && subject.parse::<u32>().is_err() && !Path::new(subject).exists()
}

/// `lakekeep inspect SANDBOX`
pub fn inspect(arguments: &InspectArgs) -> ExitCode {
    let via = Via {
        json: false,
        on_behalf_of: None,
    };
    ask(&via, |client| sandboxes::inspect(client, arguments))
}

/// `lakekeep egress test`, at a manager
pub fn egress_test(arguments: TestArgs) -> ExitCode {
    ask(&arguments.via.clone(), |client| {
        flows::test(client, arguments)
    })
}

/// `lakekeep egress log`
pub fn egress_log(arguments: LogArgs) -> ExitCode {
    ask(&arguments.via.clone(), |client| {
        flows::log(client, arguments)
    })
}

/// `lakekeep egress replay`
pub fn egress_replay(arguments: ReplayArgs) -> ExitCode {
    ask(&arguments.via.clone(), |client| {
        flows::replay(client, arguments)
    })
}

/// Connects, asks, and says what went wrong.
fn ask<F>(via: &Via, work: impl FnOnce(Client) -> F) -> ExitCode
where
    F: Future<Output = Answer>,
{
    let messages = Messages { json: via.json };
    match attempt(via, work) {
        Ok(code) => code,
        // `lakekeep logs | head`: all that was wanted was printed.
        Err(RemoteError::NobodyReads) => ExitCode::SUCCESS,
        Err(error) => {
            messages.say("error", &show::clean_lines(&chain(&error)));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn attempt<F>(via: &Via, work: impl FnOnce(Client) -> F) -> Answer
where
    F: Future<Output = Answer>,
{
    let mut target = Target::from_environment(|name| std::env::var_os(name))?;
    if let Some(user) = &via.on_behalf_of {
        target = target.on_behalf_of(user);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RemoteError::Runtime)?;
    let answer = runtime.block_on(async { work(Client::connect(target).await?).await });
    // A thread may wait for standard input, which nobody wants any more.
    runtime.shutdown_background();
    answer
}

/// Prints on standard output.
fn print(text: &str) -> Result<(), RemoteError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What a manager sent as JSON.
fn parse(what: &'static str, text: &str) -> Result<serde_json::Value, RemoteError> {
    serde_json::from_str(text).map_err(|error| RemoteError::NotJson { what, error })
}
