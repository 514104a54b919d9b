//! From an interpreter's answer to a manifest.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lakekeep_environment::{
    Digest, Distribution, Draft, Entry, FileNode, Interpreter, Library, Manifest, Node, Rejection,
    RootFile, SearchPath, Tree,
};
use lakekeep_policy::GuestPath;

use crate::ask::Answer;
use crate::built::{self, Built};
use crate::bytecode::HEADER_BYTES;
use crate::cache::StatCache;
use crate::elf::Needs;
use crate::error::CaptureError;
use crate::hash::{self, Facts, Job, Kind};
use crate::loader::{Libraries, Loader, Reach};
use crate::roots::{Roots, real, roots};
use crate::walk::{self, Content, What};
use crate::{distributions, roots as places};

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What the interpreter said.
    pub answer: &'a Answer,
    /// Modules and packages that are not on `sys.path`: inside, their folders are.
    pub modules: &'a [PathBuf],
    /// More folders and files.
    pub include: &'a [PathBuf],
    /// The environment's folder, if packages were installed into it that are not trusted: nothing
    /// of it may lead out of it, and it is shown elsewhere than it is here.
    pub built: Option<&'a Built>,
}

impl Request<'_> {
    /// The place inside.
    fn guest(&self, path: &Path) -> Result<GuestPath, CaptureError> {
        guest(&built::shown(self.built, path))
    }
}

/// Where the content of a file is that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it must be.
    pub file: FileNode,
    /// Where it is read.
    pub path: PathBuf,
    /// Whether its first [`HEADER_BYTES`] are replaced by [`unchecked`](crate::unchecked) ones.
    pub bytecode: bool,
}

/// A captured environment.
#[derive(Debug)]
pub struct Captured {
    /// What it is.
    pub manifest: Manifest,
    /// What was left out, one sentence each, and libraries that were not found.
    pub notes: Vec<String>,
    sources: HashMap<(Digest, bool), Source>,
}

impl Captured {
    /// Where a content of the manifest can be read.
    pub fn source(&self, file: &FileNode) -> Option<&Source> {
        self.sources.get(&(file.digest, file.executable))
    }
}

/// One file with what is known of it.
struct Read {
    content: Content,
    facts: Facts,
}

impl Read {
    fn node(&self) -> FileNode {
        FileNode {
            digest: Digest::from_bytes(self.facts.digest),
            size: self.content.stamp.size(),
            executable: self.content.executable,
        }
    }

    fn source(&self) -> Source {
        Source {
            file: self.node(),
            path: self.content.path.clone(),
            bytecode: matches!(self.facts.kind, Kind::Bytecode { .. }),
        }
    }

    /// Whether an interpreter would take it now.
    fn lives(&self) -> bool {
        match self.facts.kind {
            Kind::Bytecode { mtime, size } => self.content.source == Some((mtime, size)),
            Kind::Dead => false,
            Kind::Plain | Kind::Elf(_) => true,
        }
    }
}

/// Reads everything that the answer leads to. Files that `cache` knows are not opened.
///
/// # Errors
/// A [`CaptureError`]; what is unreadable is an error, never left out in silence.
pub fn capture(request: &Request<'_>, cache: &mut StatCache) -> Result<Captured, CaptureError> {
    let began = SystemTime::now();
    let more: Vec<&PathBuf> = request.modules.iter().chain(request.include).collect();
    let roots = roots(request.answer, &more, request.built)?;
    let walked = walk::walk(&roots, &request.answer.cache_tag, request.built)?;
    let mut contents: Vec<Content> = Vec::new();
    for (_, what) in walked.trees.iter().flatten() {
        if let What::File(content) = what {
            contents.push(content.clone());
        }
    }
    for path in &roots.files {
        contents.push(walk::file(path)?);
    }
    let read = read(contents, cache, began)?;
    let libraries = libraries(&read, &roots, request.built, Loader::new(cache, began));
    let mut read = read.into_iter();
    let mut assembly = Assembly::default();
    let mut trees = Vec::new();
    for (root, found) in roots.trees.iter().zip(walked.trees) {
        let entries = assembly.entries(found, &mut read);
        trees.push(Tree {
            root: request.guest(root)?,
            entries,
        });
    }
    let mut files = Vec::new();
    for one in read {
        files.push(RootFile {
            path: request.guest(&one.content.path)?,
            file: assembly.file(&one),
        });
    }
    let draft = Draft {
        interpreter: interpreter(request, &roots)?,
        paths: search_paths(request)?,
        distributions: all_distributions(request.answer),
        libraries: assembly.libraries(&libraries)?,
        files,
        trees,
    };
    let missing = libraries.missing.iter();
    let missing = missing.map(|name| format!("{name} is needed and was not found"));
    Ok(Captured {
        manifest: draft.finish()?,
        notes: walked.notes.into_iter().chain(missing).collect(),
        sources: assembly.sources,
    })
}

/// What the manifest's files are made of.
#[derive(Default)]
struct Assembly {
    sources: HashMap<(Digest, bool), Source>,
}

impl Assembly {
    fn file(&mut self, one: &Read) -> FileNode {
        let node = one.node();
        self.sources
            .entry((node.digest, node.executable))
            .or_insert_with(|| one.source());
        node
    }

    /// The files of one tree are the next ones of `read`.
    fn entries(
        &mut self,
        found: Vec<(String, What)>,
        read: &mut impl Iterator<Item = Read>,
    ) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(found.len());
        for (path, what) in found {
            let node = match what {
                What::Folder => Node::Directory,
                What::Link(target) => Node::Link(target),
                What::File(_) => match read.next() {
                    Some(one) if one.lives() => Node::File(self.file(&one)),
                    _ => continue,
                },
            };
            entries.push(Entry { path, node });
        }
        entries
    }

    fn libraries(&mut self, found: &Libraries) -> Result<Vec<Library>, CaptureError> {
        let mut out = Vec::new();
        for (path, library) in &found.outside {
            let file = FileNode {
                digest: Digest::from_bytes(library.digest),
                size: library.size,
                executable: false,
            };
            self.sources
                .entry((file.digest, false))
                .or_insert_with(|| Source {
                    file,
                    path: path.clone(),
                    bytecode: false,
                });
            out.push(Library {
                soname: library.soname.clone(),
                path: guest(path)?,
                file,
            });
        }
        Ok(out)
    }
}

/// The known ones from the cache, the others from the disk; in the order of `contents`.
fn read(
    contents: Vec<Content>,
    cache: &mut StatCache,
    began: SystemTime,
) -> Result<Vec<Read>, CaptureError> {
    let known: Vec<Option<Facts>> = contents
        .iter()
        .map(|one| cache.get(one.stamp, one.source.is_some()))
        .collect();
    let unknown = contents
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none());
    let jobs: Vec<Job> = unknown
        .map(|(one, _)| Job {
            path: one.path.clone(),
            bytecode: one.source.is_some(),
        })
        .collect();
    let mut hashed = hash::all(&jobs)?.into_iter();
    let mut read = Vec::with_capacity(contents.len());
    for (mut content, known) in contents.into_iter().zip(known) {
        let facts = match known {
            Some(facts) => facts,
            None => {
                let Some((stamp, facts)) = hashed.next() else {
                    return Err(CaptureError::Changing { path: content.path });
                };
                content.stamp = stamp;
                cache.put((stamp, content.source.is_some()), facts.clone(), began);
                facts
            }
        };
        read.push(Read { content, facts });
    }
    Ok(read)
}

/// For a stranger's file only what the system itself would find is looked up outside.
fn libraries(
    read: &[Read],
    roots: &Roots,
    built: Option<&Built>,
    mut loader: Loader<'_>,
) -> Libraries {
    let elf: Vec<(PathBuf, Needs)> = read
        .iter()
        .filter_map(|one| match &one.facts.kind {
            Kind::Elf(needs) => Some((one.content.path.clone(), needs.clone())),
            _ => None,
        })
        .collect();
    let reach = Reach {
        inside: &|path| roots.hold(path),
        confined: &|path| built::is_built(built, path),
    };
    loader.libraries(elf, &reach)
}

fn interpreter(request: &Request<'_>, roots: &Roots) -> Result<Interpreter, CaptureError> {
    let answer = request.answer;
    let named = places::named(&answer.executable)?;
    let executable = match roots.hold(&named) {
        true => named,
        false => real(&answer.executable)?,
    };
    Ok(Interpreter {
        executable: request.guest(&executable)?,
        version: answer.version.clone(),
        soabi: answer.soabi.clone(),
        libc: answer.libc.clone(),
        machine: answer.machine.clone(),
        prefix: request.guest(&real(&answer.prefix)?)?,
        base_prefix: guest(&real(&answer.base_prefix)?)?,
    })
}

/// The interpreter's own, then the folders of single modules.
fn search_paths(request: &Request<'_>) -> Result<Vec<SearchPath>, CaptureError> {
    let answer = request.answer;
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    let mut add = |path: PathBuf, added| {
        if path.is_absolute() && seen.insert(path.clone()) {
            let path = request.guest(&path)?;
            paths.push(SearchPath { path, added });
        }
        Ok::<(), CaptureError>(())
    };
    for entry in &answer.path {
        // What is not there keeps its name: python311.zip never is.
        let path = std::fs::canonicalize(entry).unwrap_or_else(|_| entry.clone());
        add(path, !answer.isolated.contains(entry))?;
    }
    for module in request.modules {
        if let Some(folder) = real(module)?.parent() {
            add(folder.to_owned(), true)?;
        }
    }
    Ok(paths)
}

/// The first of a name on `sys.path` is the one that is imported.
fn all_distributions(answer: &Answer) -> Vec<Distribution> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for folder in &answer.path {
        for one in distributions::of(folder) {
            if names.insert(one.name.clone()) {
                found.push(one);
            }
        }
    }
    found
}

fn guest(path: &Path) -> Result<GuestPath, CaptureError> {
    let Some(text) = path.to_str() else {
        return Err(CaptureError::Name {
            path: path.to_owned(),
        });
    };
    GuestPath::new(text).map_err(|error| CaptureError::Root {
        path: path.to_owned(),
        rejection: Rejection::Path(error),
    })
}

impl Source {
    /// Opens the content as the manifest has it. Whoever reads it compares it with
    /// [`Source::file`]: the file may have changed since.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self) -> std::io::Result<Box<dyn std::io::Read>> {
        use std::io::Read;
        let mut file = std::fs::File::open(&self.path)?;
        if !self.bytecode {
            return Ok(Box::new(file));
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)?;
        let header = std::io::Cursor::new(crate::bytecode::unchecked(header));
        Ok(Box::new(header.chain(file)))
    }
}
