//! Which content is where among the environments of a store.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use lakekeep_content::{ContentError, Store};
use lakekeep_environment::{Digest, FileNode};
use rustix::fs::OFlags;

use crate::error::TreeError;
use crate::make::{Contents, places};
use crate::place;
use crate::stored::{self, Environment};

/// The contents of a stored environment, for who sends it.
#[derive(Debug)]
pub struct Held(Neighbours);

impl Held {
    /// Those of one.
    pub fn of(environment: Environment) -> Held {
        Held(Neighbours::one(environment))
    }
}

impl Contents for Held {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        self.0.open(file)
    }
}

/// Environments of one store, pinned, and where in them a content is.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    environments: Vec<Environment>,
    by_content: HashMap<Content, (usize, String)>,
}

/// Digest, length, permission. With the length: a manifest that gives a digest another length than its
/// content has must not be given that content.
type Content = (Digest, u64, bool);

fn content(file: &FileNode) -> Content {
    (file.digest, file.size, file.executable)
}

impl Neighbours {
    /// Those that were used last, `most` of them. One that is damaged or removed meanwhile
    /// gives nothing.
    pub(crate) fn last_used(store: &Store, most: usize) -> Result<Neighbours, TreeError> {
        let mut known = stored::list(store)?;
        known.sort_by(|(_, a), (_, b)| b.cmp(a));
        let mut found = Neighbours::default();
        for (digest, _) in known.into_iter().take(most) {
            match stored::look(store, &digest) {
                Ok(environment) => found.add(environment),
                Err(
                    TreeError::Absent { .. }
                    | TreeError::Damaged { .. }
                    | TreeError::Store(ContentError::Damaged { .. }),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// One alone.
    pub(crate) fn one(environment: Environment) -> Neighbours {
        let mut found = Neighbours::default();
        found.add(environment);
        found
    }

    fn add(&mut self, environment: Environment) {
        let number = self.environments.len();
        for (path, file) in places(environment.manifest()) {
            self.by_content
                .entry(content(file))
                .or_insert((number, path));
        }
        self.environments.push(environment);
    }

    /// Its folder, and the path in it.
    pub(crate) fn get(&self, file: &FileNode) -> Option<(BorrowedFd<'_>, &str)> {
        let (number, path) = self.by_content.get(&content(file))?;
        let environment = self.environments.get(*number)?;
        Some((environment.root(), path))
    }

    /// The same content with whatever permissions.
    pub(crate) fn find(&self, file: &FileNode) -> Option<(BorrowedFd<'_>, &str)> {
        self.get(file).or_else(|| {
            self.get(&FileNode {
                executable: !file.executable,
                ..*file
            })
        })
    }

    /// Opens a content, if one of them has it.
    pub(crate) fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        let Some((folder, path)) = self.find(file) else {
            return Ok(None);
        };
        let opened = place::open(folder, path, OFlags::RDONLY)?;
        Ok(Some(Box::new(File::from(opened))))
    }

    /// The environments.
    pub(crate) fn environments(&self) -> &[Environment] {
        &self.environments
    }
}
