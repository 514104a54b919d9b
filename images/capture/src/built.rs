//! Environments that strangers' packages had a hand in.
//!
//! A client's own environment is taken up as it is: its links, its search paths and the libraries
//! that it names lead where the client let them lead. In a folder that packages were installed into,
//! the same things are a stranger's wishes, and whoever captures can read more than that stranger:
//! a link to `~/.ssh/id_ed25519` would carry the key into the environment. So nothing of such a folder
//! leads out of it, but for its interpreter.

use std::path::{Path, PathBuf};

use lakekeep_policy::GuestPath;

use crate::error::CaptureError;

/// A folder that packages were installed into. Nothing writes in it any more.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its real path here.
    pub folder: PathBuf,
    /// The place for which it was made, which it has inside.
    pub place: GuestPath,
    /// The real path of the interpreter that it was made with.
    pub base: PathBuf,
}

impl Built {
    /// The path that a file of this host has inside.
    fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.folder) {
            Ok(rest) if rest.as_os_str().is_empty() => self.place.as_path().to_owned(),
            Ok(rest) => self.place.as_path().join(rest),
            Err(_) => path.to_owned(),
        }
    }

    fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.folder)
    }
}

/// The path that a file of this host has inside.
pub(crate) fn shown(built: Option<&Built>, path: &Path) -> PathBuf {
    built.map_or_else(|| path.to_owned(), |built| built.shown(path))
}

/// Whether a path is a stranger's.
pub(crate) fn is_built(built: Option<&Built>, path: &Path) -> bool {
    built.is_some_and(|built| built.holds(path))
}

/// Fails for a stranger's `path` that is really elsewhere.
pub(crate) fn stays(built: Option<&Built>, path: &Path, real: &Path) -> Result<(), CaptureError> {
    match built {
        Some(built) if built.holds(path) && !built.holds(real) && real != built.base => {
            Err(CaptureError::Leaves {
                path: built.shown(path),
                target: real.to_owned(),
            })
        }
        _ => Ok(()),
    }
}
