//! Bytecode for the modules of an environment that have none: made once, in a sandbox, by the
//! environment's own interpreter. No module is imported, and outside nothing is run.

use std::io::Read;
use std::os::fd::OwnedFd;

use lakekeep_content::Store;
use lakekeep_environment::{Compiled, FileNode, MAX_COMPILED_BYTES, drift};
use lakekeep_plan::Command;
use lakekeep_policy::{Bytes, Policy, PolicyDoc};
use lakekeep_sandbox::{Additions, Kind, Launcher, Outcome, Stdio, host, plan_with};
use lakekeep_tree::{Contents, Environment, Held, Made};
use rustix::pipe::PipeFlags;

use super::{EnvironmentError, places};

/// Compiles each file that is named, one on a line of standard input, as far as it can be
/// compiled, and says path and code, each after its length. Python 3.7 or later.
const COMPILER: &str = include_str!("compile.py");

/// Where programs are looked for inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a large environment takes.
const TIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
const MEMORY: Bytes = Bytes(1 << 30);

/// The environment with bytecode for all its modules: itself, if it has.
///
/// # Errors
/// Of the sandbox; when what it said is not bytecode of the environment's.
pub fn compile(store: &Store, environment: &Environment) -> Result<Option<Made>, EnvironmentError> {
    let lacking = environment.manifest().uncompiled();
    // A line each; there is no other way to name what has a line's end in its name.
    let lines = lacking.iter().filter(|path| !path.contains('\n'));
    let names: String = lines.map(|path| format!("{path}\n")).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let said = said_inside(environment, names)?;
    let compiled = environment.manifest().compiled(&said)?;
    if compiled.contents.is_empty() {
        return Ok(None);
    }
    let contents = Both {
        compiled: &compiled,
        held: Held::of(lakekeep_tree::open(
            store,
            &environment.manifest().digest(),
        )?),
    };
    Ok(Some(lakekeep_tree::make(
        store,
        &compiled.manifest,
        &contents,
    )?))
}

/// The same, or what was made of it the last time, if that is still in the store.
///
/// # Errors
/// As of [`compile`].
pub fn once(store: &Store, environment: &Environment) -> Result<Option<Made>, EnvironmentError> {
    let place = places::compiled(&environment.manifest().digest())?;
    let known = std::fs::read_to_string(&place).unwrap_or_default();
    if let Ok(digest) = known.trim().parse()
        && let Ok(twin) = lakekeep_tree::open(store, &digest)
        // Whatever is written there: it is the same but for bytecode, or is not used.
        && drift(environment.manifest(), twin.manifest()).is_empty()
    {
        return Ok(Some(Made {
            environment: twin,
            written: 0,
            linked: 0,
        }));
    }
    let made = compile(store, environment)?;
    if let Some(made) = &made {
        let digest = made.environment.manifest().digest().to_string();
        let folder = place.parent().map_or(Ok(()), std::fs::create_dir_all);
        if folder
            .and_then(|()| std::fs::write(&place, digest))
            .is_err()
        {
            // It is made again the next time.
        }
    }
    Ok(made)
}

/// What was compiled, and what was there.
struct Both<'a> {
    compiled: &'a Compiled,
    held: Held,
}

impl Contents for Both<'_> {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        match self.compiled.contents.get(&file.digest) {
            Some(code) => Ok(Some(Box::new(std::io::Cursor::new(code.clone())))),
            None => self.held.open(file),
        }
    }
}

/// Runs the compiler in a sandbox that shows the environment, and reads what it says.
fn said_inside(environment: &Environment, names: String) -> Result<Vec<u8>, EnvironmentError> {
    let facts = host::probe()?;
    let mut doc = PolicyDoc::default();
    doc.limits.memory = Some(MEMORY);
    doc.limits.wall_time = Some(TIME);
    let policy = Policy::check(doc)?;
    let python = environment.manifest().interpreter().executable.as_str();
    let words = [python, "-I", "-S", "-B", "-c", COMPILER];
    let command = Command {
        arguments: words.map(|word| word.as_bytes().to_vec()).to_vec(),
        path: PATH.to_owned(),
        ..Command::default()
    };
    let view = environment.view();
    let additions = Additions {
        view: Some(&view),
        ..Additions::default()
    };
    let plan = plan_with(&policy, &facts, &command, &additions)?;
    let sandbox = Launcher::start(&facts)?.create(plan)?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(EnvironmentError::Pipe);
    let ((input, feed), (output, says)) = (pipe()?, pipe()?);
    let null = std::fs::File::options().write(true).open("/dev/null");
    let null = null.map_err(EnvironmentError::Compiler)?.into();
    let task = sandbox.spawn(Stdio::Given([input, says, null]))?;
    let said = talk(feed, output, names)?;
    let outcome = task.wait()?;
    ended_well(&outcome)?;
    Ok(said)
}

/// Feeds the names and reads the answers, both at once; one byte more than there may be shows.
fn talk(feed: OwnedFd, output: OwnedFd, names: String) -> Result<Vec<u8>, EnvironmentError> {
    let feeder = std::thread::spawn(move || {
        let mut feed = std::fs::File::from(feed);
        std::io::Write::write_all(&mut feed, names.as_bytes()).is_ok()
    });
    let mut said = Vec::new();
    let read = std::fs::File::from(output)
        .take(MAX_COMPILED_BYTES as u64 + 1)
        .read_to_end(&mut said);
    read.map_err(EnvironmentError::Compiler)?;
    match feeder.join() {
        Ok(true) => Ok(said),
        // A compiler that has not heard all has ended before: how, is told by its end.
        Ok(false) | Err(_) => Ok(Vec::new()),
    }
}

fn ended_well(outcome: &Outcome) -> Result<(), EnvironmentError> {
    let verdict = &outcome.verdict;
    match verdict.kind {
        Kind::Exit if verdict.exit_code == 0 => Ok(()),
        _ => Err(EnvironmentError::Uncompiled {
            why: verdict.explanation.clone(),
        }),
    }
}
