//! Every sample, kept with the facts of its machine.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::BenchError;
use crate::machine::{self, Machine};
use crate::measure::Sample;
use crate::report::Report;
use crate::stats::micros;

/// A sample and its place in the run.
#[derive(Debug, Clone)]
pub struct Placed {
    pub round: u32,
    pub position: usize,
    pub peer: String,
    /// How many ran it at the same moment.
    pub concurrency: usize,
    pub sample: Sample,
}

/// What the samples depend on.
#[derive(Debug, Serialize)]
pub struct Circumstances {
    pub machine: Machine,
    pub load_before: String,
    pub load_after: String,
    pub seed: u64,
    /// Peer and version.
    pub versions: Vec<(String, String)>,
}

impl Circumstances {
    /// What stands above a table.
    pub fn head(&self) -> String {
        let Machine {
            kernel,
            cpu,
            cores,
            cgroups,
            ..
        } = &self.machine;
        let (before, after) = (&self.load_before, &self.load_after);
        format!(
            "{cpu}, {cores} cores, Linux {kernel}, cgroups {cgroups}\n\
             load average before {before}, after {after}\n\n"
        )
    }
}

/// Keeps samples, figures and circumstances below `top`, and says where.
pub fn keep(
    top: &Path,
    name: &str,
    (samples, report): (&[Placed], &Report),
    about: &Circumstances,
) -> Result<(), BenchError> {
    let folder = folder(top, &about.machine)?;
    let name = &unused(&folder, name);
    write(&folder, name, samples, about)?;
    report.write_json(&folder.join(format!("{name}.json")))?;
    eprintln!("raw samples: {}/{name}.csv", folder.display());
    Ok(())
}

/// The name, with a number where an earlier run of the day has it.
fn unused(folder: &Path, name: &str) -> String {
    let is_free = |name: &String| !folder.join(format!("{name}.csv")).exists();
    let numbered = (2u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(is_free)
        .unwrap_or_else(|| name.to_owned())
}

/// Makes the run's folder below `top`: `<date>-<machine class>`.
fn folder(top: &Path, machine: &Machine) -> Result<PathBuf, BenchError> {
    let folder = top.join(format!("{}-{}", machine::date(), machine.class()));
    std::fs::create_dir_all(&folder).map_err(BenchError::file("mkdir", &folder))?;
    Ok(folder)
}

/// Writes `<name>.csv` and `<name>-machine.json`.
fn write(
    folder: &Path,
    name: &str,
    samples: &[Placed],
    about: &Circumstances,
) -> Result<(), BenchError> {
    let mut text = String::from("round,position,peer,wall_us,cpu_us,concurrency\n");
    for placed in samples {
        let Placed {
            round,
            position,
            peer,
            concurrency,
            sample,
        } = placed;
        let wall = micros(sample.wall);
        let cpu = sample.cpu.map(|cpu| micros(cpu).to_string());
        let cpu = cpu.unwrap_or_default();
        // Writing to a String does not fail.
        writeln!(text, "{round},{position},{peer},{wall},{cpu},{concurrency}").ok();
    }
    save(&folder.join(format!("{name}.csv")), text.as_bytes())?;
    let mut facts = serde_json::to_vec_pretty(about)?;
    facts.push(b'\n');
    save(&folder.join(format!("{name}-machine.json")), &facts)
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    std::fs::write(path, bytes).map_err(BenchError::file("write", path))
}
