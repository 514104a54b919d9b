//! Distributions as a picture: of the run that ends, or of samples that were kept.

mod samples;
mod svg;

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::PlotArgs;
use crate::error::BenchError;
use crate::machine::Machine;
use crate::raw::Placed;
use crate::report;
use crate::stats::{micros, percentile};

/// The peer to whose median the others' are related.
const MEASURE: &str = "fork+exec";

/// A row of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub peer: String,
    pub concurrency: usize,
    /// Microseconds, ascending; never none.
    pub walls: Vec<u64>,
    /// Of the median to that of fork+exec at the same concurrency.
    pub ratio: Option<f64>,
}

impl Row {
    fn percentile(&self, percent: usize) -> u64 {
        percentile(&self.walls, percent).unwrap_or(0)
    }
}

/// `lakekeep-bench plot`
pub fn run(arguments: &PlotArgs) -> Result<ExitCode, BenchError> {
    let samples = samples::read(&arguments.raw)?;
    let facts = samples::facts(&arguments.raw);
    write(&arguments.svg, rows(samples), &facts)?;
    Ok(ExitCode::SUCCESS)
}

/// Draws a run's samples.
pub fn of_run(path: &Path, samples: &[Placed], machine: &Machine) -> Result<(), BenchError> {
    let samples = samples.iter().map(|placed| Wall {
        peer: placed.peer.clone(),
        concurrency: placed.concurrency,
        micros: micros(placed.sample.wall),
    });
    let machine = serde_json::to_value(machine)?;
    write(path, rows(samples.collect()), &caption(&machine))
}

/// One sample's wall time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wall {
    peer: String,
    concurrency: usize,
    micros: u64,
}

fn write(path: &Path, rows: Vec<Row>, caption: &str) -> Result<(), BenchError> {
    let text = svg::draw(&rows, caption)?;
    std::fs::write(path, text).map_err(BenchError::file("write", path))
}

/// `AMD EPYC, 2 cores, Linux 6.18`, of what was written about a machine.
fn caption(machine: &Value) -> String {
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    match machine["cores"].as_u64() {
        Some(cores) => format!("{}, {cores} cores, Linux {}", text("cpu"), text("kernel")),
        None => String::new(),
    }
}

/// One row for each peer and concurrency: the fastest above, few workers before many.
fn rows(samples: Vec<Wall>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for Wall {
        peer,
        concurrency,
        micros,
    } in samples
    {
        let known = rows
            .iter_mut()
            .find(|row| row.peer == peer && row.concurrency == concurrency);
        match known {
            Some(row) => row.walls.push(micros),
            None => rows.push(Row {
                peer,
                concurrency,
                walls: vec![micros],
                ratio: None,
            }),
        }
    }
    for row in &mut rows {
        row.walls.sort_unstable();
    }
    let measures: Vec<(usize, u64)> = rows
        .iter()
        .filter(|row| row.peer == MEASURE)
        .map(|row| (row.concurrency, row.percentile(50)))
        .collect();
    for row in &mut rows {
        let measure = measures.iter().find(|(many, _)| *many == row.concurrency);
        row.ratio = measure.map(|(_, fork)| report::ratio(row.percentile(50), *fork));
    }
    rows.sort_by_key(|row| (row.concurrency, row.percentile(50)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(peer: &str, concurrency: usize, micros: u64) -> Wall {
        Wall {
            peer: peer.to_owned(),
            concurrency,
            micros,
        }
    }

    #[test]
    fn peers_are_rows_with_a_ratio_of_their_own_concurrency() {
        let rows = rows(vec![
            wall("crun", 1, 300),
            wall("crun", 8, 2000),
            wall("crun", 1, 100),
            wall(MEASURE, 1, 10),
            wall(MEASURE, 8, 1000),
        ]);
        let row = |peer: &str, concurrency, walls: &[u64], ratio| Row {
            peer: peer.to_owned(),
            concurrency,
            walls: walls.to_vec(),
            ratio: Some(ratio),
        };
        let wanted = [
            row(MEASURE, 1, &[10], 1.0),
            row("crun", 1, &[100, 300], 10.0),
            row(MEASURE, 8, &[1000], 1.0),
            row("crun", 8, &[2000], 2.0),
        ];
        assert_eq!(rows, wanted);
    }

    #[test]
    fn a_caption_is_of_known_facts() {
        let machine = serde_json::json!({ "cpu": "CPU", "cores": 2, "kernel": "6.1" });
        assert_eq!(caption(&machine), "CPU, 2 cores, Linux 6.1");
        assert_eq!(caption(&Value::Null), "");
    }
}
