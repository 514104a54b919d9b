//! What rules cost a sandbox's start: the whole of it, cold, with and without; and the parts of
//! that which a sandbox made ahead would pay, by themselves.

use std::process::Command;
use std::time::Instant;

use super::relay::{Relay, beside};
use super::world::{capture, namespace};
use super::{Measured, RELAY};
use crate::args::EgressArgs;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::measure::{self, Sample};

/// Scenario and peer of each row.
const ROWS: [(&str, &str); 5] = [
    ("run", "lakekeep"),
    ("run", "lakekeep-egress"),
    ("network", "namespace"),
    ("network", "namespace+capture"),
    ("serve", RELAY),
];

/// All rounds; who is first in one is last in the next.
pub fn measure(arguments: &EgressArgs) -> Result<Vec<Measured>, BenchError> {
    let ground = Ground::make()?;
    let relay = Relay::start()?;
    let mut rows = ROWS.map(|(scenario, peer)| Measured::of(scenario, peer));
    for round in 0..arguments.n {
        let mut order = [0, 1, 2, 3, 4];
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let sample = match index {
                0 => cold(&ground, &[])?,
                1 => cold(&ground, &["--egress", "allow tls pypi.example:443"])?,
                2 => timed(|| namespace().map(drop))?,
                3 => timed(|| namespace().and_then(|made| capture(&made)).map(drop))?,
                _ => served(&relay)?,
            };
            if let Some(row) = rows.get_mut(index) {
                row.samples.push(sample);
            }
        }
    }
    Ok(rows.into())
}

fn cold(ground: &Ground, flags: &[&str]) -> Result<Sample, BenchError> {
    let mut run = Command::new(beside("lakekeep"));
    run.arg("run").arg("--image").arg(ground.root()).args(flags);
    run.arg("--").arg(ground.guest(Guest::True));
    measure::once(&mut run, ground)
}

fn timed(body: impl FnOnce() -> Result<(), BenchError>) -> Result<Sample, BenchError> {
    let began = Instant::now();
    body()?;
    Ok(Sample {
        wall: began.elapsed(),
        cpu: None,
    })
}

/// From handing a relay that runs the two sockets until it says that it serves.
fn served(relay: &Relay) -> Result<Sample, BenchError> {
    let captured = capture(&namespace()?)?;
    let sample = timed(|| relay.serve("start", &captured))?;
    relay.stop("start")?;
    Ok(sample)
}
