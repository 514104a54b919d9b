//! Samples that a run kept: its CSV file, and the facts beside it.

use std::path::Path;

use serde_json::Value;

use super::{Wall, caption};
use crate::error::BenchError;

/// Reads `<name>.csv`. Columns are found by name: files of before there were workers have
/// no `concurrency`.
pub fn read(path: &Path) -> Result<Vec<Wall>, BenchError> {
    let text = std::fs::read_to_string(path).map_err(BenchError::file("read", path))?;
    let walls = parse(&text).map_err(|(line, lacks)| BenchError::Samples {
        path: path.to_path_buf(),
        line,
        lacks,
    })?;
    match walls.is_empty() {
        false => Ok(walls),
        true => Err(BenchError::Samples {
            path: path.to_path_buf(),
            line: 2,
            lacks: "a sample",
        }),
    }
}

/// The samples; or the number of a line, and what it lacks.
fn parse(text: &str) -> Result<Vec<Wall>, (usize, &'static str)> {
    let mut lines = text.lines().zip(1..);
    let (head, _) = lines.next().ok_or((1, "a head"))?;
    let column = |name: &str| head.split(',').position(|column| column == name);
    let peer = column("peer").ok_or((1, "a column \"peer\""))?;
    let wall = column("wall_us").ok_or((1, "a column \"wall_us\""))?;
    let concurrency = column("concurrency");
    let sample = |(line, number): (&str, usize)| {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |index: usize| cells.get(index).copied();
        let many = match concurrency {
            Some(index) => cell(index).and_then(|cell| cell.parse().ok()),
            None => Some(1),
        };
        Ok(Wall {
            peer: cell(peer).ok_or((number, "a peer"))?.to_owned(),
            concurrency: many.ok_or((number, "a number of workers"))?,
            micros: cell(wall)
                .and_then(|cell| cell.parse().ok())
                .ok_or((number, "a wall time"))?,
        })
    };
    lines.map(sample).collect()
}

/// What stands in `<name>-machine.json` beside the file; nothing when it is not there.
pub fn facts(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().display();
    let about = std::fs::read(path.with_file_name(format!("{name}-machine.json")));
    let about: Option<Value> = about
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    about.map_or_else(String::new, |about| caption(&about["machine"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let old = "round,position,peer,wall_us,cpu_us\n0,0,crun,37200,31343\n";
        let new = "concurrency,wall_us,peer\n8,12,fork+exec\n";
        let wall = |peer: &str, concurrency, micros| Wall {
            peer: peer.to_owned(),
            concurrency,
            micros,
        };
        assert_eq!(parse(old), Ok(vec![wall("crun", 1, 37200)]));
        assert_eq!(parse(new), Ok(vec![wall("fork+exec", 8, 12)]));
    }

    #[test]
    fn what_is_no_sample_is_refused_with_its_line() {
        let refused = |text| parse(text).unwrap_err();
        assert_eq!(refused(""), (1, "a head"));
        assert_eq!(refused("peer,cpu_us\n"), (1, "a column \"wall_us\""));
        assert_eq!(refused("peer,wall_us\na,1\nb,x\n"), (3, "a wall time"));
    }
}
