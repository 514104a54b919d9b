//! An environment for a command: what is mounted, and what its interpreter must be told.

use std::path::Path;

use lakekeep_environment::{Digest, Manifest, drift};
use lakekeep_plan::Replica;
use lakekeep_tree::{Environment, Shown};

use super::{EnvironmentError, places, take};
use crate::args::environment::What;

/// A stored environment, pinned, and how a sandbox shows it.
#[derive(Debug)]
pub struct Served {
    pub replicas: Vec<Replica>,
    /// Folder of the interpreter, first on PATH.
    pub programs: String,
    /// Variables that the command has, unless it is given others.
    pub variables: Vec<(String, String)>,
    /// Keeps the folder while the sandbox lives.
    _environment: Environment,
}

/// Opens the environment. Where `python` is given, its environment now must be the same.
pub fn serve(digest: &Digest, python: Option<&Path>) -> Result<Served, EnvironmentError> {
    let store = places::store()?;
    let environment = lakekeep_tree::open(&store, digest)?;
    if let Some(python) = python {
        same(python, environment.manifest())?;
    }
    let shown = Shown::of(&environment);
    let replicas = shown.mounts.into_iter().map(|mount| Replica {
        source: mount.source.display().to_string(),
        target: mount.target.as_str().to_owned(),
        directory: mount.directory,
    });
    Ok(Served {
        replicas: replicas.collect(),
        programs: shown.programs,
        variables: shown.variables,
        _environment: environment,
    })
}

fn same(python: &Path, there: &Manifest) -> Result<(), EnvironmentError> {
    let what = What {
        python: python.to_owned(),
        modules: Vec::new(),
        include: Vec::new(),
    };
    let here = take::take(&what)?;
    let differences = drift(&here.captured.manifest, there);
    if differences.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(EnvironmentError::Drift {
        differences: told.join("; "),
        python: python.display().to_string(),
    })
}
