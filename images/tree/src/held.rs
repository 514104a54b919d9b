//! An environment of the store as the giver of another's contents.

use std::collections::HashMap;
use std::io::Read;

use lakekeep_environment::{Digest, FileNode};
use rustix::fs::OFlags;

use crate::make::{Contents, places};
use crate::place;
use crate::stored::Environment;

/// The contents of an environment, by digest.
#[derive(Debug)]
pub struct Held<'a> {
    environment: &'a Environment,
    paths: HashMap<Digest, String>,
}

impl Environment {
    /// What it has to give.
    #[must_use]
    pub fn held(&self) -> Held<'_> {
        let places = places(self.manifest()).into_iter();
        Held {
            environment: self,
            paths: places.map(|(path, file)| (file.digest, path)).collect(),
        }
    }
}

impl Contents for Held<'_> {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        let Some(path) = self.paths.get(&file.digest) else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = place::open(self.environment.root(), path, flags)?;
        Ok(Some(Box::new(std::fs::File::from(opened))))
    }
}
