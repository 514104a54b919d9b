//! Where environments are kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lakekeep_content::Store;
use lakekeep_environment::Digest;
use lakekeep_tree::TreeError;

use super::EnvironmentError;
use crate::images;

/// The store that images are in too.
pub fn store() -> Result<Store, EnvironmentError> {
    Ok(Store::open(&store_folder()?).map_err(TreeError::from)?)
}

/// Its folder: LAKEKEEP_STORE, or the caller's own. It is opened through no link, so the way to it
/// is resolved first.
pub fn store_folder() -> Result<PathBuf, EnvironmentError> {
    let folder = images::place(None)?;
    let failed = |error| EnvironmentError::Place {
        path: folder.clone(),
        error,
    };
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    };
    std::fs::create_dir_all(above).map_err(failed)?;
    let real = std::fs::canonicalize(above).map_err(failed)?;
    Ok(real.join(name))
}

/// What files hashed to at the last capture.
pub fn stat_cache() -> Result<PathBuf, EnvironmentError> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("lakekeep/environments.stat"))
}

/// The same of environments that were built.
pub fn built_stat_cache() -> Result<PathBuf, EnvironmentError> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("lakekeep/built.stat"))
}

/// Where builds work.
pub fn builds() -> Result<PathBuf, EnvironmentError> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("lakekeep/builds"))
}

/// Where builds of wheels alone keep them: a folder of this user's.
pub fn wheels() -> Result<PathBuf, EnvironmentError> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("lakekeep/uv"))
}

/// Where the name of an environment's twin with more bytecode is remembered.
pub fn compiled(digest: &Digest) -> Result<PathBuf, EnvironmentError> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join(format!("lakekeep/compiled/{digest}")))
}

/// The XDG Base Directory Specification: a variable that is not absolute is passed over.
fn base(variable: &str, beneath_home: &str) -> Result<PathBuf, EnvironmentError> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let own = std::env::var_os(variable).and_then(absolute);
    let home = || std::env::var_os("HOME").and_then(absolute);
    own.or_else(|| Some(home()?.join(beneath_home)))
        .ok_or(EnvironmentError::NoHome)
}

/// A path as it is, or the program of this name on PATH.
pub fn program(named: &Path) -> Result<PathBuf, EnvironmentError> {
    if named.components().count() > 1 {
        return Ok(named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(named))
        .find(|program| program.is_file())
        .ok_or_else(|| EnvironmentError::NoPython(named.to_owned()))
}
