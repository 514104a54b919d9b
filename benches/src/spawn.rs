//! `spawn`: a static program to its end, peer by peer, by one worker or by several at once.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::args::SpawnArgs;
use crate::chain;
use crate::crew::{Crew, Entered};
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::machine::{self, Machine};
use crate::managed::{PARKED, Server};
use crate::measure::Sample;
use crate::peers::{Name, find};
use crate::plot;
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, LeftOut, Report};
use crate::stats::Summary;

/// Runs of each peer before those that count: caches of files and of the kernel.
const WARM_UP: u32 = 3;

/// A peer in the run, at one concurrency.
#[derive(Debug)]
struct Entrant {
    name: Name,
    concurrency: usize,
    /// Why it is not, or no longer, measured.
    entered: Result<Entered, BenchError>,
    samples: Vec<Sample>,
}

/// Measures and reports. The exit code is 1 when a peer failed; one that is not
/// installed, or that cannot run here at all, is only reported.
pub fn run(arguments: &SpawnArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let machine = Machine::look();
    let load_before = machine::load();
    let (mut entrants, mut placed) = (Vec::new(), Vec::new());
    for concurrency in &arguments.concurrency {
        let mut level = Level::start(arguments, &ground, usize::from(*concurrency))?;
        let mut entered = level.enter();
        // Who is absent is so at every concurrency.
        if entrants.is_empty() {
            name_absent(&entered);
        }
        placed.extend(level.rounds(&mut entered));
        entrants.extend(entered);
    }
    let about = Circumstances {
        machine,
        load_before,
        load_after: machine::load(),
        seed: arguments.seed,
        versions: versions(&entrants),
    };
    let report = report(&entrants);
    report.publish(&about.head(), arguments.json.json.as_deref())?;
    if let Some(path) = &arguments.svg {
        plot::of_run(path, &placed, &about.machine)?;
    }
    if let Some(top) = &arguments.raw {
        raw::keep(top, "spawn", (&placed, &report), &about)?;
    }
    let failed = entrants.iter().any(Entrant::has_failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// What measures at one concurrency. Its parts end in this order.
struct Level<'a> {
    arguments: &'a SpawnArgs,
    concurrency: usize,
    crew: Crew,
    /// The manager that its workers ask; absent when no peer needs one.
    server: Option<Result<Server, BenchError>>,
}

impl<'a> Level<'a> {
    fn start(
        arguments: &'a SpawnArgs,
        ground: &Ground,
        concurrency: usize,
    ) -> Result<Self, BenchError> {
        let parked = PARKED.max(concurrency);
        let root = rustix::process::geteuid().is_root();
        let asks = |name: &Name| name.needs_manager() && arguments.wants(*name);
        let server = (root && Name::ALL.iter().any(asks)).then(|| {
            let program = find::lakekeep(&arguments.programs)?;
            Server::start(&program, ground, parked)
        });
        let folder = server.as_ref().and_then(|server| server.as_ref().ok());
        let words = words(arguments, ground, (concurrency, parked), folder);
        Ok(Self {
            arguments,
            concurrency,
            crew: Crew::start(concurrency, &words)?,
            server,
        })
    }

    /// Finds the peers, looks at what each isolates, and warms it up.
    fn enter(&mut self) -> Vec<Entrant> {
        let wanted = |name: &Name| self.arguments.wants(*name);
        let names: Vec<Name> = Name::ALL.into_iter().filter(wanted).collect();
        names.into_iter().map(|name| self.warm_up(name)).collect()
    }

    fn warm_up(&mut self, name: Name) -> Entrant {
        let entered = match &mut self.server {
            Some(server) if name.needs_manager() && server.is_err() => {
                // Told once; to the others it is that none runs.
                std::mem::replace(server, Err(BenchError::NoManager))
                    .and(Err(BenchError::NoManager))
            }
            _ => self.crew.enter(name),
        };
        let mut entrant = Entrant {
            name,
            concurrency: self.concurrency,
            entered,
            samples: Vec::new(),
        };
        for serial in 1..=WARM_UP {
            entrant.sample(&mut self.crew, serial);
        }
        entrant.samples.clear();
        entrant
    }

    /// Runs every peer once a round, in an order drawn anew each time.
    fn rounds(&mut self, entrants: &mut [Entrant]) -> Vec<Placed> {
        let mut draw = Draw(self.arguments.seed);
        let mut order: Vec<usize> = (0..entrants.len()).collect();
        let mut placed = Vec::new();
        for round in 0..self.arguments.n {
            draw.shuffle(&mut order);
            for (position, index) in order.iter().enumerate() {
                let Some(entrant) = entrants.get_mut(*index) else {
                    continue;
                };
                let samples = entrant.sample(&mut self.crew, WARM_UP + 1 + round);
                placed.extend(samples.into_iter().map(|sample| Placed {
                    round,
                    position,
                    peer: entrant.name.as_str().to_owned(),
                    concurrency: self.concurrency,
                    sample,
                }));
            }
            progress(self.concurrency, round + 1, self.arguments.n);
        }
        placed
    }
}

fn name_absent(entrants: &[Entrant]) {
    for entrant in entrants {
        if let Err(error) = &entrant.entered
            && error.is_absence()
        {
            eprintln!("absent: {}: {}", entrant.name.as_str(), chain(error));
        }
    }
}

/// The arguments of a worker.
fn words(
    arguments: &SpawnArgs,
    ground: &Ground,
    (concurrency, parked): (usize, usize),
    server: Option<&Server>,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["worker".into()];
    let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
    let number = |number: usize| OsString::from(number.to_string());
    option("--root", ground.root().into());
    option("--hold", ground.name(Guest::Hold).into());
    option("--user", arguments.user.to_string().into());
    option("--parked", number(parked));
    // A pool in each worker's process: one is claimed of each at a time.
    option(
        "--pooled",
        number(if concurrency == 1 { PARKED } else { 1 }),
    );
    if let Some(server) = server {
        option("--manager", server.folder().into());
    }
    if let Some(lakekeep) = &arguments.programs.lakekeep {
        option("--lakekeep", lakekeep.into());
    }
    for folder in &arguments.programs.search {
        option("--search", folder.into());
    }
    words
}

impl Entrant {
    /// Has all workers run it once; a failure is kept and ends its part.
    fn sample(&mut self, crew: &mut Crew, serial: u32) -> Vec<Sample> {
        if self.entered.is_err() {
            return Vec::new();
        }
        match crew.sample(self.name, serial) {
            Ok(samples) => {
                self.samples.extend(&samples);
                samples
            }
            Err(error) => {
                self.entered = Err(error);
                Vec::new()
            }
        }
    }

    /// Somebody else's program that cannot run here at all fails nothing.
    fn has_failed(&self) -> bool {
        let foreign = !self.name.is_ours() && self.samples.is_empty();
        self.entered
            .as_ref()
            .is_err_and(|error| !error.is_absence() && !foreign)
    }
}

/// Those without figures are left out; those that are absent have been named.
fn report(entrants: &[Entrant]) -> Report {
    let summary = |entrant: &Entrant| Summary::of(&entrant.samples);
    let mut report = Report::default();
    for entrant in entrants {
        let (scenario, peer) = (entrant.name.scenario(), entrant.name.as_str());
        let alike = |other: &&Entrant| other.concurrency == entrant.concurrency;
        let fork = entrants
            .iter()
            .filter(alike)
            .find(|other| other.name == Name::Fork)
            .and_then(summary);
        match (&entrant.entered, summary(entrant)) {
            (Err(error), _) if error.is_absence() => {}
            (Err(error), _) => report.left_out.push(LeftOut {
                scenario: scenario.to_owned(),
                peer: peer.to_owned(),
                concurrency: entrant.concurrency,
                reason: chain(error),
            }),
            (Ok(entered), Some(summary)) => {
                let isolation = entered.isolation.clone();
                let figure = Figure::measured(scenario, peer, isolation, &summary, fork.as_ref());
                report.figures.push(Figure {
                    concurrency: entrant.concurrency,
                    ..figure
                });
            }
            // There is a round at least.
            (Ok(_), None) => {}
        }
    }
    report
}

fn versions(entrants: &[Entrant]) -> Vec<(String, String)> {
    let mut versions: Vec<(String, String)> = Vec::new();
    for entrant in entrants {
        let name = entrant.name.as_str();
        if let Ok(entered) = &entrant.entered
            && !versions.iter().any(|(known, _)| *known == name)
        {
            versions.push((name.to_owned(), entered.version.clone()));
        }
    }
    versions
}

fn progress(concurrency: usize, done: u32, all: u32) {
    if rustix::termios::isatty(rustix::stdio::stderr()) {
        let end = if done == all { "\n" } else { "" };
        eprint!("\r{concurrency} at once: round {done} of {all}{end}");
    }
}

/// Draws the orders: SplitMix64, the same ones for the same seed.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            let bound = u64::try_from(last + 1).unwrap_or(1);
            let other = usize::try_from(self.next() % bound).unwrap_or(0);
            order.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_and_repeat_with_the_seed() {
        let mut orders = Vec::new();
        for _ in 0..2 {
            let mut draw = Draw(1);
            let mut order: Vec<usize> = (0..9).collect();
            draw.shuffle(&mut order);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>());
            orders.push(order);
        }
        assert_eq!(orders[0], orders[1]);
        assert_ne!(orders[0], (0..9).collect::<Vec<_>>());
    }
}
