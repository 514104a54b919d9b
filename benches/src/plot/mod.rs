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

/// The peers to whose medians the others' are related: one in each group of rows.
const MEASURES: [&str; 4] = ["fork+exec", "raw-socketpair", "duckdb", "polars"];

/// Between the group of a row and its peer, where there are groups.
pub const OF: char = '/';

/// A row of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub peer: String,
    pub concurrency: usize,
    /// Microseconds, ascending; never none.
    pub walls: Vec<u64>,
    /// Of the median to that of the group's measure at the same concurrency.
    pub ratio: Option<f64>,
}

impl Row {
    fn group(&self) -> &str {
        self.peer.split_once(OF).map_or("", |(group, _)| group)
    }

    /// The peer's name without its group.
    fn name(&self) -> &str {
        self.peer
            .split_once(OF)
            .map_or(self.peer.as_str(), |(_, name)| name)
    }

    fn is_measure(&self) -> bool {
        MEASURES.contains(&self.name())
    }

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

/// One row for each peer and concurrency: the fastest above, few workers before many, and
/// groups in the order in which they were measured.
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
    let mut groups: Vec<String> = Vec::new();
    for row in &rows {
        if !groups.iter().any(|group| group == row.group()) {
            groups.push(row.group().to_owned());
        }
    }
    let measures: Vec<Row> = rows
        .iter()
        .filter(|row| row.is_measure())
        .cloned()
        .collect();
    for row in &mut rows {
        let alike = |one: &&Row| one.concurrency == row.concurrency && one.group() == row.group();
        let measure = measures.iter().find(alike);
        row.ratio = measure.map(|one| report::ratio(row.percentile(50), one.percentile(50)));
    }
    let place = |row: &Row| groups.iter().position(|group| group == row.group());
    rows.sort_by_key(|row| (place(row), row.concurrency, row.percentile(50)));
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
            wall(MEASURES[0], 1, 10),
            wall(MEASURES[0], 8, 1000),
        ]);
        let row = |peer: &str, concurrency, walls: &[u64], ratio| Row {
            peer: peer.to_owned(),
            concurrency,
            walls: walls.to_vec(),
            ratio: Some(ratio),
        };
        let wanted = [
            row(MEASURES[0], 1, &[10], 1.0),
            row("crun", 1, &[100, 300], 10.0),
            row(MEASURES[0], 8, &[1000], 1.0),
            row("crun", 8, &[2000], 2.0),
        ];
        assert_eq!(rows, wanted);
    }

    #[test]
    fn groups_have_measures_of_their_own() {
        let rows = rows(vec![
            wall("duckdb/lakekeep", 1, 300),
            wall("duckdb/duckdb", 1, 200),
            wall("call-1-row/lakekeep", 1, 9),
            wall("call-1-row/raw-socketpair", 1, 10),
        ]);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.peer.as_str(), row.ratio))
            .collect();
        let wanted = [
            ("duckdb/duckdb", Some(1.0)),
            ("duckdb/lakekeep", Some(1.5)),
            ("call-1-row/lakekeep", Some(0.9)),
            ("call-1-row/raw-socketpair", Some(1.0)),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_caption_is_of_known_facts() {
        let machine = serde_json::json!({ "cpu": "CPU", "cores": 2, "kernel": "6.1" });
        assert_eq!(caption(&machine), "CPU, 2 cores, Linux 6.1");
        assert_eq!(caption(&Value::Null), "");
    }
}
