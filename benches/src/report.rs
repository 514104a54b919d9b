//! The figures, for people and for programs.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::stats::Summary;

/// One line of the table, one object of the JSON array.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub scenario: String,
    pub peer: String,
    pub isolation: String,
    pub n: usize,
    pub median_us: u64,
    /// For people: programs have it from the samples.
    #[serde(skip)]
    pub min_us: u64,
    pub p99_us: u64,
    pub cpu_us: Option<u64>,
    /// Of the median to that of the measure in the same run, at the same concurrency.
    pub ratio: Option<f64>,
    /// How many ran it at the same moment.
    pub concurrency: usize,
    /// Medians, of what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Who has no figures, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub scenario: String,
    pub peer: String,
    pub concurrency: usize,
    pub reason: String,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    pub figures: Vec<Figure>,
    pub left_out: Vec<LeftOut>,
}

impl Figure {
    pub fn measured(
        scenario: &str,
        peer: &str,
        isolation: String,
        summary: &Summary,
        fork: Option<&Summary>,
    ) -> Self {
        Self {
            scenario: scenario.to_owned(),
            peer: peer.to_owned(),
            isolation,
            n: summary.n,
            median_us: summary.median,
            min_us: summary.min,
            p99_us: summary.p99,
            cpu_us: summary.cpu,
            ratio: fork.map(|fork| ratio(summary.median, fork.median)),
            concurrency: 1,
            memory_bytes: None,
            pss_bytes: None,
            note: String::new(),
        }
    }

    fn cells(&self) -> [String; 10] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            self.scenario.clone(),
            self.peer.clone(),
            self.concurrency.to_string(),
            self.n.to_string(),
            self.median_us.to_string(),
            self.min_us.to_string(),
            self.p99_us.to_string(),
            or_none(self.cpu_us.map(|cpu| cpu.to_string())),
            or_none(self.ratio.map(|ratio| format!("{ratio:?}"))),
            [self.isolation.as_str(), &self.note]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join("; "),
        ]
    }
}

/// Rounded, so that text and JSON agree: to one decimal, below ten to two.
#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of a run are far below 2^52"
)]
pub fn ratio(median: u64, fork: u64) -> f64 {
    let exact = median as f64 / fork.max(1) as f64;
    let parts = if exact < 10.0 { 100.0 } else { 10.0 };
    (exact * parts).round() / parts
}

const HEAD: [&str; 10] = [
    "scenario",
    "peer",
    "at once",
    "n",
    "median_us",
    "min_us",
    "p99_us",
    "cpu_us",
    "ratio",
    "isolation",
];

impl Report {
    /// Prints table and array: the one to standard error where the other is asked for on
    /// standard output.
    pub fn publish(&self, head: &str, json: Option<&Path>) -> Result<(), BenchError> {
        let text = format!("{head}{}", self.text());
        match json {
            Some(path) if path == Path::new("-") => {
                eprint!("{text}");
                let array = self.json()?;
                let written = std::io::stdout().write_all(&array);
                written.map_err(BenchError::io("write standard output"))
            }
            Some(path) => {
                print!("{text}");
                self.write_json(path)
            }
            None => {
                print!("{text}");
                Ok(())
            }
        }
    }

    /// Writes the array.
    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        std::fs::write(path, self.json()?).map_err(BenchError::file("write", path))
    }

    fn json(&self) -> Result<Vec<u8>, BenchError> {
        let mut text = serde_json::to_vec_pretty(&self.figures)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The table, and below it who is not in it.
    fn text(&self) -> String {
        let rows: Vec<_> = self.figures.iter().map(Figure::cells).collect();
        let mut text = table(&HEAD, &rows, &[0, 1, 9]);
        for (index, out) in self.left_out.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            let LeftOut {
                scenario,
                peer,
                concurrency,
                reason,
            } = out;
            let many = match concurrency {
                1 => String::new(),
                many => format!(", {many} at once"),
            };
            text.push_str(&format!(
                "{gap}left out: {peer} ({scenario}{many}): {reason}\n"
            ));
        }
        text
    }
}

/// Aligned columns: those in `left` to the left, numbers to the right.
pub fn table<const N: usize>(head: &[&str; N], rows: &[[String; N]], left: &[usize]) -> String {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match left.contains(&column) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let summary = Summary {
            n: 3,
            median: 25,
            min: 1,
            p99: 40,
            cpu: Some(9),
        };
        let fork = Summary {
            median: 10,
            ..summary
        };
        let isolation = "7ns".to_owned();
        Report {
            figures: vec![Figure::measured(
                "embedded",
                "crun",
                isolation,
                &summary,
                Some(&fork),
            )],
            left_out: vec![LeftOut {
                scenario: "embedded".to_owned(),
                peer: "podman".to_owned(),
                concurrency: 8,
                reason: "exit status: 126".to_owned(),
            }],
        }
    }

    #[test]
    fn json_is_an_array_of_the_promised_fields() {
        let array: serde_json::Value = serde_json::from_slice(&report().json().unwrap()).unwrap();
        let wanted = serde_json::json!([{
            "scenario": "embedded", "peer": "crun", "isolation": "7ns", "n": 3,
            "median_us": 25, "p99_us": 40, "cpu_us": 9, "ratio": 2.5, "concurrency": 1,
        }]);
        assert_eq!(array, wanted);
    }

    #[test]
    fn who_is_left_out_stands_below_the_table() {
        let text = report().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "scenario  peer  at once  n  median_us  min_us  p99_us  cpu_us  ratio  isolation",
                "embedded  crun        1  3         25       1      40       9    2.5  7ns",
                "",
                "left out: podman (embedded, 8 at once): exit status: 126",
            ]
        );
    }
}
