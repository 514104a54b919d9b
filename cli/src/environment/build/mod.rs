//! `lakekeep env build`: from a list of packages to an environment in the store.
//!
//! In this order:
//!
//! 1. the list, the indexes, uv's program and the interpreter are looked at; what is wrong with
//!    them is said before anything is made;
//! 2. a workplace, which the kernel's lock tells from a dead build's;
//! 3. exact versions with hashes: from the lock if it fits, else uv resolves, in a sandbox;
//! 4. uv installs them into an empty environment, in sandboxes. When the last of these has ended,
//!    nothing can write there any more;
//! 5. the folder is taken up as what strangers made: nothing of it leads out, and no interpreter
//!    in it is asked. The store has it whole or not at all;
//! 6. the lock, last: it is written for environments that exist.

mod disk;
mod inside;
mod lock;
mod log;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lakekeep_build::{Asker, BuildError, Choice, Indexes, Lock, Spec, VENV, Workplace};
use lakekeep_capture::{Answer, Built, Captured, Request, StatCache, ask, capture};
use lakekeep_policy::GuestPath;
use lakekeep_sandbox::host;
use lakekeep_sys::signal::Signals;
use lakekeep_tree::Made;

use self::inside::{Places, Room};
use super::{EnvironmentError, compile, places, show, take};
use crate::args::environment::BuildArgs;
use crate::report::Messages;
use crate::run::OWN_FAILURE;

/// SIGHUP, SIGINT and SIGTERM (signal(7)).
const ENDING: [i32; 3] = [1, 2, 15];

/// What was built.
pub struct Outcome {
    /// What is in the store.
    pub made: Made,
    /// Exact versions.
    pub lock: Lock,
    /// Where they were written, if they were.
    pub written: Option<PathBuf>,
    /// Whether they were found now, and not in a lock.
    pub resolved: bool,
    /// What was left out of the environment.
    pub notes: Vec<String>,
    /// From the start to the end.
    pub elapsed: Duration,
}

/// What is known before anything is made.
struct Wanted<'a> {
    arguments: &'a BuildArgs,
    spec: Spec,
    choice: Choice,
    indexes: Indexes,
    uv: PathBuf,
    certificates: Option<PathBuf>,
    base: Answer,
    python: String,
}

/// Does it, and gives what is printed.
///
/// # Errors
/// Of each step. Nothing of a build that failed is left.
pub fn build(arguments: &BuildArgs) -> Result<Outcome, EnvironmentError> {
    let began = Instant::now();
    // From here on a signal ends the step, and what was made is removed.
    let signals = Signals::open(&ENDING).map_err(EnvironmentError::Signals)?;
    let wanted = wanted(arguments)?;
    let place = Workplace::new(&places::builds()?)?;
    let room = room(&wanted, &place)?;
    let asker = Asker {
        spec: &wanted.spec,
        choice: &wanted.choice,
        indexes: &wanted.indexes,
        python: &wanted.python,
        certificates: wanted.certificates.is_some(),
    };
    let found = lock::find(&wanted, &room, &asker)?;
    place.file("project", Asker::lock_name(), &found.text)?;
    room.run(&asker.make())?;
    if !found.lock.packages().is_empty() {
        room.run(&asker.install())?;
    }
    interrupted(&signals)?;
    let (made, notes) = store(&wanted, &place)?;
    interrupted(&signals)?;
    let written = found.write()?;
    Ok(Outcome {
        made,
        lock: found.lock,
        written,
        resolved: found.resolved,
        notes,
        elapsed: began.elapsed(),
    })
}

/// What this program exits with: uv's failures are the caller's to mend, and 1.
pub fn exit_code(error: &EnvironmentError) -> ExitCode {
    match error {
        EnvironmentError::Unbuilt { code, .. } => ExitCode::from(*code),
        _ => ExitCode::from(OWN_FAILURE),
    }
}

fn interrupted(signals: &Signals) -> Result<(), EnvironmentError> {
    match signals.next().map_err(EnvironmentError::Signals)? {
        None => Ok(()),
        Some(signal) => Err(EnvironmentError::Interrupted { signal }),
    }
}

fn wanted(arguments: &BuildArgs) -> Result<Wanted<'_>, EnvironmentError> {
    let spec = Spec::read(&arguments.list)?;
    let indexes = Indexes::new(arguments.index.as_deref(), &arguments.extra_indexes)?;
    let messages = Messages {
        json: arguments.at.via.json,
    };
    for index in indexes.iter().filter(|index| index.is_plain()) {
        let text = format!(
            "warning: {} is asked without TLS: whoever is on the way decides what it says",
            index.shown()
        );
        messages.say("warning", &text);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let uv = lakekeep_build::uv_program(arguments.uv.as_deref(), &path)?;
    let certificates = arguments.ca_file.as_deref().map(real).transpose()?;
    let base = ask(&real(&places::program(&arguments.python)?)?)?;
    let python = text(&base.executable)?;
    Ok(Wanted {
        choice: Choice {
            extras: arguments.extras.clone(),
            groups: arguments.groups.clone(),
            sources: arguments.allow_source,
        },
        arguments,
        spec,
        indexes,
        uv,
        certificates,
        base,
        python,
    })
}

/// The folders that the sandboxes of this build are shown.
fn room<'a>(wanted: &'a Wanted<'_>, place: &Workplace) -> Result<Room<'a>, EnvironmentError> {
    for (name, content) in wanted.spec.files() {
        place.file("project", name, content)?;
    }
    // Code of packages runs in a build of sources, and could change what is kept.
    let cache = match wanted.choice.sources {
        true => place.part("cache")?,
        false => lakekeep_build::private_folder(&places::wheels()?)?,
    };
    Ok(Room {
        host: host::probe()?,
        arguments: wanted.arguments,
        choice: &wanted.choice,
        rules: [wanted.indexes.rules(), wanted.arguments.egress.clone()].concat(),
        interpreter: &wanted.base.executable,
        places: Places {
            uv: text(&wanted.uv)?,
            certificates: wanted.certificates.as_deref().map(text).transpose()?,
            project: text(&real(&place.part("project")?)?)?,
            cache: text(&real(&cache)?)?,
            environment: text(&real(&place.part("venv")?)?)?,
        },
    })
}

/// Takes up what was installed.
fn store(wanted: &Wanted<'_>, place: &Workplace) -> Result<(Made, Vec<String>), EnvironmentError> {
    let folder = real(&place.part("venv")?)?;
    let answer = lakekeep_build::environment(&wanted.base, &folder)?;
    let built = Built {
        place: GuestPath::new(VENV).map_err(EnvironmentError::Guest)?,
        base: real(&wanted.base.executable)?,
        folder,
    };
    let captured = taken(&answer, &built)?;
    let store = places::store()?;
    let mut made = lakekeep_tree::make(&store, &captured.manifest, &take::Here(&captured))?;
    if wanted.arguments.compile
        && let Some(compiled) = compile::once(&store, &made.environment)?
    {
        made = compiled;
    }
    Ok((made, captured.notes))
}

fn taken(answer: &Answer, built: &Built) -> Result<Captured, EnvironmentError> {
    let place = places::built_stat_cache()?;
    let mut cache = StatCache::load(&place);
    let request = Request {
        answer,
        modules: &[],
        include: &[],
        built: Some(built),
    };
    let captured = capture(&request, &mut cache)?;
    // A capture without a cache is whole; the next one is slower.
    if let Err(error) = cache.save(&place) {
        let text = lakekeep_sandbox::chain(&error);
        Messages { json: false }.say("warning", &format!("warning: {text}"));
    }
    Ok(captured)
}

/// What is printed: the digest, or all of it.
pub fn tell(outcome: &Outcome, json: bool) -> String {
    match json {
        true => show::built(outcome),
        false => format!("{}\n", outcome.made.environment.manifest().digest()),
    }
}

/// A sandbox is shown nothing through a link.
fn real(path: &Path) -> Result<PathBuf, EnvironmentError> {
    std::fs::canonicalize(path).map_err(|error| {
        EnvironmentError::Build(BuildError::Unreadable {
            path: path.to_owned(),
            error,
        })
    })
}

fn text(path: &Path) -> Result<String, EnvironmentError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| EnvironmentError::NotText(path.to_owned()))
}
