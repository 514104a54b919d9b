//! What is in a folder.

use std::collections::BTreeSet;
use std::fs::{DirEntry, FileType, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lakekeep_environment::MAX_ENTRIES;

use crate::built::{self, Built};
use crate::bytecode::source_of;
use crate::cache::Stamp;
use crate::error::CaptureError;
use crate::roots::Roots;

/// Folders of tools that no interpreter reads: histories, caches of checkers.
const TOOLS: [&str; 9] = [
    ".git",
    ".hg",
    ".svn",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".tox",
    ".nox",
];
/// Who may execute a file.
const EXECUTABLE: u32 = 0o111;

/// What an entry is, before its content is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Folder,
    /// A regular file, and where it is read.
    File(Content),
    /// A link within the environment, with its target there.
    Link(String),
}

/// A file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) executable: bool,
    /// Of a compiled module: time and length of the source that it must be valid for.
    pub(crate) source: Option<(u32, u32)>,
}

/// What was found in all trees.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// By tree, then by path beneath its root.
    pub(crate) trees: Vec<Vec<(String, What)>>,
    /// What was left out, for the reader.
    pub(crate) notes: BTreeSet<String>,
    count: usize,
}

/// Walks all trees. Links to files outside are taken for the files.
pub(crate) fn walk(roots: &Roots, tag: &str, built: Option<&Built>) -> Result<Walk, CaptureError> {
    let mut walk = Walk::default();
    for root in &roots.trees {
        let mut entries = Vec::new();
        let mut todo = vec![(root.clone(), String::new())];
        while let Some((folder, path)) = todo.pop() {
            let tree = Tree {
                roots,
                tag,
                root,
                built,
                compiled: path == "__pycache__" || path.ends_with("/__pycache__"),
            };
            let listed = std::fs::read_dir(&folder).map_err(CaptureError::unreadable(&folder))?;
            for entry in listed {
                let entry = entry.map_err(CaptureError::unreadable(&folder))?;
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    return Err(CaptureError::Name { path: entry.path() });
                };
                let beneath = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}/{name}"),
                };
                let Some(what) = tree.entry(&entry, &name, &mut walk.notes)? else {
                    continue;
                };
                walk.count += 1;
                if walk.count > MAX_ENTRIES {
                    return Err(CaptureError::TooMany {
                        root: root.clone(),
                        most: MAX_ENTRIES,
                    });
                }
                if what == What::Folder {
                    todo.push((entry.path(), beneath.clone()));
                }
                entries.push((beneath, what));
            }
        }
        walk.trees.push(entries);
    }
    Ok(walk)
}

/// The tree, and the folder in it, that is being read.
struct Tree<'a> {
    roots: &'a Roots,
    tag: &'a str,
    root: &'a Path,
    built: Option<&'a Built>,
    compiled: bool,
}

impl Tree<'_> {
    /// `None`: left out.
    fn entry(
        &self,
        entry: &DirEntry,
        name: &str,
        notes: &mut BTreeSet<String>,
    ) -> Result<Option<What>, CaptureError> {
        let path = entry.path();
        let kind: FileType = entry.file_type().map_err(CaptureError::unreadable(&path))?;
        if kind.is_dir() {
            let tool = TOOLS.contains(&name);
            if tool {
                notes.insert(format!("{} is left out: a tool's folder", path.display()));
            }
            let without = self.roots.without.contains(&path);
            return Ok((!tool && !without).then_some(What::Folder));
        }
        if kind.is_symlink() {
            return self.link(&path, notes);
        }
        if !kind.is_file() && built::is_built(self.built, &path) {
            return Err(CaptureError::Special { path });
        }
        if !kind.is_file() {
            notes.insert(format!("{} is left out: no file or folder", path.display()));
            return Ok(None);
        }
        // Static libraries are for compilers.
        if name.ends_with(".a") {
            return Ok(None);
        }
        let stat = entry.metadata().map_err(CaptureError::unreadable(&path))?;
        if !self.compiled {
            return Ok(Some(What::File(content(path, &stat))));
        }
        Ok(self.bytecode(path, name, &stat).map(What::File))
    }

    /// A compiled module of this interpreter whose source is there.
    fn bytecode(&self, path: PathBuf, name: &str, stat: &Metadata) -> Option<Content> {
        let source = path.parent()?.parent()?.join(source_of(name, self.tag)?);
        let source = Stamp::of(&std::fs::metadata(source).ok()?);
        // Both are noted modulo 2³² (PEP 552).
        let seconds = source.changed_seconds().rem_euclid(1 << 32);
        let noted = (
            u32::try_from(seconds).ok()?,
            u32::try_from(source.size() % (1 << 32)).ok()?,
        );
        Some(Content {
            source: Some(noted),
            ..content(path, stat)
        })
    }

    fn link(
        &self,
        path: &Path,
        notes: &mut BTreeSet<String>,
    ) -> Result<Option<What>, CaptureError> {
        let mut note = |why: &str| {
            notes.insert(format!("{} is left out: {why}", path.display()));
            Ok(None)
        };
        let Ok(real) = std::fs::canonicalize(path) else {
            return note("a link that leads nowhere");
        };
        if !self.roots.hold(&real) {
            built::stays(self.built, path, &real)?;
        }
        let target = std::fs::read_link(path).map_err(CaptureError::unreadable(path))?;
        if self.roots.hold(&real) {
            let folder = path.parent().unwrap_or(self.root);
            let kept = plain(&folder.join(&target));
            let target = match self.roots.hold(&kept) {
                true => target,
                false => built::shown(self.built, &real),
            };
            let text = target.to_str().map(str::to_owned);
            let text = text.ok_or_else(|| CaptureError::Name {
                path: path.to_owned(),
            })?;
            return Ok(Some(What::Link(text)));
        }
        match std::fs::metadata(&real) {
            Ok(stat) if stat.is_file() => Ok(Some(What::File(content(real, &stat)))),
            _ => note("a link to a folder outside of the environment"),
        }
    }
}

fn content(path: PathBuf, stat: &Metadata) -> Content {
    Content {
        path,
        stamp: Stamp::of(stat),
        executable: stat.permissions().mode() & EXECUTABLE != 0,
        source: None,
    }
}

/// By words alone, as the manifest's rule is.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// A file that is a root by itself.
pub(crate) fn file(path: &Path) -> Result<Content, CaptureError> {
    let stat = std::fs::metadata(path).map_err(CaptureError::unreadable(path))?;
    Ok(content(path.to_owned(), &stat))
}
