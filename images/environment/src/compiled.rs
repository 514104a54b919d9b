//! Modules that an environment's own interpreter compiled in a sandbox (PEP 552).
//!
//! What is said is not believed: one record for each module, its path and its code, each after
//! its length in four bytes, big-endian. Taken is what belongs to a source of the environment
//! that has no bytecode, and nothing else. What the code does is the environment's business,
//! whose interpreter made it: it is only ever run where the environment is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::digest::Digest;
use crate::manifest::{Draft, Entry, FileNode, Manifest, ManifestError, Node, Tree};

/// Most bytes that are read of a compiler.
pub const MAX_COMPILED_BYTES: usize = 512 << 20;

/// Longest code of one module, with its header.
const MAX_CODE: usize = 32 << 20;

/// Magic number, flags, and eight bytes that the flags explain.
const HEADER_BYTES: usize = 16;

/// Flags: the eight bytes are a hash of the source, and it is not compared. An environment is
/// read-only: its sources cannot change.
const UNCHECKED: [u8; 4] = 1u32.to_le_bytes();

/// Where compiled modules are, beside their sources.
const FOLDER: &str = "__pycache__";

/// Why nothing is taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompiled {
    /// It ends within a record, or is longer than it may be.
    #[error("what the compiler said is cut off, or too long")]
    Cut,
    /// A path that is no text, or of no source that was to be compiled.
    #[error("the compiler names {path:?}, which is no source without bytecode")]
    Path {
        /// As it was named.
        path: String,
    },
    /// Code that is no compiled module that is taken unseen.
    #[error("the code of {path} has no header that says that it need not be compared")]
    Code {
        /// Its source.
        path: String,
    },
    /// With it the environment would be too large.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// An environment with more bytecode than another.
#[derive(Debug)]
pub struct Compiled {
    /// It.
    pub manifest: Manifest,
    /// What the other has not.
    pub contents: HashMap<Digest, Vec<u8>>,
}

impl Manifest {
    /// Sources in its trees, by their whole path, that have no bytecode of its interpreter.
    #[must_use]
    pub fn uncompiled(&self) -> BTreeSet<String> {
        let tag = self.cache_tag();
        let mut found = BTreeSet::new();
        for tree in self.trees() {
            let known: BTreeSet<&str> = tree.entries.iter().map(|it| it.path.as_str()).collect();
            let sources = tree.entries.iter().filter(|it| is_file(it));
            let lacks = sources.filter_map(|entry| {
                let bytecode = bytecode(&entry.path, &tag)?;
                (!known.contains(bytecode.as_str())).then(|| whole(tree, &entry.path))
            });
            found.extend(lacks);
        }
        found
    }

    /// Such as `cpython-311`, of the name of its binary interface.
    fn cache_tag(&self) -> String {
        let mut parts = self.interpreter().soabi.splitn(3, '-');
        let (name, version) = (parts.next(), parts.next());
        format!(
            "{}-{}",
            name.unwrap_or_default(),
            version.unwrap_or_default()
        )
    }

    /// The same environment with the bytecode that a compiler said.
    ///
    /// # Errors
    /// [`NotCompiled`] with the first thing that is not as it should be.
    pub fn compiled(&self, said: &[u8]) -> Result<Compiled, NotCompiled> {
        if said.len() > MAX_COMPILED_BYTES {
            return Err(NotCompiled::Cut);
        }
        let mut wanted = self.uncompiled();
        let mut added: BTreeMap<String, FileNode> = BTreeMap::new();
        let mut contents = HashMap::new();
        let mut rest = said;
        while !rest.is_empty() {
            let path = String::from_utf8_lossy(piece(&mut rest)?).into_owned();
            let code = piece(&mut rest)?;
            if !wanted.remove(&path) {
                return Err(NotCompiled::Path { path });
            }
            let code = unseen(code).ok_or_else(|| NotCompiled::Code { path: path.clone() })?;
            let node = FileNode {
                digest: Digest::of(&code),
                size: code.len() as u64,
                executable: false,
            };
            added.insert(path, node);
            contents.insert(node.digest, code);
        }
        Ok(Compiled {
            manifest: self.with(&added)?,
            contents,
        })
    }

    fn with(&self, added: &BTreeMap<String, FileNode>) -> Result<Manifest, ManifestError> {
        let tag = self.cache_tag();
        let trees = self.trees().iter().map(|tree| Tree {
            root: tree.root.clone(),
            entries: entries(tree, added, &tag),
        });
        let draft = Draft {
            interpreter: self.interpreter().clone(),
            paths: self.paths().to_vec(),
            distributions: self.distributions().to_vec(),
            libraries: self.libraries().to_vec(),
            files: self.files().to_vec(),
            trees: trees.collect(),
        };
        draft.finish()
    }
}

/// A tree's entries with the bytecode of its sources, and the folders of that.
fn entries(tree: &Tree, added: &BTreeMap<String, FileNode>, tag: &str) -> Vec<Entry> {
    let mut entries: BTreeMap<String, Node> = BTreeMap::new();
    for entry in &tree.entries {
        let node = added.get(&whole(tree, &entry.path));
        if let (Some(node), Some(path)) = (node, bytecode(&entry.path, tag)) {
            if let Some((folder, _)) = path.rsplit_once('/') {
                entries.entry(folder.to_owned()).or_insert(Node::Directory);
            }
            entries.insert(path, Node::File(*node));
        }
    }
    for entry in &tree.entries {
        entries.insert(entry.path.clone(), entry.node.clone());
    }
    let entry = |(path, node)| Entry { path, node };
    entries.into_iter().map(entry).collect()
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.node, Node::File(_))
}

fn whole(tree: &Tree, path: &str) -> String {
    format!("{}/{path}", tree.root)
}

/// Where a source's bytecode is; `None` for what is no source.
fn bytecode(path: &str, tag: &str) -> Option<String> {
    let stem = path.strip_suffix(".py")?;
    Some(match stem.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{FOLDER}/{name}.{tag}.pyc"),
        None => format!("{FOLDER}/{stem}.{tag}.pyc"),
    })
}

/// The next piece of a record.
fn piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], NotCompiled> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(NotCompiled::Cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| NotCompiled::Cut)?;
    let (piece, after) = after.split_at_checked(length).ok_or(NotCompiled::Cut)?;
    *rest = after;
    Ok(piece)
}

/// Code with a header that says that it is not compared, and no hash: one module's code then
/// has one content.
fn unseen(code: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = code.split_at_checked(HEADER_BYTES)?;
    let (magic, rest) = header.split_at_checked(4)?;
    if code.len() > MAX_CODE || body.is_empty() || !rest.starts_with(&UNCHECKED) {
        return None;
    }
    let mut out = Vec::with_capacity(code.len());
    out.extend_from_slice(magic);
    out.extend_from_slice(&UNCHECKED);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(body);
    Some(out)
}
