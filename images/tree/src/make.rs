//! Making an environment's folder.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lakekeep_content::Store;
use lakekeep_environment::{FileNode, Manifest, Node};

use crate::error::TreeError;
use crate::neighbours::Neighbours;
use crate::place;
use crate::stored::{self, Environment};

/// Most environments that are looked through for contents that they share.
const NEIGHBOURS: usize = 4;
/// Most threads: beyond, the disk is the limit.
const MAX_THREADS: usize = 8;

/// Who gives the contents that a manifest names. What is given is not believed.
pub trait Contents: Sync {
    /// Opens one; `None`: it is not at hand.
    ///
    /// # Errors
    /// What the kernel says.
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>>;

    /// Where it is on the store's own file system, in a file that was proven and that nobody
    /// writes: it is linked then. `None`: it is opened, copied and proven.
    fn proven(&self, _file: &FileNode) -> Option<(BorrowedFd<'_>, String)> {
        None
    }
}

/// What making one cost.
#[derive(Debug)]
pub struct Made {
    /// The environment.
    pub environment: Environment,
    /// Files that were written; none if the environment was there.
    pub written: usize,
    /// Files that were there, proven: in other environments, or received before.
    pub linked: usize,
}

/// A file with its path in the folder.
type Place<'a> = (String, &'a FileNode);

/// Makes the folder of `manifest`, or finds it. It is pinned while the answer lives.
///
/// # Errors
/// A [`TreeError`]; nothing is stored then.
pub fn make(
    store: &Store,
    manifest: &Manifest,
    contents: &dyn Contents,
) -> Result<Made, TreeError> {
    match stored::open(store, &manifest.digest()) {
        Ok(environment) => {
            return Ok(Made {
                environment,
                written: 0,
                linked: 0,
            });
        }
        Err(TreeError::Absent { .. }) => {}
        Err(error) => return Err(error),
    }
    let guard = store.share()?;
    let staging = store.stage()?;
    let root = staging.root();
    skeleton(root, manifest)?;
    let neighbours = Neighbours::last_used(store, NEIGHBOURS)?;
    let (written, linked) = files(root, manifest, contents, &neighbours)?;
    drop(neighbours);
    let text = manifest.to_text();
    let node = FileNode {
        digest: manifest.digest(),
        size: text.len() as u64,
        executable: false,
    };
    place::file(root, stored::MANIFEST, &node, &mut text.as_bytes())?;
    let digest = stored::key(&manifest.digest())?;
    let folder = staging.commit(&digest)?;
    drop(guard);
    Ok(Made {
        environment: Environment::new(folder, manifest.clone()),
        written,
        linked,
    })
}

/// Folders and links, parents first: entries are sorted.
fn skeleton(root: BorrowedFd<'_>, manifest: &Manifest) -> Result<(), TreeError> {
    for top in [stored::TREES, stored::FILES, stored::LIBRARIES] {
        place::folder(root, top)?;
    }
    for (number, tree) in manifest.trees().iter().enumerate() {
        let top = stored::tree(number);
        place::folder(root, &top)?;
        for entry in &tree.entries {
            let path = format!("{top}/{}", entry.path);
            match &entry.node {
                Node::Directory => place::folder(root, &path)?,
                Node::Link(target) => place::link(root, &path, target)?,
                Node::File(_) => {}
            }
        }
    }
    Ok(())
}

/// All files with their paths in the folder. Of two libraries of one name the first is kept.
pub(crate) fn places(manifest: &Manifest) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for (number, tree) in manifest.trees().iter().enumerate() {
        let top = stored::tree(number);
        for entry in &tree.entries {
            if let Node::File(file) = &entry.node {
                places.push((format!("{top}/{}", entry.path), file));
            }
        }
    }
    for (number, one) in manifest.files().iter().enumerate() {
        places.push((stored::file(number), &one.file));
    }
    let mut names = BTreeSet::new();
    for library in manifest.libraries() {
        if names.insert(&library.soname) {
            places.push((stored::library(&library.soname), &library.file));
        }
    }
    places
}

/// Written and linked.
fn files(
    root: BorrowedFd<'_>,
    manifest: &Manifest,
    contents: &dyn Contents,
    neighbours: &Neighbours,
) -> Result<(usize, usize), TreeError> {
    let places = places(manifest);
    let next = AtomicUsize::new(0);
    let (written, linked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = places.get(index) else {
                return;
            };
            match one(root, place, contents, neighbours) {
                Ok(true) => linked.fetch_add(1, Ordering::Relaxed),
                Ok(false) => written.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    next.store(places.len(), Ordering::Relaxed);
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            };
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        for _ in 1..threads.min(MAX_THREADS) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok((written.into_inner(), linked.into_inner())),
    }
}

/// `true`: it was there, proven, and is linked.
fn one(
    root: BorrowedFd<'_>,
    (path, file): &Place<'_>,
    contents: &dyn Contents,
    neighbours: &Neighbours,
) -> Result<bool, TreeError> {
    if let Some(from) = neighbours.get(file)
        && place::hard_link(from, root, path)?
    {
        return Ok(true);
    }
    if let Some((folder, name)) = contents.proven(file)
        && place::hard_link((folder, &name), root, path)?
    {
        return Ok(true);
    }
    let opened = contents.open(file).map_err(|error| TreeError::Read {
        path: path.clone(),
        error,
    })?;
    let mut content = opened.ok_or_else(|| TreeError::NoContent { path: path.clone() })?;
    place::file(root, path, file, &mut content)?;
    Ok(false)
}
