//! The host's side of the attacks: files, sockets and IPC objects to be reached.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::case::SECRET_VARIABLE;

/// A running bait. It removes what it made, but not its directory, when dropped.
#[derive(Debug)]
pub struct Bait {
    child: Child,
    facts: Vec<(String, String)>,
}

impl Bait {
    /// Starts the bait below `base`, which every user must be able to enter.
    ///
    /// # Errors
    /// When the program cannot be run, or says that it could not set up.
    pub fn start(binary: &Path, base: &Path) -> io::Result<Self> {
        let mut child = Command::new(binary)
            .arg("--bait")
            .arg(format!("base={}", base.display()))
            .env(SECRET_VARIABLE, "bait")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let facts = read_facts(&mut child)?;
        Ok(Self { child, facts })
    }

    /// What it made, as `key=value` arguments of the cases.
    #[must_use]
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn read_facts(child: &mut Child) -> io::Result<Vec<(String, String)>> {
    let Some(stdout) = child.stdout.take() else {
        return Err(io::Error::other("the bait has no stdout"));
    };
    let mut facts = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line == "ready" {
            return Ok(facts);
        }
        if let Some((key, value)) = line.split_once('=') {
            facts.push((key.to_owned(), value.to_owned()));
        }
    }
    let mut why = String::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_string(&mut why)?;
    }
    child.wait()?;
    Err(io::Error::other(format!(
        "the bait is not ready: {}",
        why.trim()
    )))
}

impl Drop for Bait {
    fn drop(&mut self) {
        // Its stdin ends, and with it the bait: it removes its IPC objects itself.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the bait was not reaped: {error}");
        }
    }
}
