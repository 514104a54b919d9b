//! A manifest in the making.

use super::{
    Distribution, Interpreter, Library, Manifest, ManifestError, RootFile, SearchPath, Tree, write,
};

/// What a capture found, not checked yet and in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The interpreter.
    pub interpreter: Interpreter,
    /// `sys.path`; its order stays.
    pub paths: Vec<SearchPath>,
    /// Installed distributions.
    pub distributions: Vec<Distribution>,
    /// Shared libraries from outside of the trees.
    pub libraries: Vec<Library>,
    /// Single files outside of the trees.
    pub files: Vec<RootFile>,
    /// Folders with what is in them.
    pub trees: Vec<Tree>,
}

impl Draft {
    /// Sorts, and applies every rule that a stranger's manifest must keep.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], as of [`Manifest::parse`]; the line is the sorted text's.
    pub fn finish(mut self) -> Result<Manifest, ManifestError> {
        self.distributions.sort();
        self.distributions.dedup();
        self.libraries.sort_by(|a, b| a.path.cmp(&b.path));
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.trees.sort_by(|a, b| a.root.cmp(&b.root));
        for tree in &mut self.trees {
            tree.entries.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Manifest::parse(write::write(&self).as_bytes())
    }
}
