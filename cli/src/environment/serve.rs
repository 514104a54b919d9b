//! An environment for a command: what is mounted, and what its interpreter must be told.

use std::path::Path;

use lakekeep_environment::{Digest, Library, Manifest, drift};
use lakekeep_plan::Replica;
use lakekeep_tree::Environment;

use super::{EnvironmentError, places, take};
use crate::args::environment::What;

/// Where shared libraries are shown that the host has not or has others of.
const LIBRARIES: &str = "/opt/lakekeep/lib";

/// Parts of the C library: the loader of the image and they are one, so the image's are used.
const C_LIBRARY: [&str; 10] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libanl.so.1",
    "libcrypt.so.1",
    "libnsl.so.1",
];

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
    let mut replicas: Vec<Replica> = environment
        .mounts()
        .into_iter()
        .map(|mount| Replica {
            source: mount.source.display().to_string(),
            target: mount.target.as_str().to_owned(),
            directory: mount.directory,
        })
        .collect();
    let manifest = environment.manifest();
    let mut variables = Vec::new();
    let added = manifest.paths().iter().filter(|path| path.added);
    let added: Vec<&str> = added.map(|path| path.path.as_str()).collect();
    if !added.is_empty() {
        variables.push(("PYTHONPATH".to_owned(), added.join(":")));
    }
    if manifest.libraries().iter().any(is_another) {
        replicas.push(Replica {
            source: environment.libraries().display().to_string(),
            target: LIBRARIES.to_owned(),
            directory: true,
        });
        variables.push(("LD_LIBRARY_PATH".to_owned(), LIBRARIES.to_owned()));
    }
    let executable = manifest.interpreter().executable.as_path();
    let programs = executable.parent().unwrap_or(Path::new("/"));
    Ok(Served {
        replicas,
        programs: programs.display().to_string(),
        variables,
        _environment: environment,
    })
}

/// Whether this host's file is not the one that was captured.
fn is_another(library: &Library) -> bool {
    if C_LIBRARY.contains(&library.soname.as_str()) || library.soname.starts_with("ld-linux") {
        return false;
    }
    match std::fs::read(library.path.as_path()) {
        Ok(content) => Digest::of(&content) != library.file.digest,
        Err(_) => true,
    }
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
