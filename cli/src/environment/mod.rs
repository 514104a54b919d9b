//! `lakekeep env`, and environments of `lakekeep run`.

mod build;
mod compile;
mod places;
mod serve;
pub mod show;
mod take;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lakekeep_build::BuildError;
use lakekeep_capture::CaptureError;
use lakekeep_environment::{Digest, NotCompiled, drift};
use lakekeep_policy::{GuestPathError, PolicyErrors};
use lakekeep_sandbox::host::ProbeError;
use lakekeep_sandbox::{PlanningError, SandboxError, chain};
use lakekeep_tree::TreeError;
use rustix::io::Errno;

use crate::args::environment::{BuildArgs, CaptureArgs, DiffArgs, Verb, What, Where};
use crate::images::ImagesError;
use crate::remote::environments;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

pub use places::store_folder;
pub use serve::{Served, serve};
pub use take::Kept;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{step} failed: {why}")]
    Unbuilt {
        step: &'static str,
        why: String,
        /// What this program exits with.
        code: u8,
    },
    #[error("ended by signal {signal}; nothing was stored")]
    Interrupted { signal: i32 },
    #[error("signals cannot be waited for")]
    Signals(#[source] Errno),
    #[error("speaking with uv")]
    Uv(#[source] std::io::Error),
    #[error("the place of built environments")]
    Guest(#[source] GuestPathError),
    #[error("{0:?} is not UTF-8; a sandbox can be shown nothing of that name")]
    NotText(PathBuf),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Store(#[from] ImagesError),
    #[error("no program {0:?} on PATH; name the interpreter by its path")]
    NoPython(PathBuf),
    #[error(
        "where environments are kept cannot be told; set XDG_DATA_HOME or HOME to an absolute path"
    )]
    NoHome,
    #[error("the store {path} cannot be made or found; check its folder")]
    Place {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("modules cannot be compiled: {why}; leave --compile out")]
    Uncompiled { why: String },
    #[error("what the compiler said is not taken; leave --compile out")]
    NotCompiled(#[from] NotCompiled),
    #[error("this host cannot be examined")]
    Host(#[from] ProbeError),
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
    #[error(transparent)]
    Planning(#[from] PlanningError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("pipe2")]
    Pipe(#[source] Errno),
    #[error("speaking with the compiler")]
    Compiler(#[source] std::io::Error),
    #[error(
        "{differences}; to run with what is here now: lakekeep run --environment $(lakekeep env capture --python {python})"
    )]
    Drift { differences: String, python: String },
    #[error(
        "the environment of {python} is {now} now, not {wanted}; to run with what is here now: \
         lakekeep run --environment $(lakekeep env push --python {python})"
    )]
    Another {
        python: String,
        wanted: Digest,
        now: Digest,
    },
}

/// Does it, and says what went wrong.
pub fn answer(verb: &Verb) -> ExitCode {
    if let Some(code) = at_manager(verb) {
        return code;
    }
    let json = matches!(verb, Verb::Capture(arguments) if arguments.at.via.json);
    let text = match verb {
        Verb::Push(arguments) => return environments::push(arguments),
        Verb::Build(arguments) => return build_and_tell(arguments),
        Verb::Capture(arguments) => capture(arguments),
        Verb::Ls(arguments) => list(arguments.at.via.json),
        Verb::Gc(arguments) => collect(arguments.keep.get()),
        Verb::Inspect(arguments) => places::store().and_then(|store| {
            let environment = lakekeep_tree::open(&store, &arguments.digest)?;
            Ok(show::inspect(&environment, arguments))
        }),
        Verb::Diff(arguments) => return diff(arguments),
        Verb::Verify(arguments) => verify(&arguments.digest),
        Verb::Rm(arguments) => remove(&arguments.digests),
    };
    match text {
        Ok(text) if std::io::stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => refuse(json, &error),
    }
}

/// What the manager that is named does; `None`: there is none, or it is not to be asked.
fn at_manager(verb: &Verb) -> Option<ExitCode> {
    let asked = |at: &Where| crate::remote::is_named() && !at.local;
    match verb {
        Verb::Capture(arguments) if asked(&arguments.at) => Some(environments::capture(arguments)),
        Verb::Ls(arguments) if asked(&arguments.at) => Some(environments::list(&arguments.at.via)),
        Verb::Rm(arguments) if asked(&arguments.at) => Some(environments::remove(arguments)),
        Verb::Gc(arguments) if asked(&arguments.at) => Some(environments::collect(arguments)),
        _ => None,
    }
}

/// What is to be sent: taken up now, or stored here.
///
/// # Errors
/// As [`take::take`], or what the store says.
pub fn kept(digest: Option<&Digest>, what: &What) -> Result<Kept, EnvironmentError> {
    match digest {
        None => Ok(Kept::Taken(Box::new(take::take(what)?))),
        Some(digest) => {
            let environment = lakekeep_tree::open(&places::store()?, digest)?;
            Ok(Kept::stored(environment))
        }
    }
}

/// Whether the environment of `python` is that one now.
///
/// # Errors
/// [`EnvironmentError::Another`].
pub fn check_same(python: &Path, wanted: &Digest) -> Result<(), EnvironmentError> {
    let what = What {
        python: python.to_owned(),
        modules: Vec::new(),
        include: Vec::new(),
    };
    let now = take::take(&what)?.captured.manifest.digest();
    match now == *wanted {
        true => Ok(()),
        false => Err(EnvironmentError::Another {
            python: python.display().to_string(),
            wanted: *wanted,
            now,
        }),
    }
}

fn collect(keep: u64) -> Result<String, EnvironmentError> {
    let collected = lakekeep_tree::collect(&places::store()?, keep)?;
    let names = collected.removed.iter().map(ToString::to_string).collect();
    let in_use = collected.in_use.iter().map(ToString::to_string).collect();
    Ok(show::collected(names, in_use, collected.bytes))
}

fn refuse(json: bool, error: &EnvironmentError) -> ExitCode {
    Messages { json }.say("error", &chain(error));
    ExitCode::from(OWN_FAILURE)
}

fn capture(arguments: &CaptureArgs) -> Result<String, EnvironmentError> {
    let taken = take::take(&arguments.what)?;
    let store = places::store()?;
    let captured = &taken.captured;
    let mut made = lakekeep_tree::make(&store, &captured.manifest, &take::Here(captured))?;
    if arguments.compile
        && let Some(compiled) = compile::once(&store, &made.environment)?
    {
        made = compiled;
    }
    if arguments.at.via.json {
        return Ok(show::captured(&taken, &made));
    }
    for note in &captured.notes {
        Messages { json: false }.say("note", note);
    }
    Ok(format!("{}\n", made.environment.manifest().digest()))
}

/// Where a manager is named, it is sent what was built.
fn build_and_tell(arguments: &BuildArgs) -> ExitCode {
    let json = arguments.at.via.json;
    let outcome = match build::build(arguments) {
        Ok(outcome) => outcome,
        Err(error) => {
            Messages { json }.say("error", &chain(&error));
            return build::exit_code(&error);
        }
    };
    let messages = Messages { json: false };
    if !json {
        for note in &outcome.notes {
            messages.say("note", note);
        }
        if let Some(path) = &outcome.written {
            messages.say("note", &format!("exact versions are in {}", path.display()));
        }
    }
    if crate::remote::is_named() && !arguments.at.local {
        let digest = outcome.made.environment.manifest().digest();
        return environments::push_stored(&digest, &arguments.at.via);
    }
    let text = build::tell(&outcome, json);
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn list(json: bool) -> Result<String, EnvironmentError> {
    let store = places::store()?;
    let mut rows = Vec::new();
    for (digest, used) in lakekeep_tree::list(&store)? {
        match lakekeep_tree::look(&store, &digest) {
            Ok(environment) => rows.push((environment, used)),
            // Removed meanwhile.
            Err(TreeError::Absent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rows.sort_by(|(_, a), (_, b)| b.cmp(a));
    Ok(show::list(&rows, json))
}

/// Exits with 1 where they differ, as diff(1) does.
fn diff(arguments: &DiffArgs) -> ExitCode {
    let found = places::store().and_then(|store| {
        let there = lakekeep_tree::open(&store, &arguments.digest)?;
        let here = take::take(&arguments.what)?;
        Ok(drift(&here.captured.manifest, there.manifest()))
    });
    match found {
        Ok(differences) if differences.is_empty() => ExitCode::SUCCESS,
        Ok(differences) => {
            let text: String = differences.iter().map(|one| format!("{one}\n")).collect();
            match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::from(1),
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => refuse(false, &error),
    }
}

fn verify(digest: &Digest) -> Result<String, EnvironmentError> {
    lakekeep_tree::open(&places::store()?, digest)?.verify()?;
    Ok(format!("{digest} is what it says\n"))
}

fn remove(digests: &[Digest]) -> Result<String, EnvironmentError> {
    let store = places::store()?;
    for digest in digests {
        if !lakekeep_tree::remove(&store, digest)? {
            return Err(TreeError::Absent { digest: *digest }.into());
        }
    }
    Ok(String::new())
}
