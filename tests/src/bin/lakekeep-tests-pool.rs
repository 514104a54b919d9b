//! A program that keeps sandboxes itself, as an engine does: `lakekeep-tests-pool COUNT
//! SCRIPT...` claims COUNT sandboxes of a pool of two, runs each script in each of them,
//! and prints a JSON object for each task, a line each. A first argument `wait:COUNT` makes
//! it wait afterwards, with all of them claimed, until its input ends.
//!
//! `zygote:INTERPRETER:MODULE,MODULE:PRESET` before all of it gives the pool a zygote of that
//! interpreter, whose programs the scripts then are; one that begins with `/` is a command,
//! its arguments after blanks. What of a zygote that does not serve is told on its own line.
//!
//! `show:SOURCE:TARGET,...` after that, or first, shows parts of an environment in each sandbox
//! once it is claimed.
//!
//! `wall:TIME` after these, or first, gives a task so long; a minute if left out, which only one
//! that hangs needs.
//!
//! `egress:RULE;RULE...` after these, or first, lets so much leave each sandbox; what left it all
//! together is told on a line at its end, where only one was claimed.
//!
//! The script `pause` is none: the program says `paused`, and goes on when it is given a line.
//!
//! Beside the launcher, where an embedder's program is.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use lakekeep_plan::{Command, Preload, Replica, View};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_sandbox::{Claimed, Job, Pool, SandboxError, Stdio, host, plan_for, zygote_for};
use rustix::pipe::{PipeFlags, pipe_with};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakekeep-tests-pool: {}", lakekeep_sandbox::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let zygote = arguments.next_if(|first| first.starts_with("zygote:"));
    let zygote = zygote.as_deref().map(Zygote::parse).transpose()?;
    let shown = arguments.next_if(|next| next.starts_with("show:"));
    let view = shown.as_deref().map(view).transpose()?;
    let wall = arguments.next_if(|next| next.starts_with("wall:"));
    let wall = wall.as_deref().and_then(|wall| wall.strip_prefix("wall:"));
    let egress = arguments.next_if(|next| next.starts_with("egress:"));
    let first = arguments.next().ok_or("how many sandboxes?")?;
    let (wait, count) = match first.strip_prefix("wait:") {
        Some(count) => (true, count.parse()?),
        None => (false, first.parse::<usize>()?),
    };
    let scripts: Vec<String> = arguments.collect();
    let facts = host::probe()?;
    let preset = zygote.as_ref().map_or("general", |zygote| &zygote.preset);
    let policy = policy(preset, wall.unwrap_or("1m"), egress.as_deref())?;
    let command = Command {
        arguments: vec![b"true".to_vec()],
        path: "/usr/bin:/bin".to_owned(),
        ..Command::default()
    };
    let interpreter = zygote.as_ref().map(|zygote| &zygote.preload.interpreter);
    let plan = plan_for(&policy, &facts, &command, interpreter.map(Path::new))?;
    let mut pool = match &zygote {
        None => Pool::start(&facts, plan, 2)?,
        Some(zygote) => {
            let planned = zygote_for(&policy, &facts, &zygote.preload)?;
            Pool::start_with_zygote(&facts, plan, 2, planned)?
        }
    };
    match fill(&mut pool) {
        Err(SandboxError::Zygote { words, .. }) => {
            println!("{}", serde_json::json!({ "zygote": words }));
        }
        other => other?,
    }
    let mut claimed = Vec::new();
    for _ in 0..count {
        let mut sandbox = pool.claim()?;
        if let Some(view) = &view {
            sandbox.show(view)?;
        }
        claimed.push(sandbox);
    }
    for sandbox in &mut claimed {
        for script in &scripts {
            match script.as_str() {
                "pause" => pause()?,
                script => task(sandbox, zygote.as_ref(), script)?,
            }
        }
    }
    if wait {
        println!("waiting");
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    // One is ended by itself, the others with the program.
    if let Some(last) = claimed.pop() {
        let (_, traffic) = last.end_with_traffic()?;
        if let Some(traffic) = traffic.filter(|_| claimed.is_empty()) {
            println!("{}", serde_json::to_string(&traffic)?);
        }
    }
    Ok(())
}

fn policy(preset: &str, wall: &str, egress: Option<&str>) -> Result<Policy> {
    let rules: Vec<&str> = egress.map_or_else(Vec::new, |egress| {
        egress.trim_start_matches("egress:").split(';').collect()
    });
    let egress = egress.map_or_else(String::new, |_| format!("[egress]\nrules = {rules:?}\n"));
    let text = format!(
        "version = 1\npreset = \"{preset}\"\n[limits]\nwall_time = \"{wall}\"\nmemory = \"64MiB\"\nscratch_size = \"16MiB\"\n{egress}"
    );
    Ok(Policy::check(PolicyDoc::from_toml("pool", &text)?)?)
}

/// Somebody looks.
fn pause() -> Result<()> {
    println!("paused");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// An environment of these parts.
fn view(text: &str) -> Result<View> {
    let parts = text.trim_start_matches("show:").split(',');
    let replica = |part: &str| -> Result<Replica> {
        let (source, target) = part.split_once(':').ok_or("show:SOURCE:TARGET,...")?;
        Ok(Replica {
            source: source.to_owned(),
            target: target.to_owned(),
            directory: Path::new(source).is_dir(),
        })
    };
    Ok(View {
        replicas: parts.map(replica).collect::<Result<_>>()?,
        programs: "/srv/client/bin".to_owned(),
        variables: vec![("CLIENT".to_owned(), "ada".to_owned())],
    })
}

/// How the pool's zygote is asked for.
struct Zygote {
    preload: Preload,
    preset: String,
}

impl Zygote {
    fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [_, interpreter, modules, preset] = parts[..] else {
            return Err("zygote:INTERPRETER:MODULES:PRESET".into());
        };
        let modules = modules.split(',').filter(|name| !name.is_empty());
        Ok(Self {
            preload: Preload {
                interpreter: interpreter.to_owned(),
                modules: modules.map(str::to_owned).collect(),
                // Few, so that a test sees one take over from another.
                sandboxes: 3,
            },
            preset: preset.to_owned(),
        })
    }
}

fn fill(pool: &mut Pool) -> std::result::Result<(), SandboxError> {
    while pool.refill()? {}
    Ok(())
}

fn task(sandbox: &mut Claimed, zygote: Option<&Zygote>, script: &str) -> Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let stdio = Stdio::Given([null.try_clone()?.into(), write, null.into()]);
    let job = match zygote {
        _ if script.starts_with('/') => Job::new(script.split(' ')),
        None => Job::new(["/bin/sh", "-c", script]),
        Some(zygote) => Job::new([zygote.preload.interpreter.as_str(), "-c", script]),
    };
    let forked = sandbox.forked();
    let task = sandbox.spawn(&job, stdio)?;
    // Beside the wait, which keeps the time.
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        File::from(read).read_to_end(&mut output).map(|_| output)
    });
    let outcome = sandbox.wait(task)?;
    let output = reader.join().map_err(|_| "the reader panicked")??;
    let line = serde_json::json!({
        "sandbox": sandbox.id(),
        "output": String::from_utf8_lossy(&output),
        "forked": forked,
        "outcome": outcome,
    });
    println!("{line}");
    if zygote.is_some() {
        // What is ready is told of before the next one is asked for.
        sandbox.settle()?;
    }
    Ok(())
}
