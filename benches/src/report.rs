//! The figures, for people and for programs.

use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::stats::Summary;

/// One line of the table, one object of the JSON array. What could not be
/// measured has `n` 0 and says why.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub scenario: &'static str,
    pub peer: &'static str,
    pub isolation: String,
    pub n: usize,
    pub median_us: Option<u64>,
    pub min_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub cpu_us: Option<u64>,
    /// Of the median to that of fork+exec in the same run.
    pub ratio: Option<f64>,
    /// Medians, of what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Figure {
    pub fn measured(
        scenario: &'static str,
        peer: &'static str,
        isolation: String,
        summary: &Summary,
        fork: Option<&Summary>,
    ) -> Self {
        Self {
            scenario,
            peer,
            isolation,
            n: summary.n,
            median_us: Some(summary.median),
            min_us: Some(summary.min),
            p99_us: Some(summary.p99),
            cpu_us: summary.cpu,
            ratio: fork.map(|fork| ratio(summary.median, fork.median)),
            memory_bytes: None,
            pss_bytes: None,
            note: String::new(),
            error: None,
        }
    }

    pub fn missing(scenario: &'static str, peer: &'static str, error: String) -> Self {
        Self {
            scenario,
            peer,
            isolation: String::new(),
            n: 0,
            median_us: None,
            min_us: None,
            p99_us: None,
            cpu_us: None,
            ratio: None,
            memory_bytes: None,
            pss_bytes: None,
            note: String::new(),
            error: Some(error),
        }
    }

    fn cells(&self) -> [String; 9] {
        let number =
            |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        [
            self.scenario.to_owned(),
            self.peer.to_owned(),
            self.n.to_string(),
            number(self.median_us),
            number(self.min_us),
            number(self.p99_us),
            number(self.cpu_us),
            self.ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}")),
            match &self.error {
                Some(error) => error.clone(),
                None => format!("{}{}", self.isolation, self.note),
            },
        ]
    }
}

/// To one decimal, so that text and JSON agree.
#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of a run are far below 2^52"
)]
fn ratio(median: u64, fork: u64) -> f64 {
    (median as f64 / fork.max(1) as f64 * 10.0).round() / 10.0
}

const HEAD: [&str; 9] = [
    "scenario",
    "peer",
    "n",
    "median_us",
    "min_us",
    "p99_us",
    "cpu_us",
    "ratio",
    "isolation",
];

/// Prints the table.
pub fn print(figures: &[Figure]) {
    print_table(
        &HEAD,
        &figures.iter().map(Figure::cells).collect::<Vec<_>>(),
        &[0, 1, 8],
    );
}

/// Prints aligned columns: those in `left` to the left, numbers to the right.
pub fn print_table<const N: usize>(head: &[&str; N], rows: &[[String; N]], left: &[usize]) {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in all() {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match left.contains(&column) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Writes the array.
pub fn write_json(path: &Path, figures: &[Figure]) -> Result<(), BenchError> {
    let mut text = serde_json::to_vec_pretty(figures)?;
    text.push(b'\n');
    std::fs::write(path, text).map_err(BenchError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_the_promised_fields() {
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
        let figure = Figure::measured("embedded", "crun", "7ns".to_owned(), &summary, Some(&fork));
        let value = serde_json::to_value(figure).unwrap();
        let wanted = serde_json::json!({
            "scenario": "embedded", "peer": "crun", "isolation": "7ns", "n": 3,
            "median_us": 25, "min_us": 1, "p99_us": 40, "cpu_us": 9, "ratio": 2.5,
        });
        assert_eq!(value, wanted);
    }
}
