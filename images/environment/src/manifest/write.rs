//! The canonical text.

use std::fmt::{self, Write};

use super::{Draft, Entry, FileNode, HEADER, Node};

/// Rough length of an entry's line, for the first allocation.
const LINE: usize = 140;

pub(super) fn write(parts: &Draft) -> String {
    let entries: usize = parts.trees.iter().map(|tree| tree.entries.len()).sum();
    let mut out = String::with_capacity(LINE * (entries + 16));
    // Writing to a string does not fail.
    match lines(parts, &mut out) {
        Ok(()) | Err(fmt::Error) => out,
    }
}

fn lines(parts: &Draft, out: &mut String) -> fmt::Result {
    let python = &parts.interpreter;
    writeln!(out, "{HEADER}")?;
    writeln!(
        out,
        "python\t{}\t{}\t{}\t{}\t{}",
        python.executable, python.version, python.soabi, python.libc, python.machine
    )?;
    writeln!(out, "prefix\t{}\t{}", python.prefix, python.base_prefix)?;
    for entry in &parts.paths {
        let how = if entry.added { "added" } else { "found" };
        writeln!(out, "path\t{how}\t{}", entry.path)?;
    }
    for one in &parts.distributions {
        let how = if one.editable { "editable" } else { "plain" };
        writeln!(out, "distribution\t{}\t{}\t{how}", one.name, one.version)?;
    }
    for library in &parts.libraries {
        let FileNode { digest, size, .. } = library.file;
        let (soname, path) = (&library.soname, &library.path);
        writeln!(out, "library\t{digest}\t{size}\t{soname}\t{path}")?;
    }
    for file in &parts.files {
        write!(out, "file\t")?;
        content(&file.file, file.path.as_str(), out)?;
    }
    for tree in &parts.trees {
        writeln!(out, "tree\t{}", tree.root)?;
        for entry in &tree.entries {
            self::entry(entry, out)?;
        }
    }
    Ok(())
}

fn entry(entry: &Entry, out: &mut String) -> fmt::Result {
    match &entry.node {
        Node::Directory => writeln!(out, "d\t{}", entry.path),
        Node::File(file) => content(file, &entry.path, out),
        Node::Link(target) => writeln!(out, "l\t{target}\t{}", entry.path),
    }
}

fn content(file: &FileNode, path: &str, out: &mut String) -> fmt::Result {
    let kind = if file.executable { 'x' } else { 'f' };
    writeln!(out, "{kind}\t{}\t{}\t{path}", file.digest, file.size)
}
