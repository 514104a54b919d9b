//! Environments that are in the store.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use lakekeep_content::{ContentError, Folder, Kind, Pin, Removed, Store};
use lakekeep_environment::{Digest, FileNode, MAX_MANIFEST_BYTES, Manifest};
use lakekeep_policy::GuestPath;
use rustix::fs::OFlags;

use crate::error::TreeError;
use crate::make::places;
use crate::place;

pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const TREES: &str = "trees";
pub(crate) const FILES: &str = "files";
pub(crate) const LIBRARIES: &str = "lib";

pub(crate) fn tree(number: usize) -> String {
    format!("{TREES}/{number}")
}

pub(crate) fn file(number: usize) -> String {
    format!("{FILES}/{number}")
}

pub(crate) fn library(soname: &str) -> String {
    format!("{LIBRARIES}/{soname}")
}

/// An environment that is there, and stays while this lives.
#[derive(Debug)]
pub struct Environment {
    folder: Folder,
    manifest: Manifest,
}

/// What is shown inside where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host, in the store.
    pub source: PathBuf,
    /// Inside: where on the client it was.
    pub target: GuestPath,
    /// A folder, or else a file.
    pub directory: bool,
}

impl Environment {
    pub(crate) fn new(folder: Folder, manifest: Manifest) -> Environment {
        Environment { folder, manifest }
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The lock that keeps it, without what is known of it.
    pub fn into_pin(self) -> Pin {
        self.folder.into_pin()
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.folder.root()
    }

    /// What is to be mounted, read-only. Shared libraries are not among it: see
    /// [`Environment::libraries`].
    pub fn mounts(&self) -> Vec<Mount> {
        let path = self.folder.path();
        let trees = self.manifest.trees().iter().enumerate();
        let files = self.manifest.files().iter().enumerate();
        let trees = trees.map(|(number, one)| Mount {
            source: path.join(tree(number)),
            target: one.root.clone(),
            directory: true,
        });
        let files = files.map(|(number, one)| Mount {
            source: path.join(file(number)),
            target: one.path.clone(),
            directory: false,
        });
        trees.chain(files).collect()
    }

    /// The folder of the shared libraries that came from outside of the trees.
    pub fn libraries(&self) -> PathBuf {
        self.folder.path().join(LIBRARIES)
    }

    /// Reads every file and compares it with the manifest.
    ///
    /// # Errors
    /// [`TreeError::Damaged`] with the first that differs.
    pub fn verify(&self) -> Result<(), TreeError> {
        for (path, file) in places(&self.manifest) {
            if !self.holds(&path, file)? {
                return Err(TreeError::Damaged {
                    digest: self.manifest.digest(),
                    path,
                });
            }
        }
        Ok(())
    }

    fn holds(&self, path: &str, node: &FileNode) -> Result<bool, TreeError> {
        let opened = place::open(self.root(), path, OFlags::RDONLY | OFlags::NONBLOCK);
        let Ok(file) = opened else { return Ok(false) };
        let file = std::fs::File::from(file);
        let mut hasher = blake3::Hasher::new();
        // One byte more than there should be would show.
        let content = file.take(node.size.saturating_add(1));
        let read = hasher
            .update_reader(content)
            .map(|hasher| hasher.finalize());
        let digest = read.map_err(|error| TreeError::Read {
            path: path.to_owned(),
            error,
        })?;
        Ok(hasher.count() == node.size && digest.as_bytes() == node.digest.as_bytes())
    }
}

/// The store's name for it.
pub(crate) fn key(digest: &Digest) -> Result<lakekeep_content::Digest, TreeError> {
    let parsed = format!("blake3:{digest}").parse();
    parsed.map_err(|_| TreeError::Absent { digest: *digest })
}

/// Opens and pins an environment. Its manifest is proven, its files are not: see
/// [`Environment::verify`].
///
/// # Errors
/// [`TreeError::Absent`], [`TreeError::Damaged`], or what the store says.
pub fn open(store: &Store, digest: &Digest) -> Result<Environment, TreeError> {
    read(store.folder(&key(digest)?), digest)
}

/// Pins an environment of which the caller knows the manifest from before: under a digest nothing
/// ever changes.
///
/// # Errors
/// [`TreeError::Absent`], or what the store says.
pub fn pin(store: &Store, digest: &Digest) -> Result<Pin, TreeError> {
    match store.pin(Kind::Folder, &key(digest)?) {
        Err(ContentError::Absent { .. }) => Err(TreeError::Absent { digest: *digest }),
        pinned => Ok(pinned?),
    }
}

/// As [`open`], and it does not count as used: for who looks at all of them.
///
/// # Errors
/// As [`open`].
pub fn look(store: &Store, digest: &Digest) -> Result<Environment, TreeError> {
    read(store.look_at_folder(&key(digest)?), digest)
}

fn read(folder: Result<Folder, ContentError>, digest: &Digest) -> Result<Environment, TreeError> {
    let folder = match folder {
        Err(ContentError::Absent { .. }) => return Err(TreeError::Absent { digest: *digest }),
        opened => opened?,
    };
    let damaged = || TreeError::Damaged {
        digest: *digest,
        path: MANIFEST.to_owned(),
    };
    let file = place::open(folder.root(), MANIFEST, OFlags::RDONLY | OFlags::NONBLOCK);
    let file = std::fs::File::from(file.map_err(|_| damaged())?);
    let mut text = Vec::new();
    let read = file
        .take(MAX_MANIFEST_BYTES as u64 + 1)
        .read_to_end(&mut text);
    read.map_err(|_| damaged())?;
    if Digest::of(&text) != *digest {
        return Err(damaged());
    }
    let manifest = Manifest::parse(&text)?;
    Ok(Environment::new(folder, manifest))
}

/// Every environment of the store, and when it was last used. Other folders, such as layers of
/// images, are passed over.
///
/// # Errors
/// What the store says.
pub fn list(store: &Store) -> Result<Vec<(Digest, SystemTime)>, TreeError> {
    let mut found = Vec::new();
    for stored in store.list(Kind::Folder)? {
        let Some(hex) = stored
            .digest
            .to_string()
            .strip_prefix("blake3:")
            .map(str::to_owned)
        else {
            continue;
        };
        if let Ok(digest) = hex.parse() {
            found.push((digest, stored.used));
        }
    }
    Ok(found)
}

/// Removes an environment that nobody uses. `false`: it was not there.
///
/// # Errors
/// [`ContentError::Busy`] where it is in use, or what the store says.
pub fn remove(store: &Store, digest: &Digest) -> Result<bool, TreeError> {
    let guard = store.collect()?;
    let removed = store.remove(Kind::Folder, &key(digest)?)?;
    drop(guard);
    match removed {
        Removed::Removed => Ok(true),
        Removed::Absent => Ok(false),
        Removed::InUse => Err(TreeError::Store(ContentError::Busy {
            what: format!("environment {digest}"),
        })),
    }
}
