//! Where the dynamic loader finds a library (ld.so(8)): the folders that the needing file
//! names, then those of /etc/ld.so.conf, then the system's. `LD_LIBRARY_PATH` is not heeded:
//! a sandbox has none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::{Stamp, StatCache};
use crate::elf::Needs;
use crate::hash::{self, Facts, Kind};

/// Folders, a file for each package that brings some.
const CONFIGURATION: &str = "/etc/ld.so.conf.d";
/// The system's own folders, as glibc has them built in.
const SYSTEM: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Most libraries that are followed.
const MAX_LIBRARIES: usize = 4096;

/// A library from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) soname: String,
    pub(crate) digest: [u8; 32],
    pub(crate) size: u64,
}

/// What was looked up.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    /// By their real paths.
    pub(crate) outside: BTreeMap<PathBuf, Found>,
    /// Names that no folder has.
    pub(crate) missing: BTreeSet<String>,
}

/// A file at a real path that a loader can load.
#[derive(Clone, Debug)]
struct Loadable {
    path: PathBuf,
    digest: [u8; 32],
    size: u64,
    needs: Needs,
}

/// What belongs to the environment, and what may not look elsewhere.
pub(crate) struct Reach<'a> {
    /// Whether a real path is in the environment.
    pub(crate) inside: &'a dyn Fn(&Path) -> bool,
    /// Whether the folders that a file itself names are looked into only within the environment.
    pub(crate) confined: &'a dyn Fn(&Path) -> bool,
}

/// Looks libraries up.
pub(crate) struct Loader<'a> {
    system: Vec<PathBuf>,
    cache: &'a mut StatCache,
    began: SystemTime,
    looked_at: HashMap<PathBuf, Option<Loadable>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(cache: &'a mut StatCache, began: SystemTime) -> Loader<'a> {
        Loader {
            system: folders(),
            cache,
            began,
            looked_at: HashMap::new(),
        }
    }

    /// Looks up everything that `files` need and that is not in the environment, and what that
    /// needs.
    pub(crate) fn libraries(
        &mut self,
        files: Vec<(PathBuf, Needs)>,
        reach: &Reach<'_>,
    ) -> Libraries {
        // A name that some file of the environment has is loaded before it is needed.
        let name = |(path, _): &(PathBuf, Needs)| Some(path.file_name()?.to_str()?.to_owned());
        let provided: BTreeSet<String> = files.iter().filter_map(name).collect();
        let mut found = Libraries::default();
        let mut seen = BTreeSet::new();
        let mut todo = files;
        while let Some((user, needs)) = todo.pop() {
            let origin = user.parent().unwrap_or(Path::new("/")).to_owned();
            for name in &needs.needed {
                let new = seen.insert((name.clone(), origin.clone()));
                if !new || name.contains('/') || found.outside.len() >= MAX_LIBRARIES {
                    continue;
                }
                let own = own_folders(&user, &origin, &needs, reach);
                let Some(library) = self.look_up(name, own, &needs) else {
                    if !provided.contains(name) {
                        found.missing.insert(name.clone());
                    }
                    continue;
                };
                if (reach.inside)(&library.path) || found.outside.contains_key(&library.path) {
                    continue;
                }
                todo.push((library.path.clone(), library.needs));
                let entry = Found {
                    soname: name.clone(),
                    digest: library.digest,
                    size: library.size,
                };
                found.outside.insert(library.path, entry);
            }
        }
        found
    }

    /// The first that is there and for the same machine.
    fn look_up(&mut self, name: &str, own: Vec<PathBuf>, user: &Needs) -> Option<Loadable> {
        let folders: Vec<PathBuf> = own.into_iter().chain(self.system.clone()).collect();
        folders.iter().find_map(|folder| {
            let library = self.look_at(folder.join(name))?;
            (library.needs.machine == user.machine).then_some(library)
        })
    }

    fn look_at(&mut self, path: PathBuf) -> Option<Loadable> {
        if let Some(known) = self.looked_at.get(&path) {
            return known.clone();
        }
        let library = self.read(&path);
        self.looked_at.insert(path, library.clone());
        library
    }

    /// One that cannot be read is none to the loader either.
    fn read(&mut self, path: &Path) -> Option<Loadable> {
        let path = std::fs::canonicalize(path).ok()?;
        let stamp = Stamp::of(&metadata(&path).ok()?);
        let (stamp, facts) = match self.cache.get(stamp, false) {
            Some(facts) => (stamp, facts),
            None => {
                let (stamp, facts): (Stamp, Facts) = hash::single(&path).ok()?;
                self.cache.put((stamp, false), facts.clone(), self.began);
                (stamp, facts)
            }
        };
        match facts.kind {
            Kind::Elf(needs) => Some(Loadable {
                path,
                digest: facts.digest,
                size: stamp.size(),
                needs,
            }),
            _ => None,
        }
    }
}

/// The folders that a file names itself.
fn own_folders(user: &Path, origin: &Path, needs: &Needs, reach: &Reach<'_>) -> Vec<PathBuf> {
    let own = needs.search.iter().map(|folder| expanded(folder, origin));
    match (reach.confined)(user) {
        false => own.collect(),
        true => own
            .filter_map(|folder| std::fs::canonicalize(folder).ok())
            .filter(|folder| (reach.inside)(folder))
            .collect(),
    }
}

fn expanded(folder: &str, origin: &Path) -> PathBuf {
    let origin = origin.to_string_lossy();
    let text = folder
        .replace("${ORIGIN}", &origin)
        .replace("$ORIGIN", &origin);
    PathBuf::from(text)
}

/// The folders of ld.so.conf(5)'s included files, sorted by file as the loader's cache is
/// made, then the system's.
fn folders() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(CONFIGURATION)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    files.sort();
    let mut folders = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        folders.extend(
            lines
                .filter(|line| line.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    folders.extend(SYSTEM.map(PathBuf::from));
    folders
}
