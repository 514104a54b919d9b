//! Programs that trust what they read, and archives that two of them read differently.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::common::Tar;
use super::super::place::long;
use super::{Attack, Proof};

/// A program that unpacks archives.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// Python's tarfile as it was before it had filters.
    Python,
    /// GNU tar that believes names and sets all attributes.
    Gnu,
    /// The same, which reads on behind blocks of zeros.
    GnuOn,
    /// The reader of small systems.
    Busybox,
}

use Reader::{Busybox, Gnu, GnuOn, Python};

/// A Python that has no filters yet trusts everything.
const SCRIPT: &str = "import sys, tarfile\n\
    trusting = {'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}\n\
    with tarfile.open(sys.argv[1]) as t: t.extractall(sys.argv[2], **trusting)";

impl Reader {
    fn words(self) -> &'static [&'static str] {
        match self {
            Python => &["python3", "-c", SCRIPT, "ARCHIVE", "ROOT"],
            Gnu => &[
                "tar",
                "-xPf",
                "ARCHIVE",
                "-C",
                "ROOT",
                "--xattrs",
                "--xattrs-include=*",
            ],
            GnuOn => &["tar", "-xPif", "ARCHIVE", "-C", "ROOT"],
            Busybox => &["busybox", "tar", "-xf", "ARCHIVE", "-C", "ROOT"],
        }
    }

    /// Unpacks with it. It may end with an error when the harm is done.
    pub fn unpack(self, archive: &[u8], root: &Path) {
        let file = root.with_file_name("archive.tar");
        fs::write(&file, archive).unwrap();
        let word = |word: &&'static str| match *word {
            "ARCHIVE" => file.as_os_str(),
            "ROOT" => root.as_os_str(),
            word => word.as_ref(),
        };
        let words: Vec<_> = self.words().iter().map(word).collect();
        let done = Command::new(words[0]).args(&words[1..]).output();
        let done = done.unwrap_or_else(|error| panic!("{self:?} is needed here: {error}"));
        fs::remove_file(&file).unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        let broken = [
            "ModuleNotFoundError",
            "SyntaxError",
            "TypeError",
            "applet not found",
        ];
        assert!(
            !broken.iter().any(|word| said.contains(word)),
            "{self:?}: {said}"
        );
    }
}

fn t() -> Tar {
    Tar::default()
}

pub fn of_names() -> Vec<Attack> {
    let f = |tar: Tar| tar.file("f", "x");
    vec![
        (
            "NUL by pax",
            f(t().pax(&[("path", "a\0b")])),
            Proof::Differs(Python, Gnu),
        ),
        (
            "by pax and by GNU",
            f(long(b'L', b"a").pax(&[("path", "b")])),
            Proof::Differs(Python, Gnu),
        ),
        (
            "twice by GNU",
            f(long(b'L', b"a").raw(&long(b'L', b"b").bytes)),
            Proof::Differs(Python, Gnu),
        ),
        (
            "pax twice",
            f(t().pax(&[("path", "a")]).pax(&[("path", "b")])),
            Proof::Differs(Python, Gnu),
        ),
        (
            "target by pax and by GNU",
            long(b'K', b"a").pax(&[("linkpath", "b")]).symlink("l", "x"),
            Proof::Differs(Python, Gnu),
        ),
        (
            "hard link to what comes later",
            t().hardlink("h", "f").file("f", "x"),
            Proof::Differs(Gnu, Busybox),
        ),
        (
            "unknown kind",
            t().kind(b'Z', "z", b""),
            Proof::Differs(Python, Busybox),
        ),
        (
            "pax length too short",
            f(t().kind(b'x', "p", b"3 path=x\n")),
            Proof::Differs(Python, Busybox),
        ),
    ]
}

pub fn of_sizes() -> Vec<Attack> {
    let whole = t().file("inner", "content").end();
    let end = [0; 1024];
    vec![
        // CVE-2025-62518: the header says nothing follows, the extended header says a file does.
        (
            "archive in an archive",
            t().pax(&[("size", "1024")])
                .file("f", "")
                .raw(&whole[..1024]),
            Proof::Differs(Python, Busybox),
        ),
        (
            "size by pax alone",
            t().pax(&[("size", "1024")]).file("f", "x"),
            Proof::Differs(Python, Busybox),
        ),
        (
            "size by pax to none",
            t().pax(&[("size", "0")]).file("f", "x"),
            Proof::Differs(Python, Busybox),
        ),
        (
            "one zero block, then more",
            t().file("f", "x").raw(&[0; 512]).raw(&whole[..1024]),
            Proof::Differs(Gnu, Busybox),
        ),
        (
            "archive behind the end",
            t().file("f", "x").raw(&end).raw(&whole[..1024]),
            Proof::Differs(Gnu, GnuOn),
        ),
    ]
}
