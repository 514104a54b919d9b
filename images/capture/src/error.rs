//! Why an environment cannot be captured.

use std::path::PathBuf;

use lakekeep_environment::{ManifestError, Rejection};

/// Why there is no capture. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The interpreter does not start.
    #[error("the interpreter {python} cannot be started; name a Python that runs here")]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// It started, and did not answer as a Python of 3.8 or later does.
    #[error("{python} does not answer as Python does ({said}); name a Python of 3.8 or later")]
    NoPython {
        /// The interpreter.
        python: PathBuf,
        /// What it did instead.
        said: String,
    },
    /// It was started, and said nothing for long.
    #[error(
        "{python} does not answer in time; does its start wait for something (a .pth file, \
         sitecustomize, a network disk)?"
    )]
    Silent {
        /// The interpreter.
        python: PathBuf,
    },
    /// A folder of `sys.path`, or the prefix, is in a place that no environment may have.
    #[error(
        "{path} is on sys.path: {rejection}; {}",
        .rejection.remedy()
    )]
    Root {
        /// The folder.
        path: PathBuf,
        /// The rule.
        rejection: Rejection,
    },
    /// A file or folder that cannot be read.
    #[error("{path} cannot be read; make it readable, or remove it from sys.path")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A name that the manifest cannot hold.
    #[error("the name of {path:?} is not UTF-8; rename it")]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// In an environment that packages were installed into, something leads out of it.
    #[error(
        "{path} leads to {target}, which is not in the environment: a package reaches for files of \
         this host; do not install it"
    )]
    Leaves {
        /// Its path inside.
        path: PathBuf,
        /// Where it leads on this host.
        target: PathBuf,
    },
    /// In such an environment there is something else than files, folders and links.
    #[error("{path} is no file, folder or link; a package that makes such things is not taken up")]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// A file was written while it was read.
    #[error(
        "{path} changes while it is read; wait for the installation that writes it, then repeat"
    )]
    Changing {
        /// Which.
        path: PathBuf,
    },
    /// Too many files, or too large: refused before they are all read.
    #[error("more than {most} files beneath {root}; capture a virtual environment of its own")]
    TooMany {
        /// The folder.
        root: PathBuf,
        /// The bound.
        most: usize,
    },
    /// The stat cache cannot be written. The capture itself is whole.
    #[error("the stat cache {path} cannot be written; make its folder writable")]
    Cache {
        /// The cache.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A rule of the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl CaptureError {
    pub(crate) fn unreadable(path: &std::path::Path) -> impl Fn(std::io::Error) -> CaptureError {
        move |error| CaptureError::Unreadable {
            path: path.to_owned(),
            error,
        }
    }
}
