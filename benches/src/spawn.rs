//! `spawn`: a cold run of a static program to its end, peer by peer.

use std::process::ExitCode;

use crate::args::SpawnArgs;
use crate::chain;
use crate::error::BenchError;
use crate::ground::Ground;
use crate::isolation;
use crate::machine::{self, Machine};
use crate::measure::Sample;
use crate::peers::{Manager, Name, Peer};
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, LeftOut, Report};
use crate::stats::Summary;

/// Runs of each peer before those that count: caches of files and of the kernel.
const WARM_UP: u32 = 3;

/// A peer in the run.
#[derive(Debug)]
struct Entrant {
    name: Name,
    isolation: String,
    /// Why it is not, or no longer, measured.
    peer: Result<Peer, BenchError>,
    samples: Vec<Sample>,
}

/// Measures and reports. The exit code is 1 when a peer failed; one that is not
/// installed, or that cannot run here at all, is only reported.
pub fn run(arguments: &SpawnArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let machine = Machine::look();
    let load_before = machine::load();
    let mut entrants = enter(arguments, &ground);
    let placed = rounds(arguments, &ground, &mut entrants);
    let about = Circumstances {
        machine,
        load_before,
        load_after: machine::load(),
        seed: arguments.seed,
        versions: versions(&entrants),
    };
    let report = report(&entrants);
    report.publish(&head(&about), arguments.json.json.as_deref())?;
    if let Some(top) = &arguments.raw {
        let folder = raw::folder(top, &about.machine)?;
        raw::write(&folder, "spawn", &placed, &about)?;
        report.write_json(&folder.join("spawn.json"))?;
        eprintln!("raw samples: {}", folder.display());
    }
    let failed = entrants.iter().any(Entrant::has_failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// Finds the peers, looks at what each isolates, and warms it up.
fn enter(arguments: &SpawnArgs, ground: &Ground) -> Vec<Entrant> {
    let names = Name::ALL.into_iter().filter(|name| arguments.wants(*name));
    let manager = Manager::default();
    names
        .map(|name| {
            let peer = Peer::new(name, ground, &arguments.programs, arguments.user, &manager);
            let mut entrant = Entrant {
                name,
                isolation: String::new(),
                peer,
                samples: Vec::new(),
            };
            let found = entrant.attempt(0, |peer| isolation::of(peer, ground, 0));
            entrant.isolation = found.unwrap_or_default();
            for serial in 1..=WARM_UP {
                entrant.sample(ground, serial);
            }
            entrant.samples.clear();
            if let Err(error) = &entrant.peer
                && error.is_absence()
            {
                eprintln!("absent: {}: {}", name.as_str(), chain(error));
            }
            entrant
        })
        .collect()
}

/// Runs every peer once a round, in an order drawn anew each time.
fn rounds(arguments: &SpawnArgs, ground: &Ground, entrants: &mut [Entrant]) -> Vec<Placed> {
    let mut draw = Draw(arguments.seed);
    let mut order: Vec<usize> = (0..entrants.len()).collect();
    let mut placed = Vec::new();
    for round in 0..arguments.n {
        draw.shuffle(&mut order);
        for (position, index) in order.iter().enumerate() {
            let Some(entrant) = entrants.get_mut(*index) else {
                continue;
            };
            if let Some(sample) = entrant.sample(ground, WARM_UP + 1 + round) {
                placed.push(Placed {
                    round,
                    position,
                    peer: entrant.name.as_str().to_owned(),
                    sample,
                });
            }
        }
        progress(round + 1, arguments.n);
    }
    placed
}

impl Entrant {
    /// Runs it once; a failure is kept and ends its part.
    fn sample(&mut self, ground: &Ground, serial: u32) -> Option<Sample> {
        let sample = self.attempt(serial, |peer| peer.sample(ground, serial))?;
        self.samples.push(sample);
        Some(sample)
    }

    /// Somebody else's program that cannot run here at all fails nothing.
    fn has_failed(&self) -> bool {
        let foreign = !self.name.is_ours() && self.samples.is_empty();
        self.peer
            .as_ref()
            .is_err_and(|error| !error.is_absence() && !foreign)
    }

    fn attempt<T>(
        &mut self,
        serial: u32,
        run: impl FnOnce(&Peer) -> Result<T, BenchError>,
    ) -> Option<T> {
        let peer = self.peer.as_ref().ok()?;
        match run(peer) {
            Ok(found) => Some(found),
            Err(error) => {
                peer.clean_up(serial);
                self.peer = Err(error);
                None
            }
        }
    }
}

/// Those without figures are left out; those that are absent have been named.
fn report(entrants: &[Entrant]) -> Report {
    let summary = |entrant: &Entrant| Summary::of(&entrant.samples);
    let fork = entrants
        .iter()
        .find(|entrant| entrant.name == Name::Fork)
        .and_then(summary);
    let mut report = Report::default();
    for entrant in entrants {
        let (scenario, peer) = (entrant.name.scenario(), entrant.name.as_str());
        match (&entrant.peer, summary(entrant)) {
            (Err(error), _) if error.is_absence() => {}
            (Err(error), _) => report.left_out.push(LeftOut {
                scenario: scenario.to_owned(),
                peer,
                reason: chain(error),
            }),
            (Ok(_), Some(summary)) => {
                let isolation = entrant.isolation.clone();
                let figure = Figure::measured(scenario, peer, isolation, &summary, fork.as_ref());
                report.figures.push(figure);
            }
            // There is a round at least.
            (Ok(_), None) => {}
        }
    }
    report
}

fn versions(entrants: &[Entrant]) -> Vec<(&'static str, String)> {
    let peers = entrants
        .iter()
        .filter_map(|entrant| entrant.peer.as_ref().ok());
    peers
        .map(|peer| (peer.name.as_str(), peer.version()))
        .collect()
}

fn head(about: &Circumstances) -> String {
    let Machine {
        kernel,
        cpu,
        cores,
        cgroups,
        ..
    } = &about.machine;
    let (before, after) = (&about.load_before, &about.load_after);
    format!(
        "{cpu}, {cores} cores, Linux {kernel}, cgroups {cgroups}\n\
         load average before {before}, after {after}\n\n"
    )
}

fn progress(done: u32, all: u32) {
    if rustix::termios::isatty(rustix::stdio::stderr()) {
        let end = if done == all { "\n" } else { "" };
        eprint!("\rround {done} of {all}{end}");
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
