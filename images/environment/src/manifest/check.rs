//! Rules over more than one line.

use std::collections::HashSet;

use lakekeep_policy::GuestPath;

use super::{
    Draft, Entry, FileNode, MAX_ENTRIES, MAX_TOTAL_BYTES, MAX_TREES, ManifestError, Node, Rejection,
};

/// Longest target of a link, in bytes: what readlink(2) can return whole.
const MAX_TARGET: usize = 4095;

/// How much there is so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: usize,
    bytes: u64,
}

impl Tally {
    pub(super) fn entry(&mut self) -> Result<(), Rejection> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Rejection::TooMany);
        }
        Ok(())
    }

    pub(super) fn content(&mut self, file: &FileNode) -> Result<(), Rejection> {
        self.bytes = self.bytes.saturating_add(file.size);
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(Rejection::TooLarge);
        }
        Ok(())
    }

    /// One more after so many trees and single files.
    pub(super) fn root(&self, before: usize) -> Result<(), Rejection> {
        if before >= MAX_TREES {
            return Err(Rejection::TooManyTrees);
        }
        Ok(())
    }
}

/// A tree's entries, one after the other.
#[derive(Debug, Default)]
pub(super) struct TreeCheck {
    folders: HashSet<String>,
    last: String,
}

impl TreeCheck {
    /// Sorted, so none twice, and each in a folder that came before: `a` sorts before `a/b`.
    pub(super) fn next(&mut self, entry: &Entry) -> Result<(), Rejection> {
        if !self.last.is_empty() && self.last >= entry.path {
            return Err(Rejection::Order);
        }
        if let Some((parent, _)) = entry.path.rsplit_once('/')
            && !self.folders.contains(parent)
        {
            return Err(Rejection::NoParent);
        }
        if entry.node == Node::Directory {
            self.folders.insert(entry.path.clone());
        }
        self.last.clone_from(&entry.path);
        Ok(())
    }
}

/// Every place that the environment takes, whole trees and single files.
fn roots(parts: &Draft) -> Vec<&GuestPath> {
    let trees = parts.trees.iter().map(|tree| &tree.root);
    trees
        .chain(parts.files.iter().map(|file| &file.path))
        .collect()
}

/// No tree or file is within another: what is at a path would depend on who comes last.
pub(super) fn apart(parts: &Draft) -> Result<(), ManifestError> {
    let mut roots = roots(parts);
    if roots.len() > MAX_TREES {
        return Err(ManifestError::at(0, "", Rejection::TooManyTrees));
    }
    // By names, so that what is within a place comes right after it.
    roots.sort_by(|a, b| a.components().cmp(b.components()));
    for pair in roots.windows(2) {
        if let [outer, inner] = pair
            && inner.starts_with(outer)
        {
            return Err(ManifestError::at(0, "", Rejection::Nested));
        }
    }
    Ok(())
}

/// Links by their words alone: the tree that a link is in exists nowhere yet.
pub(super) fn links_stay(parts: &Draft) -> Result<(), ManifestError> {
    let roots = roots(parts);
    for tree in &parts.trees {
        for entry in &tree.entries {
            let Node::Link(target) = &entry.node else {
                continue;
            };
            let refuse = |rejection| ManifestError::at(0, &entry.path, rejection);
            let there = destination(&tree.root, &entry.path, target).map_err(refuse)?;
            if !roots.iter().any(|root| there.starts_with(root)) {
                return Err(refuse(Rejection::LinkOut));
            }
        }
    }
    Ok(())
}

/// Where a link leads.
pub(super) fn destination(
    root: &GuestPath,
    path: &str,
    target: &str,
) -> Result<GuestPath, Rejection> {
    if target.is_empty() || target.len() > MAX_TARGET || target.contains(char::is_control) {
        return Err(Rejection::Word("TARGET"));
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut names: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        names.extend(root.components());
        names.extend(folder.split('/').filter(|name| !name.is_empty()));
    }
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    Ok(GuestPath::new(format!("/{}", names.join("/")))?)
}

/// The interpreter is an entry: a file or a link to one, which is enough to be named.
pub(super) fn holds_interpreter(parts: &Draft) -> Result<(), ManifestError> {
    let executable = &parts.interpreter.executable;
    let single = parts.files.iter().any(|file| &file.path == executable);
    let in_tree = parts.trees.iter().any(|tree| {
        let beneath = executable.as_path().strip_prefix(tree.root.as_path());
        let path = beneath
            .ok()
            .and_then(|path| path.to_str())
            .unwrap_or_default();
        let entries = &tree.entries;
        match entries.binary_search_by(|entry| entry.path.as_str().cmp(path)) {
            Ok(index) => entries
                .get(index)
                .is_some_and(|entry| entry.node != Node::Directory),
            Err(_) => false,
        }
    });
    match single || in_tree {
        true => Ok(()),
        false => {
            let refused = ManifestError::at(0, executable.as_str(), Rejection::NoInterpreter);
            Err(refused)
        }
    }
}
