//! A program that keeps sandboxes itself, as an engine does: `lakekeep-tests-pool COUNT
//! SCRIPT...` claims COUNT sandboxes of a pool of two, runs each script in each of them,
//! and prints a JSON object for each task, a line each. A first argument `wait:COUNT` makes
//! it wait afterwards, with all of them claimed, until its input ends.
//!
//! Beside the launcher, where an embedder's program is.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use lakekeep_plan::Command;
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_sandbox::{Claimed, Job, Pool, Stdio, host, plan_for};
use rustix::pipe::{PipeFlags, pipe_with};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakekeep-tests-pool: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().ok_or("how many sandboxes?")?;
    let (wait, count) = match first.strip_prefix("wait:") {
        Some(count) => (true, count.parse()?),
        None => (false, first.parse::<usize>()?),
    };
    let scripts: Vec<String> = arguments.collect();
    let facts = host::probe()?;
    let text =
        "version = 1\npreset = \"general\"\n[limits]\nwall_time = \"2s\"\nmemory = \"64MiB\"\n";
    let policy = Policy::check(PolicyDoc::from_toml("pool", text)?)?;
    let command = Command {
        arguments: vec![b"true".to_vec()],
        path: "/usr/bin:/bin".to_owned(),
        ..Command::default()
    };
    let plan = plan_for(&policy, &facts, &command, None)?;
    let mut pool = Pool::start(&facts, plan, 2)?;
    while pool.refill()? {}
    let mut claimed = Vec::new();
    for _ in 0..count {
        claimed.push(pool.claim()?);
    }
    for sandbox in &mut claimed {
        for script in &scripts {
            task(sandbox, script)?;
        }
    }
    if wait {
        println!("waiting");
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    // One is ended by itself, the others with the program.
    if let Some(last) = claimed.pop() {
        last.end()?;
    }
    Ok(())
}

fn task(sandbox: &mut Claimed, script: &str) -> Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let null = || File::open("/dev/null").map(OwnedFd::from);
    let stdio = Stdio::Given([null()?, write, null()?]);
    let job = Job::new(["/bin/sh", "-c", script]);
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
        "outcome": outcome,
    });
    println!("{line}");
    Ok(())
}
