//! What one trust domain has in a manager.
//!
//! Two domains share nothing: not an answer, not a file. A file that two had in common would show
//! both in its count of links and its times (stat(2)), to code that runs with it, what the other has.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lakekeep_content::Store;
use lakekeep_environment::{Challenge, Digest, FileNode, Holdings, MAX_ENTRIES, Manifest};

use crate::collect::{self, Collected};
use crate::error::TreeError;
use crate::inbox::{self, Inbox};
use crate::make::{Contents, Made, make};
use crate::neighbours::Neighbours;
use crate::stored::{self, Environment};

/// Most entries of a domain's environments together: each is held in memory while another comes.
const MOST_ENTRIES: usize = 2 * MAX_ENTRIES;

/// How long is kept what came for an environment that never became whole.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

/// A store of one domain's own, and what it has sent of environments that are not whole yet. One
/// process has it open, and adds from one thread at a time.
#[derive(Debug)]
pub struct Domain {
    store: Store,
    inbox: Inbox,
}

/// What a domain may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all contents, each counted once.
    pub bytes: u64,
    /// Environments.
    pub environments: usize,
}

/// An environment on its way to a domain.
#[derive(Debug)]
pub struct Arrival<'d> {
    domain: &'d Domain,
    manifest: &'d Manifest,
    own: Neighbours,
    shared: Vec<Neighbours>,
    holdings: Holdings,
    challenge: Challenge,
    wanted: Vec<FileNode>,
}

impl Domain {
    /// Opens what is in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(folder: &Path) -> Result<Domain, TreeError> {
        // It makes the way to its folder, privately.
        let store = Store::open(&folder.join("store"))?;
        let inbox = Inbox::open(&folder.join("inbox"))?;
        inbox.sweep(SystemTime::now(), UNFINISHED)?;
        Ok(Domain { store, inbox })
    }

    /// Opens and pins one of its environments.
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn environment(&self, digest: &Digest) -> Result<Environment, TreeError> {
        stored::open(&self.store, digest)
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins to take an environment: says which contents must be sent. Not those that this domain
    /// has sent before, nor those of the environments of `shared` domains, which it may read anyway.
    ///
    /// # Errors
    /// [`TreeError::Full`] where it would have more than `bounds`; what the store says.
    pub fn expect<'d>(
        &'d self,
        manifest: &'d Manifest,
        shared: &[&Domain],
        bounds: Bounds,
    ) -> Result<Arrival<'d>, TreeError> {
        let own = Neighbours::last_used(&self.store, usize::MAX)?;
        let received = self.inbox.contents()?;
        check_bounds(manifest, own.environments(), &received, bounds)?;
        let shared = shared.iter();
        let shared = shared.map(|domain| Neighbours::last_used(&domain.store, usize::MAX));
        let shared: Vec<Neighbours> = shared.collect::<Result<_, _>>()?;
        let environments = shared
            .iter()
            .chain([&own])
            .flat_map(Neighbours::environments);
        let held = environments.flat_map(|one| one.manifest().contents());
        let held = held.chain(&received).map(|file| file.digest);
        let holdings: Holdings = held.collect();
        let challenge = holdings.challenge(manifest);
        let nodes: HashMap<Digest, &FileNode> = manifest
            .contents()
            .map(|file| (file.digest, file))
            .collect();
        let wanted = challenge.wanted();
        let wanted = wanted.filter_map(|(digest, _)| nodes.get(digest).map(|file| **file));
        Ok(Arrival {
            domain: self,
            manifest,
            wanted: wanted.collect(),
            own,
            shared,
            holdings,
            challenge,
        })
    }

    /// Removes environments that were not used for long, and never one in use, until those that are
    /// left hold at most `keep` bytes; and all that came for environments that never became whole.
    ///
    /// # Errors
    /// What the store says.
    pub fn collect(&self, keep: u64) -> Result<Collected, TreeError> {
        self.inbox.sweep(SystemTime::now(), Duration::ZERO)?;
        collect::collect(&self.store, keep)
    }
}

impl Arrival<'_> {
    /// What must be sent, in this order.
    pub fn wanted(&self) -> &[FileNode] {
        &self.wanted
    }

    /// Takes a content. It is there, proven, when this returns.
    ///
    /// # Errors
    /// [`TreeError::Changed`] for another content than its digest says; [`TreeError::NotTaken`] for one
    /// that was not asked for.
    pub fn take(&mut self, file: &FileNode, content: &mut dyn Read) -> Result<(), TreeError> {
        self.domain.inbox.receive(file, content)?;
        let (challenge, digest) = (&mut self.challenge, file.digest);
        self.holdings.take(challenge, digest, file.size)?;
        Ok(())
    }

    /// Makes the environment, of which everything has come.
    ///
    /// # Errors
    /// [`TreeError::NoContent`] where something has not; what the store says.
    pub fn finish(self) -> Result<Made, TreeError> {
        if !self.challenge.is_met() {
            let wanted = self.challenge.wanted().next();
            let path = wanted.map_or(String::new(), |(digest, _)| digest.to_string());
            return Err(TreeError::NoContent { path });
        }
        let made = make(&self.domain.store, self.manifest, &self)?;
        self.domain.inbox.remove(self.manifest.contents())?;
        Ok(made)
    }
}

impl Contents for Arrival<'_> {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        for executable in [file.executable, !file.executable] {
            let file = FileNode {
                executable,
                ..*file
            };
            if let Some(content) = self.domain.inbox.get(&file) {
                return Ok(Some(Box::new(content)));
            }
        }
        for neighbours in [&self.own].into_iter().chain(&self.shared) {
            if let Some(content) = neighbours.open(file)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn proven(&self, file: &FileNode) -> Option<(BorrowedFd<'_>, String)> {
        if let Some((folder, path)) = self.own.get(file) {
            return Some((folder, path.to_owned()));
        }
        let inbox = &self.domain.inbox;
        inbox.get(file)?;
        Some((inbox.folder(), inbox::name(file)))
    }
}

/// With this one, and with what has come for others that are not whole.
fn check_bounds(
    manifest: &Manifest,
    environments: &[Environment],
    received: &[FileNode],
    bounds: Bounds,
) -> Result<(), TreeError> {
    let there = environments
        .iter()
        .flat_map(|one| one.manifest().contents());
    let all = there.chain(received).chain(manifest.contents());
    let bytes = collect::bytes(all);
    let others = environments.iter().map(Environment::manifest);
    let entries: usize = others.chain([manifest]).map(entries).sum();
    if entries > MOST_ENTRIES {
        return Err(TreeError::Crowded {
            entries,
            most: MOST_ENTRIES,
        });
    }
    if bytes > bounds.bytes || environments.len() >= bounds.environments {
        return Err(TreeError::Full {
            bytes,
            most: bounds.bytes,
            environments: bounds.environments,
        });
    }
    Ok(())
}

fn entries(manifest: &Manifest) -> usize {
    let trees = manifest.trees().iter();
    trees.map(|tree| tree.entries.len()).sum()
}
