//! Names that lead elsewhere.

use super::common::Tar;
use super::place::{Case, fields, long, pax_entry};

pub fn plain_names() -> Vec<Case> {
    let t = Tar::default;
    vec![
        ("absolute", t().file("/etc/passwd", "x").end(), "absolute"),
        ("absolute folder", t().folder("/tmp/x/").end(), "absolute"),
        (
            "absolute, doubled",
            t().file("//etc/passwd", "x").end(),
            "absolute",
        ),
        ("upwards", t().file("../outside/x", "x").end(), "upwards"),
        (
            "upwards within",
            t().file("a/../../outside/x", "x").end(),
            "upwards",
        ),
        ("upwards at the end", t().folder("a/..").end(), "upwards"),
        (
            "upwards behind a dot",
            t().file("./../x", "x").end(),
            "upwards",
        ),
        ("upwards folder", t().folder("../").end(), "upwards"),
        ("upwards by prefix", fields(|f| f.prefix = b".."), "upwards"),
        (
            "absolute by prefix",
            fields(|f| f.prefix = b"/etc"),
            "absolute",
        ),
        ("no name", t().file("", "x").end(), "no name"),
        (
            "root as a file",
            t().file("./", "x").end(),
            "ends with a slash",
        ),
        (
            "root as a link",
            t().symlink(".", "/etc").end(),
            "ends with a slash",
        ),
        (
            "file with a slash",
            t().file("f/", "x").end(),
            "ends with a slash",
        ),
        (
            "link with a slash",
            t().symlink("f/", "/etc").end(),
            "ends with a slash",
        ),
        ("deep", t().folder(&"d/".repeat(9)).end(), "deeper"),
        (
            "long part",
            long(b'L', &[b'n'; 256]).file("f", "x").end(),
            "longer than 255",
        ),
        (
            "long name",
            long(b'L', &b"n/".repeat(2040)).file("f", "x").end(),
            "deeper",
        ),
    ]
}

pub fn names_by_extension() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "upwards by GNU",
            long(b'L', b"../outside/x").file("f", "x").end(),
            "upwards",
        ),
        (
            "absolute by GNU",
            long(b'L', b"/etc/x").file("f", "x").end(),
            "absolute",
        ),
        (
            "NUL by GNU",
            long(b'L', b"a\0b").file("f", "x").end(),
            "NUL",
        ),
        (
            "endless by GNU",
            t().kind(b'L', "l", &[b'n'; 5000]).end(),
            "more than 4096",
        ),
        (
            "upwards by pax",
            pax_entry(&[("path", "../outside/x")]).end(),
            "upwards",
        ),
        (
            "absolute by pax",
            pax_entry(&[("path", "/etc/x")]).end(),
            "absolute",
        ),
        ("NUL by pax", pax_entry(&[("path", "a\0b")]).end(), "NUL"),
        ("empty by pax", pax_entry(&[("path", "")]).end(), "empty"),
        (
            "twice by pax",
            pax_entry(&[("path", "a"), ("path", "b")]).end(),
            "name twice",
        ),
        (
            "by pax and by GNU",
            long(b'L', b"a").pax(&[("path", "b")]).file("f", "x").end(),
            "name twice",
        ),
        (
            "twice by GNU",
            long(b'L', b"a")
                .raw(&long(b'L', b"b").bytes)
                .file("f", "x")
                .end(),
            "name twice",
        ),
    ]
}
