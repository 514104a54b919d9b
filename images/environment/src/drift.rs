//! What has changed between a captured environment and the client's present one.

use std::collections::BTreeMap;
use std::fmt;

use crate::manifest::{Distribution, FileNode, Manifest, Node};

/// One thing that differs. "Here" is the client now, "there" the captured environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another interpreter, or another version of it.
    Interpreter {
        /// Here.
        here: String,
        /// There.
        there: String,
    },
    /// A distribution of another version, or that is on one side alone.
    Distribution {
        /// Its name.
        name: String,
        /// Its version here, if it is installed.
        here: Option<String>,
        /// Its version in the environment, if it is in it.
        there: Option<String>,
    },
    /// `sys.path` differs.
    SearchPath,
    /// A shared library from outside of the trees is another, or is on one side alone.
    Library {
        /// Its name.
        soname: String,
    },
    /// Files that no distribution's version explains: working copies, local modules.
    Files {
        /// The first of them.
        first: String,
        /// How many there are.
        count: usize,
    },
}

/// Everything that differs: the interpreter, then distributions by name, then the rest.
///
/// Files are compared only if no distribution differs: they then say nothing new.
pub fn drift(here: &Manifest, there: &Manifest) -> Vec<Difference> {
    if here.digest() == there.digest() {
        return Vec::new();
    }
    let mut found: Vec<Difference> = interpreter(here, there).into_iter().collect();
    found.extend(distributions(here.distributions(), there.distributions()));
    if here.paths() != there.paths() {
        found.push(Difference::SearchPath);
    }
    if found.is_empty() {
        found.extend(files(here, there));
        found.extend(libraries(here, there));
    }
    found
}

fn interpreter(here: &Manifest, there: &Manifest) -> Option<Difference> {
    let told = |manifest: &Manifest| {
        let python = manifest.interpreter();
        format!(
            "{} {} ({}, {})",
            python.executable, python.version, python.soabi, python.libc
        )
    };
    let (here_python, there_python) = (here.interpreter(), there.interpreter());
    (here_python != there_python).then(|| Difference::Interpreter {
        here: told(here),
        there: told(there),
    })
}

fn distributions(here: &[Distribution], there: &[Distribution]) -> Vec<Difference> {
    // The first of a name is the one that is imported.
    let by_name = |list: &[Distribution]| {
        let mut map = BTreeMap::new();
        for one in list {
            map.entry(one.name.clone()).or_insert(one.version.clone());
        }
        map
    };
    let (here, there) = (by_name(here), by_name(there));
    let mut names: Vec<&String> = here.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&String| here.get(*name) != there.get(*name);
    names
        .into_iter()
        .filter(differs)
        .map(|name| Difference::Distribution {
            name: name.clone(),
            here: here.get(name).cloned(),
            there: there.get(name).cloned(),
        })
        .collect()
}

/// By root and path beneath it; a single file is a root.
type Files<'a> = BTreeMap<(&'a str, &'a str), Found<'a>>;

#[derive(PartialEq)]
enum Found<'a> {
    Entry(&'a Node),
    Single(FileNode),
}

/// Bytecode is made of its source, and says nothing new: one side may have more of it.
fn is_bytecode(path: &str) -> bool {
    let folder = path.strip_suffix(".pyc").map_or(Some(path), |path| {
        path.rsplit_once('/').map(|(folder, _)| folder)
    });
    folder.is_some_and(|folder| folder == "__pycache__" || folder.ends_with("/__pycache__"))
}

fn all(manifest: &Manifest) -> Files<'_> {
    let mut files = Files::new();
    for tree in manifest.trees() {
        for entry in tree.entries.iter().filter(|it| !is_bytecode(&it.path)) {
            files.insert(
                (tree.root.as_str(), entry.path.as_str()),
                Found::Entry(&entry.node),
            );
        }
    }
    for one in manifest.files() {
        files.insert((one.path.as_str(), ""), Found::Single(one.file));
    }
    files
}

fn files(here: &Manifest, there: &Manifest) -> Option<Difference> {
    let (here, there) = (all(here), all(there));
    let mut changed: Vec<_> = here
        .iter()
        .filter(|(key, node)| there.get(*key) != Some(node))
        .map(|(key, _)| *key)
        .collect();
    changed.extend(there.keys().filter(|key| !here.contains_key(*key)));
    changed.sort_unstable();
    let (root, path) = changed.first()?;
    let slash = if path.is_empty() { "" } else { "/" };
    Some(Difference::Files {
        first: format!("{root}{slash}{path}"),
        count: changed.len(),
    })
}

fn libraries(here: &Manifest, there: &Manifest) -> Vec<Difference> {
    let by_name = |manifest: &Manifest| -> BTreeMap<String, FileNode> {
        let libraries = manifest.libraries().iter();
        libraries
            .map(|one| (one.soname.clone(), one.file))
            .collect()
    };
    let (here, there) = (by_name(here), by_name(there));
    let mut names: Vec<&String> = here.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| here.get(*name) != there.get(*name));
    names
        .into_iter()
        .map(|soname| Difference::Library {
            soname: soname.clone(),
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Interpreter { here, there } => {
                write!(f, "Python {here} in the client, {there} in the environment")
            }
            Difference::Distribution { name, here, there } => {
                let or = |version: &Option<String>| version.clone().unwrap_or("none".to_owned());
                write!(
                    f,
                    "{name} {} in the client, {} in the environment",
                    or(here),
                    or(there)
                )
            }
            Difference::Library { soname } => write!(f, "the library {soname} is another"),
            Difference::SearchPath => write!(f, "sys.path is another"),
            Difference::Files { first, count: 1 } => write!(f, "{first} is another"),
            Difference::Files { first, count } => {
                write!(f, "{first} and {} more files are others", count - 1)
            }
        }
    }
}
