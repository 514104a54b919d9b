//! The manifest: types, and what one can ask of it.
//!
//! The text has one line for each fact, its fields parted by tabs, in this order:
//!
//! ```text
//! lakekeep-environment  1
//! python        EXECUTABLE  VERSION  SOABI  LIBC  MACHINE
//! prefix        PREFIX  BASE_PREFIX
//! path          found|added  PATH                  of sys.path, in its order
//! distribution  NAME  VERSION  plain|editable      sorted
//! library       BLAKE3  SIZE  SONAME  PATH         sorted by path
//! file          f|x  BLAKE3  SIZE  PATH            sorted by path
//! tree          ROOT                               sorted; each followed by its entries,
//! d             PATH                               sorted by path:
//! f|x           BLAKE3  SIZE  PATH
//! l             TARGET  PATH
//! ```

mod check;
mod draft;
mod error;
mod line;
mod parse;
mod roots;
mod write;

use lakekeep_policy::GuestPath;

use crate::digest::Digest;

pub use draft::Draft;
pub use error::{ManifestError, Rejection};
pub use roots::check_root;

/// First line of a manifest of this version.
pub const HEADER: &str = "lakekeep-environment\t1";
/// Longest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 << 20;
/// Most entries of all trees together.
pub const MAX_ENTRIES: usize = 500_000;
/// Most trees and files outside of trees together: each is a mount.
pub const MAX_TREES: usize = 64;
/// Most bytes of all files together.
pub const MAX_TOTAL_BYTES: u64 = 64 << 30;

/// The files of an environment and what they are for. One that exists is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) parts: Draft,
}

/// The interpreter of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// `sys.executable`, a file of the environment.
    pub executable: GuestPath,
    /// Such as `3.11.7`.
    pub version: String,
    /// Which binary interface extension modules have, such as
    /// `cpython-311-x86_64-linux-gnu`.
    pub soabi: String,
    /// The C library, such as `glibc 2.36`.
    pub libc: String,
    /// Such as `x86_64`.
    pub machine: String,
    /// `sys.prefix`.
    pub prefix: GuestPath,
    /// `sys.base_prefix`.
    pub base_prefix: GuestPath,
}

/// One entry of `sys.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// Where.
    pub path: GuestPath,
    /// Whether it came from the client's variables or home folder, so that an interpreter
    /// inside, which has neither, must be told.
    pub added: bool,
}

/// An installed distribution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distribution {
    /// Its name in normal form (PEP 503).
    pub name: String,
    /// Its version.
    pub version: String,
    /// Installed in editable mode (PEP 660): its modules are the client's working copy.
    pub editable: bool,
}

/// A shared library from outside of the trees that something in them is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The name by which it is needed, such as `libstdc++.so.6`.
    pub soname: String,
    /// Where the client's loader finds it.
    pub path: GuestPath,
    /// Its content.
    pub file: FileNode,
}

/// The content of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNode {
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it may be executed; there are no other permissions.
    pub executable: bool,
}

/// What an entry of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Directory,
    /// A regular file.
    File(FileNode),
    /// A symbolic link with this target, which lies within the environment.
    Link(String),
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path beneath the tree's root: no leading slash, not empty.
    pub path: String,
    /// What it is.
    pub node: Node,
}

/// A folder of the client's with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where on the client it was, and will be inside.
    pub root: GuestPath,
    /// What is in it, sorted by path.
    pub entries: Vec<Entry>,
}

/// A file of the client's outside of the trees, such as an interpreter in /usr/bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFile {
    /// Where on the client it was, and will be inside.
    pub path: GuestPath,
    /// Its content.
    pub file: FileNode,
}

impl Manifest {
    /// Reads a manifest that anybody may have written.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] with the first line that breaks a rule, and the rule.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        parse::parse(text)
    }

    /// The text that [`Manifest::parse`] reads; the same bytes that this was read from.
    pub fn to_text(&self) -> String {
        write::write(&self.parts)
    }

    /// The environment's name: BLAKE3 of the text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The interpreter.
    pub fn interpreter(&self) -> &Interpreter {
        &self.parts.interpreter
    }

    /// `sys.path`.
    pub fn paths(&self) -> &[SearchPath] {
        &self.parts.paths
    }

    /// The installed distributions, by name.
    pub fn distributions(&self) -> &[Distribution] {
        &self.parts.distributions
    }

    /// Shared libraries from outside of the trees, by path.
    pub fn libraries(&self) -> &[Library] {
        &self.parts.libraries
    }

    /// Single files outside of the trees, by path.
    pub fn files(&self) -> &[RootFile] {
        &self.parts.files
    }

    /// The trees, by root. No one is within another.
    pub fn trees(&self) -> &[Tree] {
        &self.parts.trees
    }

    /// Every content that the environment needs; one that is in two places comes twice.
    pub fn contents(&self) -> impl Iterator<Item = &FileNode> {
        let entries = self.trees().iter().flat_map(|tree| &tree.entries);
        let in_trees = entries.filter_map(|entry| match &entry.node {
            Node::File(file) => Some(file),
            Node::Directory | Node::Link(_) => None,
        });
        let single = self.files().iter().map(|root| &root.file);
        let libraries = self.libraries().iter().map(|library| &library.file);
        in_trees.chain(single).chain(libraries)
    }
}
