//! Whose Python runs a worker: the host's, of which the prefix is shown, or that of a captured
//! environment of the engine's user.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakekeep_content::{ContentError, Store};
use lakekeep_environment::{Digest, DigestError};
use lakekeep_plan::View;
use lakekeep_sandbox::Additions;
use lakekeep_tree::{Environment, TreeError};

/// What the worker itself imports.
const NEEDED: [&str; 2] = ["pyarrow", "cloudpickle"];

/// Why an environment cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// It is not called so.
    #[error("environment {given:?} is no digest; capture one: lakekeep env capture")]
    Name {
        /// What was asked for.
        given: String,
        /// What of it is wrong.
        #[source]
        error: DigestError,
    },
    /// This broker has no store.
    #[error(
        "where environments are kept cannot be told; set XDG_DATA_HOME or HOME to an absolute path"
    )]
    NoStore,
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] ContentError),
    /// It is not there, or is not what it says.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It has not what every worker imports.
    #[error(
        "the environment {} has no {module}, which every worker imports; run: {python} -m pip install {module}, and capture it again",
        short(.digest)
    )]
    Lacks {
        /// Which one.
        digest: Digest,
        /// The module.
        module: &'static str,
        /// The client's interpreter.
        python: String,
    },
}

/// Whether an environment has what every worker imports.
///
/// # Errors
/// `Lacks`.
pub fn check_fit(environment: &Environment) -> Result<(), EnvironmentError> {
    let manifest = environment.manifest();
    match NEEDED
        .into_iter()
        .find(|name| !environment.has_module(name))
    {
        None => Ok(()),
        Some(module) => Err(EnvironmentError::Lacks {
            digest: manifest.digest(),
            module,
            python: manifest.interpreter().executable.as_str().to_owned(),
        }),
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

/// An interpreter, and what a sandbox is shown for it.
#[derive(Debug)]
pub struct Base {
    interpreter: PathBuf,
    /// Of a captured environment; absent: the interpreter is a program of this host, which is
    /// shown with its prefix.
    view: Option<View>,
    /// Stays in the store for as long.
    pinned: Option<Arc<Environment>>,
}

impl Base {
    /// The environment of this digest, or else the host's interpreter.
    ///
    /// # Errors
    /// [`EnvironmentError`], before anything is made.
    pub fn find(
        interpreter: &Path,
        environment: Option<&str>,
        store: Option<&Path>,
    ) -> Result<Self, EnvironmentError> {
        let Some(given) = environment else {
            return Ok(Self {
                interpreter: interpreter.to_owned(),
                view: None,
                pinned: None,
            });
        };
        let digest: Digest = given.parse().map_err(|error| EnvironmentError::Name {
            given: given.to_owned(),
            error,
        })?;
        let store = Store::open(store.ok_or(EnvironmentError::NoStore)?)?;
        let pinned = lakekeep_tree::open(&store, &digest)?;
        check_fit(&pinned)?;
        let python = &pinned.manifest().interpreter().executable;
        Ok(Self {
            interpreter: python.as_path().to_owned(),
            view: Some(pinned.view()),
            pinned: Some(Arc::new(pinned)),
        })
    }

    /// What runs the worker, inside.
    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }

    /// What keeps a captured environment in its store, for who has a sandbox with it.
    pub fn pinned(&self) -> Option<Arc<Environment>> {
        self.pinned.clone()
    }

    /// How a captured environment is shown.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// What is added to the image for it.
    pub fn additions(&self) -> Additions<'_> {
        let own = self.view.is_none().then_some(self.interpreter.as_path());
        Additions {
            interpreter: own,
            view: self.view.as_ref(),
        }
    }
}
