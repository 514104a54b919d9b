//! `keep`: what is kept ready, and how long it lasts: a burst, a steady load, memory, and
//! the first request after rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lakekeep_sandbox::{Claimed, Job, Pool, host};

use crate::args::{KeepArgs, Ready};
use crate::chain;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::isolation;
use crate::machine::{self, Machine};
use crate::managed::{self, Managed, Server};
use crate::measure::Sample;
use crate::peers::{Called, Manager, Name, Peer, find};
use crate::pooled::{self, Pooled};
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, LeftOut, Report};
use crate::stats::{Summary, micros, percentile};

/// How long the machine is watched doing nothing, before a load is.
const QUIET: Duration = Duration::from_secs(2);

/// Of CPU time in /proc/stat: USER_HZ, on every Linux that this runs on (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// Somebody else's: that it cannot run here fails nothing.
const CRUN: &str = "crun";

/// Runs of a program that is isolated from nothing.
const FORKS: u32 = 100;

/// Steady loads: a user of an ordinary user's number plays no part here.
const ORDINARY: u32 = 65534;

/// A scenario's result.
struct Found {
    isolation: String,
    samples: Vec<Sample>,
    /// CPU time of one, microseconds, where the whole machine's was counted.
    cpu: Option<u64>,
    /// Medians, bytes: as its memory cgroup counts it; proportional set size.
    memory: Option<(u64, u64)>,
    note: String,
}

/// Measures and reports. The exit code is 1 when something failed.
pub fn run(arguments: &KeepArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let machine = Machine::look();
    let load_before = machine::load();
    let fork = forks(arguments, &ground)?;
    let burst_name = format!("burst-{}", arguments.burst);
    let all: [(&str, &'static str, Measured); 6] = [
        ("density", "lakekeep-pool", density(arguments, &ground)),
        (
            "idle-first",
            "lakekeep-claim",
            idle_first(arguments, &ground),
        ),
        (
            &burst_name,
            "lakekeep-claim-grpc",
            burst(arguments, &ground),
        ),
        ("sustained", "lakekeep-nested", warm(arguments, &ground)),
        ("sustained-new", "lakekeep-claim", new(arguments, &ground)),
        ("sustained-new", CRUN, crun(arguments, &ground)),
    ];
    let pooled = pooled_isolation(&ground)?;
    let mut placed = Vec::new();
    let mut report = Report::default();
    let mut failed = false;
    for (scenario, peer, measured) in all {
        let reason = match measured {
            Ok(mut found) => {
                if found.isolation.is_empty() {
                    found.isolation.clone_from(&pooled);
                }
                placed.extend(found.placed(scenario));
                match found.figure(scenario, peer, fork.as_ref()) {
                    Some(figure) => {
                        report.figures.push(figure);
                        continue;
                    }
                    None => "nothing was asked for".to_owned(),
                }
            }
            Err(error) => {
                failed |= !error.is_absence() && peer != CRUN;
                chain(&error)
            }
        };
        report.left_out.push(LeftOut {
            scenario: scenario.to_owned(),
            peer: peer.to_owned(),
            concurrency: 1,
            reason,
        });
    }
    report.publish("", arguments.json.json.as_deref())?;
    if let Some(top) = &arguments.raw {
        let about = Circumstances {
            machine,
            load_before,
            load_after: machine::load(),
            seed: 0,
            versions: Vec::new(),
        };
        raw::keep(top, "keep", (&placed, &report), &about)?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

type Measured = Result<Found, BenchError>;

impl Found {
    fn of(times: Vec<Duration>) -> Self {
        let sample = |wall| Sample { wall, cpu: None };
        Self {
            isolation: String::new(),
            samples: times.into_iter().map(sample).collect(),
            cpu: None,
            memory: None,
            note: String::new(),
        }
    }

    fn figure(&self, scenario: &str, peer: &'static str, fork: Option<&Summary>) -> Option<Figure> {
        let mut summary = Summary::of(&self.samples)?;
        summary.cpu = self.cpu;
        Some(Figure {
            memory_bytes: self.memory.map(|(memory, _)| memory),
            pss_bytes: self.memory.map(|(_, pss)| pss),
            note: self.note.clone(),
            ..Figure::measured(scenario, peer, self.isolation.clone(), &summary, fork)
        })
    }

    fn placed(&self, scenario: &str) -> impl Iterator<Item = Placed> {
        self.samples.iter().zip(0..).map(|(sample, round)| Placed {
            round,
            position: 0,
            peer: scenario.to_owned(),
            concurrency: 1,
            sample: *sample,
        })
    }
}

/// What holds for the sandboxes of a pool.
fn pooled_isolation(ground: &Ground) -> Result<String, BenchError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(String::new());
    }
    let pool = Rc::new(Pooled::start(ground, 1)?);
    isolation::of_call(&Called::Pool(pool), ground)
}

/// What the others' ratios are to.
fn forks(arguments: &KeepArgs, ground: &Ground) -> Result<Option<Summary>, BenchError> {
    let (programs, manager) = (&arguments.programs, Manager::none());
    let peer = Peer::new(Name::Fork, ground, programs, ORDINARY, &manager)?;
    let samples: Result<Vec<Sample>, BenchError> = (0..FORKS)
        .map(|serial| peer.sample(ground, serial))
        .collect();
    Ok(Summary::of(&samples?))
}

fn pool(ground: &Ground, size: usize) -> Result<Pool, BenchError> {
    let facts = host::probe().map_err(BenchError::plan)?;
    let mut pool = Pool::start(&facts, pooled::plan(ground)?, size)?;
    while pool.refill()? {}
    Ok(pool)
}

/// What a parked sandbox holds, with its task that is ready; the times are those of making
/// them.
fn density(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let mut pool = pool(ground, 0)?;
    let (mut times, mut held, mut memory, mut shares) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.sandboxes {
        let began = Instant::now();
        let mut sandbox = pool.claim()?;
        sandbox.make_ready()?;
        times.push(began.elapsed());
        held.push(sandbox);
    }
    for sandbox in &held {
        let pid = sandbox.pid()?.ok_or(BenchError::NoGuest {
            program: "a sandbox".to_owned(),
        })?;
        memory.push(charged(pid)?);
        shares.push(proportional(pid)?);
    }
    for sandbox in held {
        sandbox.end()?;
    }
    memory.sort_unstable();
    shares.sort_unstable();
    let medians = percentile(&memory, 50).zip(percentile(&shares, 50));
    let mut found = Found::of(times);
    found.memory = medians;
    found.note = medians.map_or_else(String::new, |(memory, pss)| {
        format!(
            "{} KiB by its memory group, {} KiB PSS",
            memory >> 10,
            pss >> 10
        )
    });
    Ok(found)
}

/// Bytes that a process's memory group is charged.
fn charged(pid: u32) -> Result<u64, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let file = match controllers {
            "" => format!("/sys/fs/cgroup{group}/memory.current"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                format!("/sys/fs/cgroup/memory{group}/memory.usage_in_bytes")
            }
            _ => return None,
        };
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    text.lines().find_map(group).ok_or(BenchError::Failed {
        program: "the kernel".to_owned(),
        status: "counts no memory of the sandbox".to_owned(),
        words: String::new(),
    })
}

/// Proportional set size of a process and all below it, bytes.
fn proportional(pid: u32) -> Result<u64, BenchError> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(BenchError::file("read", &path));
    let rollup = read(folder.join("smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let own = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let mut sum = own.unwrap_or(0) << 10;
    let children = read(folder.join(format!("task/{pid}/children")))?;
    for child in children.split_whitespace().flat_map(str::parse) {
        sum += proportional(child)?;
    }
    Ok(sum)
}

/// The first request after rest, beside the median of those that follow one another.
fn idle_first(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let (mut pool, clock) = (pool(ground, 4)?, pooled::clock());
    let mut steady = Vec::new();
    let mut first = Vec::new();
    for _ in 0..arguments.rests {
        for _ in 0..5 {
            steady.push(pooled::claim(&mut pool, &clock)?);
            while pool.refill()? {}
        }
        std::thread::sleep(Duration::from_secs(arguments.rest));
        first.push(pooled::claim(&mut pool, &clock)?);
        while pool.refill()? {}
    }
    steady.sort_unstable();
    let median = percentile(&steady, 50).map_or(0, micros);
    let mut found = Found::of(first);
    found.note = format!("after {} s of rest; {median} us without", arguments.rest);
    Ok(found)
}

/// New users' sandboxes, asked for at once.
fn burst(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let program = find::lakekeep(&arguments.programs)?;
    let server = Server::start(&program, ground, managed::PARKED)?;
    let ready = Ready {
        parked: managed::PARKED,
        ..Ready::default()
    };
    let manager = Rc::new(Managed::connect(ground, server.folder(), &ready)?);
    let isolation = isolation::of_call(&Called::Manager(Rc::clone(&manager)), ground)?;
    manager.settle()?;
    let times = manager.burst(arguments.burst)?;
    let mut found = Found {
        isolation,
        ..Found::of(times)
    };
    found.note = format!(
        "{} asked for at once, {} came",
        arguments.burst,
        found.samples.len()
    );
    Ok(found)
}

/// Tasks in a warm sandbox, one after the other.
fn warm(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let mut pool = pool(ground, 1)?;
    let mut sandbox = pool.claim()?;
    let job = Job::new([ground.guest(Guest::True)]);
    steady(arguments, || pooled::run(&mut sandbox, &job))
}

/// New sandboxes, one after the other, each with a task; what is used up is made again.
fn new(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let mut pool = pool(ground, 1)?;
    let job = Job {
        last: true,
        ..Job::new([ground.guest(Guest::True)])
    };
    steady(arguments, || {
        let mut sandbox: Claimed = pool.claim()?;
        pooled::run(&mut sandbox, &job)?;
        sandbox.end()?;
        pool.refill().map(drop).map_err(BenchError::from)
    })
}

/// The same by crun.
fn crun(arguments: &KeepArgs, ground: &Ground) -> Measured {
    let peer = Peer::new(
        Name::Crun,
        ground,
        &arguments.programs,
        ORDINARY,
        &Manager::none(),
    )?;
    let isolation = isolation::of(&peer, ground, 0)?;
    let mut serial = 0;
    let found = steady(arguments, || {
        serial += 1;
        peer.sample(ground, serial).map(drop)
    })?;
    Ok(Found { isolation, ..found })
}

/// Does something again and again, and counts the CPU time of the whole machine, its
/// kernel's workers included, without what it uses when nothing is done.
fn steady(arguments: &KeepArgs, mut once: impl FnMut() -> Result<(), BenchError>) -> Measured {
    once()?;
    let before = busy()?;
    std::thread::sleep(QUIET);
    let idle = busy()?.saturating_sub(before);
    let (began, before) = (Instant::now(), busy()?);
    let mut times = Vec::new();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        let start = Instant::now();
        once()?;
        times.push(start.elapsed());
    }
    let wall = began.elapsed();
    let others = idle.mul_f64(wall.as_secs_f64() / QUIET.as_secs_f64());
    let used = busy()?.saturating_sub(before).saturating_sub(others);
    let count = u64::try_from(times.len()).unwrap_or(u64::MAX).max(1);
    let each = micros(used).checked_div(count).unwrap_or(0);
    let mut found = Found::of(times);
    found.cpu = Some(each);
    let a_second = Duration::from_secs(1);
    let per_core = micros(a_second).checked_div(each).unwrap_or(0);
    found.note = format!("{per_core} a second and core, by CPU time");
    Ok(found)
}

/// CPU time of all processors that was not idle, since the machine began.
pub fn busy() -> Result<Duration, BenchError> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(BenchError::file("read", path))?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq; steal is another machine's.
    let idle = [3, 4, 7, 8, 9];
    let counted = ticks
        .iter()
        .zip(0..)
        .filter(|(_, index)| !idle.contains(index));
    let sum: u64 = counted.map(|(ticks, _)| ticks).sum();
    Ok(Duration::from_millis(sum * (1000 / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_what_is_done() {
        let before = busy().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(0);
        }
        assert!(busy().unwrap() > before);
    }

    #[test]
    fn a_process_has_a_share_of_memory() {
        assert!(proportional(std::process::id()).unwrap() > 1 << 10);
    }
}
