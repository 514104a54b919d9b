//! A Python that has made its imports, in a new user's sandbox: claimed of a pool with a
//! zygote, beside an interpreter that makes them itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio as Streams};

use lakekeep_plan::{Command as Planned, Preload};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_sandbox::{Job, Kind, Pool, Stdio, host, plan_for, zygote_for};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::args::PythonArgs;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::machine::{self, Machine};
use crate::managed::{first_instruction, monotonic};
use crate::measure::{self, Sample};
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, Report};
use crate::stats::{Summary, percentile};

const FORK: &str = "fork+exec";
const READY: &str = "lakekeep-zygote";
const COLD: &str = "python-import";

/// A pool whose tasks are forked, and the program that each runs.
struct Forked {
    pool: Pool,
    interpreter: String,
    program: String,
}

/// `lakekeep-bench python`
pub fn run(arguments: &PythonArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let machine = Machine::look();
    let load_before = machine::load();
    let mut forked = Forked::start(arguments)?;
    let pss = forked.pss();
    let mut placed = Vec::new();
    for round in 0..arguments.n {
        let mut keep = |position, peer: &str, sample| {
            placed.push(Placed {
                round,
                position,
                peer: peer.to_owned(),
                concurrency: 1,
                sample,
            });
        };
        let mut fork = Command::new(
            ground
                .root()
                .join(ground.guest(Guest::True).trim_start_matches('/')),
        );
        keep(0, FORK, measure::once(&mut fork, &ground)?);
        keep(1, READY, forked.once()?);
        // A second of import says little the hundredth time.
        if round % 10 == 0 {
            keep(2, COLD, cold(arguments)?);
        }
        forked.refill()?;
        eprint!("\r{} of {}", round + 1, arguments.n);
    }
    eprintln!();
    let report = report(&placed, pss);
    report.publish("", arguments.json.json.as_deref())?;
    if let Some(top) = &arguments.raw {
        let about = Circumstances {
            machine,
            load_before,
            load_after: machine::load(),
            seed: 0,
            versions: vec![("python".to_owned(), arguments.modules.join(" "))],
        };
        raw::keep(top, "python", (&placed, &report), &about)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(placed: &[Placed], pss: Option<u64>) -> Report {
    let of = |peer: &str| {
        let samples = placed.iter().filter(|placed| placed.peer == peer);
        let samples: Vec<Sample> = samples.map(|placed| placed.sample).collect();
        Summary::of(&samples)
    };
    let fork = of(FORK);
    let isolation = "all layers; layout of memory and seed of hashes shared with its siblings";
    let rows = [
        ("fork+exec", FORK, "none", None),
        ("python-ready", READY, isolation, pss),
        ("python-ready", COLD, "none", None),
    ];
    let figures = rows
        .into_iter()
        .filter_map(|(scenario, peer, isolation, pss)| {
            let summary = of(peer)?;
            let isolation = isolation.to_owned();
            let note = pss.map_or_else(String::new, |pss| {
                format!("PSS of one that waits: {} KiB", pss / 1024)
            });
            Some(Figure {
                pss_bytes: pss,
                note,
                ..Figure::measured(scenario, peer, isolation, &summary, fork.as_ref())
            })
        });
    Report {
        figures: figures.collect(),
        left_out: Vec::new(),
    }
}

/// Says on its last line when all imports are there, as the clock's eight bytes.
pub fn program(modules: &[String]) -> String {
    let imports = modules.join(", ");
    format!(
        "import {imports}, time, sys; sys.stdout.buffer.write(time.clock_gettime_ns(time.CLOCK_MONOTONIC).to_bytes(8, sys.byteorder))"
    )
}

/// An interpreter that imports them itself, without a sandbox.
fn cold(arguments: &PythonArgs) -> Result<Sample, BenchError> {
    let before = monotonic();
    let output = Command::new(&arguments.python)
        .args(["-c", &program(&arguments.modules)])
        .stdin(Streams::null())
        .output()
        .map_err(BenchError::file("execute", &arguments.python))?;
    Ok(Sample {
        wall: first_instruction(&output.stdout, before)?,
        cpu: None,
    })
}

impl Forked {
    fn start(arguments: &PythonArgs) -> Result<Self, BenchError> {
        let facts = host::probe().map_err(BenchError::plan)?;
        let policy = Policy::check(PolicyDoc::default()).map_err(BenchError::plan)?;
        let interpreter = arguments.python.display().to_string();
        let preload = Preload {
            interpreter: interpreter.clone(),
            modules: arguments.modules.clone(),
            sandboxes: arguments.sandboxes,
        };
        let command = Planned {
            arguments: vec![interpreter.clone().into_bytes()],
            path: "/usr/bin:/bin".to_owned(),
            ..Planned::default()
        };
        let python = Some(arguments.python.as_path());
        let plan = plan_for(&policy, &facts, &command, python).map_err(BenchError::plan)?;
        let zygote = zygote_for(&policy, &facts, &preload).map_err(BenchError::plan)?;
        let mut forked = Self {
            pool: Pool::start_with_zygote(&facts, plan, arguments.ready, zygote)?,
            interpreter,
            program: program(&arguments.modules),
        };
        forked.refill()?;
        Ok(forked)
    }

    fn refill(&mut self) -> Result<(), BenchError> {
        while self.pool.refill()? {}
        Ok(())
    }

    /// From the claim until the imports are there.
    fn once(&mut self) -> Result<Sample, BenchError> {
        let made = pipe_with(PipeFlags::CLOEXEC);
        let (read, write) = made.map_err(|errno| BenchError::io("make a pipe")(errno.into()))?;
        let null = || {
            let null = File::options().read(true).write(true).open("/dev/null");
            null.map(OwnedFd::from)
                .map_err(BenchError::io("open /dev/null"))
        };
        let stdio = Stdio::Given([null()?, write, null()?]);
        let job = Job {
            last: true,
            ..Job::new([self.interpreter.as_str(), "-c", &self.program])
        };
        let before = monotonic();
        let mut sandbox = self.pool.claim()?;
        let task = sandbox.spawn(&job, stdio)?;
        let mut stamp = Vec::new();
        File::from(read)
            .read_to_end(&mut stamp)
            .map_err(BenchError::io("read a task's output"))?;
        let verdict = sandbox.wait(task)?.verdict;
        sandbox.end()?;
        if verdict.kind != Kind::Exit || verdict.exit_code != 0 {
            return Err(BenchError::Failed {
                program: self.interpreter.clone(),
                status: verdict.explanation,
                words: verdict.remedy,
            });
        }
        Ok(Sample {
            wall: first_instruction(&stamp, before)?,
            cpu: None,
        })
    }

    /// The median of what the tasks that wait have of the memory that they share
    /// (proc_pid_smaps(5), `Pss`), bytes.
    fn pss(&self) -> Option<u64> {
        let mut all: Vec<u64> = children().iter().filter_map(|pid| pss_of(pid)).collect();
        all.sort_unstable();
        (all.len() >= self.pool.ready()).then(|| percentile(&all, 50))?
    }
}

/// The processes that were forked and wait: in a task's pid namespace, the fourth of this
/// one's, with the zygote's command line.
fn children() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let forked = |pid: &String| {
        let read = |file: &str| std::fs::read_to_string(Path::new("/proc").join(pid).join(file));
        let fields: BTreeMap<String, usize> = read("status")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.split_whitespace().count()))
            .collect();
        let deep = fields.get("NSpid").is_some_and(|depth| *depth >= 4);
        deep && read("cmdline").is_ok_and(|line| line.contains("<lakekeep>"))
    };
    names.filter(forked).collect()
}

fn pss_of(pid: &str) -> Option<u64> {
    let path = Path::new("/proc").join(pid).join("smaps_rollup");
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_ratio_is_to_the_fork_of_the_same_run() {
        let sample = |peer: &str, ms| Placed {
            round: 0,
            position: 0,
            peer: peer.to_owned(),
            concurrency: 1,
            sample: Sample {
                wall: Duration::from_millis(ms),
                cpu: None,
            },
        };
        let report = report(&[sample(FORK, 1), sample(READY, 4)], Some(7));
        let figures = &report.figures;
        assert_eq!(figures.len(), 2);
        assert_eq!(
            (figures[1].ratio, figures[1].pss_bytes),
            (Some(4.0), Some(7))
        );
        assert_eq!(figures[1].scenario, "python-ready");
    }
}
