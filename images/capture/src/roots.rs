//! Which folders and files an environment consists of.

use std::path::{Path, PathBuf};

use lakekeep_environment::{Rejection, check_root};
use lakekeep_policy::GuestPath;

use crate::ask::Answer;
use crate::built::{self, Built};
use crate::error::CaptureError;

/// The places of an environment, by their real paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Folders, none within another.
    pub(crate) trees: Vec<PathBuf>,
    /// Files outside of these folders.
    pub(crate) files: Vec<PathBuf>,
    /// Folders within the trees that are left out.
    pub(crate) without: Vec<PathBuf>,
}

impl Roots {
    /// Whether a real path belongs to the environment.
    pub(crate) fn hold(&self, path: &Path) -> bool {
        let within = |list: &[PathBuf]| list.iter().any(|root| path.starts_with(root));
        (within(&self.trees) && !within(&self.without))
            || self.files.iter().any(|file| file == path)
    }
}

/// In this order:
///
/// 1. the prefix and the base prefix, where they are Python's alone (a virtual environment,
///    pyenv, conda); of those in /usr the standard library;
/// 2. what is on `sys.path`, what finders of editable installations lead to, `more`;
/// 3. the executable, if it is in none of these.
///
/// Site packages of the base that are not on `sys.path` are left out: a virtual environment
/// does not see them.
pub(crate) fn roots(
    answer: &Answer,
    more: &[&PathBuf],
    built: Option<&Built>,
) -> Result<Roots, CaptureError> {
    let mut folders = Vec::new();
    for prefix in [&answer.prefix, &answer.base_prefix] {
        let prefix = real(prefix)?;
        match prefix.starts_with("/usr") || checked(&prefix, built).is_err() {
            true => folders.push(real(&answer.stdlib)?),
            false => folders.push(prefix),
        }
    }
    let mut files = Vec::new();
    let there = answer.path.iter().chain(&answer.mapped);
    // An entry of sys.path that is not there is passed over by the interpreter, too.
    let mut found = Vec::new();
    for place in there {
        if let Ok(real) = std::fs::canonicalize(place) {
            built::stays(built, place, &real)?;
            found.push(real);
        }
    }
    let asked: Result<Vec<PathBuf>, _> = more.iter().map(|place| real(place)).collect();
    for place in found.into_iter().chain(asked?) {
        match place.is_dir() {
            true => folders.push(place),
            false => files.push(place),
        }
    }
    let executable = real(&answer.executable)?;
    built::stays(built, &answer.executable, &executable)?;
    files.push(executable);
    let mut roots = apart(folders, files, built)?;
    roots.without = unseen(answer, &roots)?;
    Ok(roots)
}

/// Drops what is within another; the rest must be in allowed places.
fn apart(
    mut folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    built: Option<&Built>,
) -> Result<Roots, CaptureError> {
    folders.sort();
    let mut roots = Roots::default();
    for folder in folders {
        if roots
            .trees
            .last()
            .is_none_or(|last| !folder.starts_with(last))
        {
            roots.trees.push(folder);
        }
    }
    for file in files {
        if !roots.hold(&file) {
            roots.files.push(file);
        }
    }
    for place in roots.trees.iter().chain(&roots.files) {
        checked(place, built).map_err(|rejection| CaptureError::Root {
            path: place.clone(),
            rejection,
        })?;
    }
    Ok(roots)
}

fn checked(place: &Path, built: Option<&Built>) -> Result<(), Rejection> {
    let place = built::shown(built, place);
    let text = place.to_str().unwrap_or_default();
    check_root(&GuestPath::new(text)?)
}

fn unseen(answer: &Answer, roots: &Roots) -> Result<Vec<PathBuf>, CaptureError> {
    let stdlib = real(&answer.stdlib)?;
    let names = ["site-packages", "dist-packages"];
    let folders = names.iter().map(|name| stdlib.join(name));
    let seen = |folder: &PathBuf| {
        let entries = answer
            .path
            .iter()
            .filter_map(|entry| std::fs::canonicalize(entry).ok());
        entries.into_iter().any(|entry| entry.starts_with(folder))
    };
    Ok(folders
        .filter(|folder| roots.hold(folder) && !seen(folder))
        .collect())
}

pub(crate) fn real(path: &Path) -> Result<PathBuf, CaptureError> {
    std::fs::canonicalize(path).map_err(CaptureError::unreadable(path))
}

/// The name itself, in its folder's real path: a link stays one.
pub(crate) fn named(path: &Path) -> Result<PathBuf, CaptureError> {
    let folder = real(path.parent().unwrap_or(Path::new("/")))?;
    Ok(path
        .file_name()
        .map_or(folder.clone(), |name| folder.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_is_within_another_is_dropped() {
        let folders = paths(&["/opt/a/lib", "/opt/a", "/opt/a-b", "/opt/a"]);
        let files = paths(&["/opt/a/bin/python", "/opt/c.zip"]);
        let roots = apart(folders, files, None).unwrap();
        assert_eq!(roots.trees, paths(&["/opt/a", "/opt/a-b"]));
        assert_eq!(roots.files, paths(&["/opt/c.zip"]));
    }

    #[test]
    fn the_systems_folders_are_refused() {
        for folder in ["/etc/x", "/home", "/", "/usr/share/x"] {
            let refused = apart(paths(&[folder]), Vec::new(), None);
            assert!(
                matches!(refused, Err(CaptureError::Root { .. })),
                "{folder}"
            );
        }
    }
}
