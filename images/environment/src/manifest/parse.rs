//! From text to a manifest: one pass, in the order of the lines.

use std::iter::Peekable;
use std::str::Split;

use super::check::{Tally, TreeCheck, apart, holds_interpreter, links_stay};
use super::line::{beneath, fields, file, path, word};
use super::{
    Distribution, Draft, Entry, HEADER, Interpreter, Library, MAX_MANIFEST_BYTES, Manifest,
    ManifestError, Node, Rejection, RootFile, SearchPath, Tree, check_root,
};
use crate::digest::Digest;

/// The lines that are left, with their numbers.
struct Lines<'a> {
    rest: Peekable<Split<'a, char>>,
    number: usize,
    /// The line that was taken last.
    current: &'a str,
}

impl<'a> Lines<'a> {
    /// What follows the kind, if the next line is of this kind.
    fn take(&mut self, kind: &str) -> Option<&'a str> {
        let line = *self.rest.peek()?;
        let rest = line.strip_prefix(kind)?.strip_prefix('\t')?;
        self.advance();
        Some(rest)
    }

    fn advance(&mut self) {
        self.current = self.rest.next().unwrap_or_default();
        self.number += 1;
    }

    /// The rejection of the line that was taken last.
    fn refuse(&self, rejection: Rejection) -> ManifestError {
        ManifestError::at(self.number, self.current, rejection)
    }

    /// Takes the next line, only to refuse it.
    fn refuse_next(&mut self, wanted: &'static str) -> ManifestError {
        self.advance();
        self.refuse(Rejection::Kind(wanted))
    }
}

pub(super) fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
    let whole = |rejection| ManifestError::at(0, "", rejection);
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(whole(Rejection::TooLong));
    }
    let digest = Digest::of(text);
    let text = str::from_utf8(text).map_err(|_| whole(Rejection::NotText))?;
    let text = text.strip_suffix('\n').ok_or(whole(Rejection::Truncated))?;
    let mut lines = Lines {
        rest: text.split('\n').peekable(),
        number: 0,
        current: "",
    };
    lines.advance();
    if lines.current != HEADER {
        return Err(lines.refuse(Rejection::Header));
    }
    let parts = body(&mut lines)?;
    // Links may lead to later trees, so these rules are of the whole.
    apart(&parts)?;
    links_stay(&parts)?;
    holds_interpreter(&parts)?;
    Ok(Manifest { digest, parts })
}

fn body(lines: &mut Lines<'_>) -> Result<Draft, ManifestError> {
    let mut tally = Tally::default();
    let interpreter = interpreter(lines)?;
    let paths = each(lines, "path", search_path)?;
    let distributions = each(lines, "distribution", distribution)?;
    in_order(lines, &distributions, |one| one)?;
    let libraries = each(lines, "library", library)?;
    in_order(lines, &libraries, |one| &one.path)?;
    let files = each(lines, "file", root_file)?;
    in_order(lines, &files, |one| &one.path)?;
    let single = libraries.iter().map(|one| &one.file);
    for file in single.chain(files.iter().map(|one| &one.file)) {
        tally.content(file).map_err(|error| lines.refuse(error))?;
    }
    let mut trees: Vec<Tree> = Vec::new();
    while let Some(root) = lines.take("tree") {
        let root = path(root).and_then(|root| check_root(&root).map(|()| root));
        let root = root.map_err(|error| lines.refuse(error))?;
        if trees.last().is_some_and(|last| last.root >= root) {
            return Err(lines.refuse(Rejection::Order));
        }
        tally
            .root(trees.len() + files.len())
            .map_err(|error| lines.refuse(error))?;
        let entries = entries(lines, &root, &mut tally)?;
        trees.push(Tree { root, entries });
    }
    if lines.rest.peek().is_some() {
        return Err(lines.refuse_next("the kinds come in one order, and none but these exist"));
    }
    Ok(Draft {
        interpreter,
        paths,
        distributions,
        libraries,
        files,
        trees,
    })
}

/// All lines of one kind that come now.
fn each<T>(
    lines: &mut Lines<'_>,
    kind: &str,
    read: impl Fn(&str) -> Result<T, Rejection>,
) -> Result<Vec<T>, ManifestError> {
    let mut found = Vec::new();
    let mut tally = Tally::default();
    while let Some(rest) = lines.take(kind) {
        tally.entry().map_err(|error| lines.refuse(error))?;
        found.push(read(rest).map_err(|error| lines.refuse(error))?);
    }
    Ok(found)
}

/// Sorted, and none twice.
fn in_order<T, K: Ord + ?Sized>(
    lines: &Lines<'_>,
    found: &[T],
    key: impl Fn(&T) -> &K,
) -> Result<(), ManifestError> {
    match found
        .windows(2)
        .position(|pair| matches!(pair, [a, b] if key(a) >= key(b)))
    {
        // The lines of this kind are the last that were taken.
        Some(index) => {
            let line = lines.number + index + 2 - found.len();
            Err(ManifestError::at(line, "", Rejection::Order))
        }
        None => Ok(()),
    }
}

fn interpreter(lines: &mut Lines<'_>) -> Result<Interpreter, ManifestError> {
    let Some(python) = lines.take("python") else {
        return Err(lines.refuse_next("python"));
    };
    let python = fields(python, "EXECUTABLE VERSION SOABI LIBC MACHINE");
    let [executable, version, soabi, libc, machine] =
        python.map_err(|error| lines.refuse(error))?;
    let words = (|| -> Result<_, Rejection> {
        Ok((
            path(executable)?,
            word(version, "VERSION")?,
            word(soabi, "SOABI")?,
            word(libc, "LIBC")?,
            word(machine, "MACHINE")?,
        ))
    })();
    let (executable, version, soabi, libc, machine) = words.map_err(|error| lines.refuse(error))?;
    let Some(prefix) = lines.take("prefix") else {
        return Err(lines.refuse_next("prefix"));
    };
    let prefixes = fields(prefix, "PREFIX BASE_PREFIX")
        .and_then(|[prefix, base]| Ok((path(prefix)?, path(base)?)));
    let (prefix, base_prefix) = prefixes.map_err(|error| lines.refuse(error))?;
    Ok(Interpreter {
        executable,
        version,
        soabi,
        libc,
        machine,
        prefix,
        base_prefix,
    })
}

fn search_path(rest: &str) -> Result<SearchPath, Rejection> {
    const FIELDS: &str = "found|added PATH";
    let [how, place] = fields(rest, FIELDS)?;
    Ok(SearchPath {
        path: path(place)?,
        added: one_of(how, "found", "added", FIELDS)?,
    })
}

fn distribution(rest: &str) -> Result<Distribution, Rejection> {
    const FIELDS: &str = "NAME VERSION plain|editable";
    let [name, version, how] = fields(rest, FIELDS)?;
    Ok(Distribution {
        name: word(name, "NAME")?,
        version: word(version, "VERSION")?,
        editable: one_of(how, "plain", "editable", FIELDS)?,
    })
}

/// Whether it is the second of two words.
fn one_of(text: &str, no: &str, yes: &str, what: &'static str) -> Result<bool, Rejection> {
    match text {
        text if text == no => Ok(false),
        text if text == yes => Ok(true),
        _ => Err(Rejection::Fields(what)),
    }
}

fn library(rest: &str) -> Result<Library, Rejection> {
    let [digest, size, soname, place] = fields(rest, "BLAKE3 SIZE SONAME PATH")?;
    let soname = word(soname, "SONAME")?;
    // It becomes the name of a file in a folder.
    if soname.contains('/') || soname == "." || soname == ".." {
        return Err(Rejection::Word("SONAME"));
    }
    Ok(Library {
        soname,
        path: path(place)?,
        file: file("f", digest, size)?,
    })
}

fn root_file(rest: &str) -> Result<RootFile, Rejection> {
    const FIELDS: &str = "f|x BLAKE3 SIZE PATH";
    let [kind, digest, size, place] = fields(rest, FIELDS)?;
    one_of(kind, "f", "x", FIELDS)?;
    let path = path(place)?;
    check_root(&path)?;
    Ok(RootFile {
        path,
        file: file(kind, digest, size)?,
    })
}

fn entries(
    lines: &mut Lines<'_>,
    root: &lakekeep_policy::GuestPath,
    tally: &mut Tally,
) -> Result<Vec<Entry>, ManifestError> {
    let mut check = TreeCheck::default();
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let entry = match lines.rest.peek().map(|line| line.split_at_checked(2)) {
            Some(Some(("d\t" | "f\t" | "x\t" | "l\t", _))) => {
                lines.advance();
                self::entry(lines.current)
            }
            _ => return Ok(entries),
        };
        let checked = entry.and_then(|entry| {
            beneath(root, &entry.path)?;
            tally.entry()?;
            if let Node::File(file) = &entry.node {
                tally.content(file)?;
            }
            check.next(&entry)?;
            Ok(entry)
        });
        entries.push(checked.map_err(|error| lines.refuse(error))?);
    }
}

fn entry(line: &str) -> Result<Entry, Rejection> {
    let (kind, rest) = line.split_once('\t').unwrap_or_default();
    let (path, node) = match kind {
        "d" => (rest, Node::Directory),
        "l" => {
            let [target, path] = fields(rest, "TARGET PATH")?;
            (path, Node::Link(target.to_owned()))
        }
        kind => {
            let [digest, size, path] = fields(rest, "BLAKE3 SIZE PATH")?;
            (path, Node::File(file(kind, digest, size)?))
        }
    };
    Ok(Entry {
        path: path.to_owned(),
        node,
    })
}
