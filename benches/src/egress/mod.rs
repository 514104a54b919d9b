//! `egress`: what leaves through the relay, beside a veth pair with nf_tables' masquerade.
//!
//! Both ways lead from a network namespace of their own through one host to one server, the last
//! hop included, so the figures differ by the way alone.

mod claim;
mod crowd;
mod relay;
mod server;
mod start;
mod traffic;
mod world;

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit};

use crate::args::EgressArgs;
use crate::chain;
use crate::error::BenchError;
use crate::machine::{self, Machine};
use crate::measure::Sample;
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, LeftOut, Report};
use crate::stats::Summary;

use crowd::Crowd;
use traffic::Traffic;
use world::World;

/// What was measured of one peer in one scenario.
struct Measured {
    scenario: String,
    peer: &'static str,
    samples: Vec<Sample>,
    /// Bytes that each sample moved, if that is what it did.
    bytes: Option<u64>,
    note: String,
    memory: Option<u64>,
}

impl Measured {
    /// Nothing yet.
    fn of(scenario: &str, peer: &'static str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            peer,
            samples: Vec::new(),
            bytes: None,
            note: String::new(),
            memory: None,
        }
    }
}

/// The way that is no measure of ours.
const VETH: &str = "veth+masquerade";
/// The relay's.
const RELAY: &str = "lakekeep-relay";

/// Measures and reports. The exit code is 1 when something failed.
pub fn run(arguments: &EgressArgs) -> Result<ExitCode, BenchError> {
    if !rustix::process::geteuid().is_root() {
        return Err(BenchError::NeedsRoot);
    }
    open_files();
    let machine = Machine::look();
    let load_before = machine::load();
    let mut all = Vec::new();
    let mut report = Report::default();
    let mut try_out = |name: &str, found: Result<Vec<Measured>, BenchError>| match found {
        Ok(found) => all.extend(found),
        Err(error) => report.left_out.push(LeftOut {
            scenario: name.to_owned(),
            peer: RELAY.to_owned(),
            concurrency: 1,
            reason: chain(&error),
        }),
    };
    if arguments.wants("start") {
        try_out("start", start::measure(arguments));
    }
    if arguments.wants("claim") {
        try_out("claim", claim::measure(arguments));
    }
    if arguments.wants("traffic") {
        let found = World::make().and_then(|world| Traffic::new(&world)?.measure(arguments));
        try_out("traffic", found);
    }
    if arguments.wants("crowd") {
        let found = World::make().and_then(|world| Crowd::gather(&world, arguments)?.measure());
        try_out("crowd", found);
    }
    report.figures = figures(&all);
    report.publish("", arguments.json.json.as_deref())?;
    let failed = !report.left_out.is_empty();
    if let Some(top) = &arguments.raw {
        let about = Circumstances {
            machine,
            load_before,
            load_after: machine::load(),
            seed: 0,
            versions: Vec::new(),
        };
        raw::keep(top, "egress", (&placed(&all), &report), &about)?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// As many as may be: a crowd's clients and servers are all this process's.
fn open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if rustix::process::setrlimit(Resource::Nofile, highest).is_err() {
        // A crowd that is too large for it is reported.
    }
}

/// The ratio of each is to the first peer of its scenario.
fn figures(all: &[Measured]) -> Vec<Figure> {
    let first = |scenario: &str| {
        let measure = all.iter().find(|one| one.scenario == scenario)?;
        Summary::of(&measure.samples)
    };
    let figure = |one: &Measured| {
        let summary = Summary::of(&one.samples)?;
        let rate = one.bytes.map(|bytes| gigabits(bytes, summary.median));
        let notes = [rate.unwrap_or_default(), one.note.clone()];
        let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
        let measure = first(&one.scenario);
        Some(Figure {
            note: notes.join("; "),
            memory_bytes: one.memory,
            ..Figure::measured(
                &one.scenario,
                one.peer,
                String::new(),
                &summary,
                measure.as_ref(),
            )
        })
    };
    all.iter().filter_map(figure).collect()
}

/// `bytes` in `micros`, in words.
fn gigabits(bytes: u64, micros: u64) -> String {
    let tenths = bytes * 8 / 100 / micros.max(1);
    format!("{}.{} Gbit/s", tenths / 10, tenths % 10)
}

fn placed(all: &[Measured]) -> Vec<Placed> {
    let of_one = |(position, one): (usize, &Measured)| {
        let peer = format!("{}/{}", one.scenario, one.peer);
        let samples = one.samples.iter().zip(0..);
        let placed = samples.map(move |(sample, round)| Placed {
            round,
            position,
            peer: peer.clone(),
            concurrency: 1,
            sample: *sample,
        });
        placed.collect::<Vec<Placed>>()
    };
    all.iter().enumerate().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_in_gigabits() {
        assert_eq!(gigabits(1_250_000_000, 1_000_000), "10.0 Gbit/s");
        assert_eq!(gigabits(1 << 20, 0), "8388.6 Gbit/s");
    }
}
