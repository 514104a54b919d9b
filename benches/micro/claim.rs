//! A claim, by a worker of lakekeep-bench: the launcher is beside that program.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use criterion::Criterion;
use serde_json::{Value, json};

/// Measures a claim to the first instruction of a task; without root it says why not.
pub fn bench(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let mut worker = Worker::start()?;
    let entered = worker.ask(&json!({ "Enter": { "name": "Claim", "look": false } }))?;
    if let Some(failed) = entered.get("Failed") {
        if failed["absent"] == true {
            eprintln!("claim: left out: {}", failed["reason"]);
            return Ok(());
        }
        return Err(failed.to_string().into());
    }
    worker.claim()?;
    let mut lost = None;
    criterion.bench_function("claim", |bencher| {
        bencher.iter_custom(|count| {
            let times = (0..count).map(|_| worker.claim());
            let sum: Result<Duration, _> = times.sum();
            sum.unwrap_or_else(|error| {
                lost = Some(error);
                // No measurement may take no time.
                Duration::from_secs(1)
            })
        });
    });
    match lost {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

struct Worker {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_lakekeep-bench"))
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (process.stdin.take(), process.stdout.take());
        Ok(Self {
            process,
            orders,
            answers: BufReader::new(answers.ok_or("no pipe")?),
        })
    }

    /// One order, one answer, as `benches/src/orders.rs` says.
    fn ask(&mut self, order: &Value) -> Result<Value, Box<dyn Error>> {
        let orders = self.orders.as_mut().ok_or("no pipe")?;
        writeln!(orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn claim(&mut self) -> Result<Duration, Box<dyn Error>> {
        self.ask(&json!({ "Settle": { "name": "Claim" } }))?;
        let answer = self.ask(&json!({ "Run": { "name": "Claim", "serial": 0 } }))?;
        let wall = answer.pointer("/Ran/wall").ok_or(answer.to_string())?;
        Ok(serde_json::from_value(wall.clone())?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it, with its sandboxes.
        self.orders = None;
        if self.process.wait().is_err() {
            // It was waited for already.
        }
    }
}
