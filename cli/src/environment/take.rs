//! Taking up the caller's environment.

use std::io::Read;
use std::time::{Duration, Instant};

use lakekeep_capture::{Captured, Request, StatCache, ask, capture};
use lakekeep_environment::{FileNode, Manifest};
use lakekeep_tree::{Contents, Environment, Held};

use super::{EnvironmentError, places};
use crate::args::environment::What;
use crate::report::Messages;

/// What was taken up, and what that cost.
pub struct Taken {
    pub captured: Captured,
    /// Files that were not read, because their stat was known.
    pub known: usize,
    pub elapsed: Duration,
}

/// The captured files, where they are.
pub struct Here<'a>(pub &'a Captured);

impl Contents for Here<'_> {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        self.0.source(file).map(|source| source.open()).transpose()
    }
}

/// What is to be sent, and where its files are.
pub enum Kept {
    /// Just taken up.
    Taken(Box<Taken>),
    /// In this machine's store.
    Stored(Box<Manifest>, Held),
}

impl Kept {
    /// A stored one.
    pub fn stored(environment: Environment) -> Kept {
        let manifest = environment.manifest().clone();
        Kept::Stored(Box::new(manifest), Held::of(environment))
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Kept::Taken(taken) => &taken.captured.manifest,
            Kept::Stored(manifest, _) => manifest,
        }
    }

    /// What was left out of it.
    pub fn notes(&self) -> &[String] {
        match self {
            Kept::Taken(taken) => &taken.captured.notes,
            Kept::Stored(..) => &[],
        }
    }
}

impl Contents for Kept {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        match self {
            Kept::Taken(taken) => Here(&taken.captured).open(file),
            Kept::Stored(_, held) => held.open(file),
        }
    }
}

pub fn take(what: &What) -> Result<Taken, EnvironmentError> {
    let began = Instant::now();
    let answer = ask(&places::program(&what.python)?)?;
    let place = places::stat_cache()?;
    let mut cache = StatCache::load(&place);
    let request = Request {
        answer: &answer,
        modules: &what.modules,
        include: &what.include,
        built: None,
    };
    let captured = capture(&request, &mut cache)?;
    // A capture without a cache is whole; the next one is slower.
    if let Err(error) = cache.save(&place) {
        let text = lakekeep_sandbox::chain(&error);
        Messages { json: false }.say("warning", &format!("warning: {text}"));
    }
    Ok(Taken {
        captured,
        known: cache.hits(),
        elapsed: began.elapsed(),
    })
}
