//! How far something had come when it was killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of the store was changed yet.
    Before,
    /// A file or a tree was half there.
    Within,
    /// Of several things some were done.
    Between,
    /// It had ended by itself.
    Ended,
}

impl Stage {
    /// All, as they follow each other.
    pub const ALL: [Stage; 4] = [Stage::Before, Stage::Within, Stage::Between, Stage::Ended];

    /// From what was there before and after.
    pub fn of(going: bool, before: &Look, after: &Look) -> Stage {
        if !going {
            return Stage::Ended;
        }
        if after.unfinished != before.unfinished {
            return Stage::Within;
        }
        match after.finished == before.finished {
            true => Stage::Before,
            false => Stage::Between,
        }
    }
}

/// What is in some stores.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    finished: BTreeSet<PathBuf>,
    /// With the sizes of what grows.
    unfinished: BTreeSet<(PathBuf, u64)>,
}

impl Look {
    /// Looks at the stores in these folders, while nobody needs to rest.
    pub fn at(stores: &[PathBuf]) -> Look {
        let finished = [
            "blobs/sha256",
            "blobs/blake3",
            "folders/sha256",
            "folders/blake3",
        ];
        // What comes to a manager is beside its sender's store first.
        let unfinished = ["drafts", "partial", "../inbox"];
        let all = |names: &[&str]| -> Vec<PathBuf> {
            let folders = stores
                .iter()
                .flat_map(|store| names.iter().map(move |name| store.join(name)));
            folders.flat_map(|folder| entries(&folder)).collect()
        };
        let mut done: BTreeSet<PathBuf> = all(&finished).into_iter().collect();
        let spaces = all(&["names"]);
        done.extend(spaces.iter().flat_map(|space| entries(space)));
        let sized = |path: PathBuf| {
            let size = fs::symlink_metadata(&path).map_or(0, |found| found.len());
            (path, size)
        };
        Look {
            finished: done,
            unfinished: all(&unfinished).into_iter().map(sized).collect(),
        }
    }
}

/// What is in a folder, which may not be there yet.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten();
    found.map(|entry| entry.unwrap().path()).collect()
}
