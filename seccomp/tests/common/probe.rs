//! The program that installs filters on the real kernel, built by the C compiler at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lakekeep_seccomp::Program;

pub struct Probe {
    folder: PathBuf,
}

impl Probe {
    /// Builds it in a folder of its own. `Err` says why there can be none here.
    pub fn build(folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/probe.c");
        let built = Command::new("cc")
            .args(["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(folder.join("probe"))
            .arg(source)
            .output()
            .map_err(|error| format!("no C compiler: {error}"))?;
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// One line of answer for each line of `cases`.
    pub fn cases(&self, program: &Program, cases: &str) -> Vec<String> {
        let filter = self.write("filter", &program.to_bytes());
        let cases = self.write("cases", cases.as_bytes());
        self.run("cases", &[filter, cases])
    }

    /// Median nanoseconds of installing each.
    pub fn time(&self, rounds: usize, programs: &[&Program]) -> Vec<f64> {
        let write = |(index, program): (usize, &&Program)| {
            self.write(&format!("filter{index}"), &program.to_bytes())
        };
        let mut arguments = vec![PathBuf::from(rounds.to_string())];
        arguments.extend(programs.iter().enumerate().map(write));
        self.run("time", &arguments)
            .iter()
            .map(|line| line.parse().unwrap())
            .collect()
    }

    /// Whether `command` succeeds under the filter, and what it printed.
    pub fn exec(&self, program: &Program, command: &[&str]) -> (bool, String) {
        let filter = self.write("filter", &program.to_bytes());
        let output = Command::new(self.folder.join("probe"))
            .arg("exec")
            .arg(filter)
            .args(command)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, mode: &str, arguments: &[PathBuf]) -> Vec<String> {
        let output = Command::new(self.folder.join("probe"))
            .arg(mode)
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}
