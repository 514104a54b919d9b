//! An environment for a command: pinned, and as its sandbox shows it.

use std::path::Path;

use lakekeep_environment::{Digest, Manifest, drift};
use lakekeep_plan::View;
use lakekeep_tree::Environment;

use super::{EnvironmentError, places, take};
use crate::args::environment::What;

/// A stored environment, pinned, and how a sandbox shows it.
#[derive(Debug)]
pub struct Served {
    pub view: View,
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
    Ok(Served {
        view: environment.view(),
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
