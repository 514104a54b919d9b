//! Acknowledged events a second, by the number of threads that wait for each,
//! and for one thread that does not wait: what group commit gains.
//!
//! `cargo run --release -p lakekeep-store --example audit_rate [FOLDER]`

use std::error::Error;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Instant, SystemTime};

use lakekeep_store::Timestamp;
use lakekeep_store::audit::{AuditLog, Event, Options};

const EVENTS: u64 = 4_000;
const PIPELINED: u64 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    for threads in [1, 4, 16, 64] {
        let rate = measured(Path::new(&parent), EVENTS, |log| waiting(log, threads))?;
        println!("{threads:>3} threads, each waits for its event: {rate:>8.0} events/s");
    }
    let rate = measured(Path::new(&parent), PIPELINED, pipelined)?;
    println!("  1 thread, does not wait:             {rate:>8.0} events/s");
    Ok(())
}

fn event() -> Event {
    Event::allowed(
        Timestamp::from(SystemTime::now()),
        "uid:1000",
        "sandbox.exec",
    )
    .with_as_whom("alice")
    .with_profile("research")
    .with_sandbox("s-0123456789abcdef")
    .with_task(7)
    .with_policy("6fa4dd95bb0b1c8d3ad5de8cf0d4ae3a3bd3e4d4c6a9c3f0f2a1b0c9d8e7f605")
    .with_request("7b0c2a53-7c3b-4a34-8f75-3f0a6f9d8a11")
}

fn measured(
    parent: &Path,
    events: u64,
    run: impl FnOnce(&AuditLog) -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let folder = tempfile::tempdir_in(parent)?;
    let options = Options {
        key: Some(folder.path().join("audit.key")),
        ..Options::default()
    };
    let now = Timestamp::from(SystemTime::now());
    let log = AuditLog::open(&folder.path().join("log"), &options, now)?.log;
    let start = Instant::now();
    run(&log)?;
    let seconds = start.elapsed().as_secs_f64();
    log.close()?;
    Ok(events as f64 / seconds)
}

fn waiting(log: &AuditLog, threads: u64) -> Result<(), Box<dyn Error>> {
    std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    (0..EVENTS / threads).try_for_each(|_| log.append(event()).map(drop))
                })
            })
            .collect();
        for thread in spawned {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

fn pipelined(log: &AuditLog) -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..PIPELINED {
        let sender = sender.clone();
        log.submit(event(), move |answer| {
            sender.send(answer.is_ok()).unwrap_or_default();
        })?;
    }
    drop(sender);
    let good = receiver.iter().filter(|good| *good).count() as u64;
    if good == PIPELINED {
        Ok(())
    } else {
        Err("events were refused".into())
    }
}
