//! What is written, linked or changed outside of the folder.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::super::common::{Fields, Tar, record};
use super::super::place::{Place, long};
use super::readers::Reader::{Gnu, Python};
use super::{Attack, Proof};

const PLANTED: Proof = Proof::Harms(Python, planted);
const LINKED: Proof = Proof::Harms(Python, linked);

fn planted(place: &Place) -> bool {
    place.outside().join("x").symlink_metadata().is_ok()
}

fn overwritten(place: &Place) -> bool {
    fs::read(place.outside().join("canary")).unwrap() != b"the host's own"
}

fn linked(place: &Place) -> bool {
    fs::metadata(place.outside().join("canary"))
        .unwrap()
        .nlink()
        > 1
}

fn opened(place: &Place) -> bool {
    fs::metadata(place.outside()).unwrap().mode() & 0o002 != 0
}

fn t() -> Tar {
    Tar::default()
}

/// By the prefix that a header's name continues.
fn prefixed(prefix: &str) -> Tar {
    let fields = Fields {
        name: b"x",
        prefix: prefix.as_bytes(),
        ..Fields::default()
    };
    t().entry(&fields, b"")
}

pub fn by_names(place: &Place) -> Vec<Attack> {
    let outside = place.outside().display().to_string();
    let x = format!("{outside}/x");
    let plant = |what, archive| (what, archive, PLANTED);
    vec![
        plant("upwards", t().file("../outside/x", "x")),
        plant(
            "upwards within",
            t().folder("a/").file("a/../../outside/x", "x"),
        ),
        plant("upwards behind a dot", t().file("./../outside/x", "x")),
        plant("upwards by prefix", prefixed("../outside")),
        plant(
            "upwards by pax",
            t().pax(&[("path", "../outside/x")]).file("f", "x"),
        ),
        plant("upwards by GNU", long(b'L', b"../outside/x").file("f", "x")),
        plant("a folder upwards", t().folder("../outside/x/")),
        plant("a link upwards", t().symlink("../outside/x", "y")),
        plant("a pipe upwards", t().kind(b'6', "../outside/x", b"")),
        plant("absolute", t().file(&x, "x")),
        plant("absolute folder", t().folder(&format!("{x}/"))),
        plant("absolute, doubled", t().file(&format!("/{x}"), "x")),
        plant("absolute by prefix", prefixed(&outside)),
        plant("absolute by pax", t().pax(&[("path", &x)]).file("f", "x")),
        plant("absolute by GNU", long(b'L', x.as_bytes()).file("f", "x")),
        plant(
            "global path",
            t().kind(b'g', "g", record("path", "../outside/x").as_bytes())
                .file("f", "x"),
        ),
        plant(
            "sparse by another name",
            t().pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "../outside/x"),
                ("GNU.sparse.realsize", "0"),
            ])
            .file("s", "0\n"),
        ),
    ]
}

pub fn by_links(place: &Place) -> Vec<Attack> {
    let outside = place.outside().display().to_string();
    let out = || t().symlink("l", "../outside");
    let plant = |what, archive| (what, archive, PLANTED);
    let opening = Fields {
        name: b"l/",
        kind: b'5',
        mode: 0o777,
        ..Fields::default()
    };
    vec![
        plant("through a link out", out().file("l/x", "x")),
        plant(
            "through an absolute link",
            t().symlink("l", &outside).file("l/x", "x"),
        ),
        plant(
            "through two links",
            t().symlink("b", "..")
                .symlink("a", "b/outside")
                .file("a/x", "x"),
        ),
        plant(
            "through a link below",
            t().folder("d/")
                .symlink("d/l", "../../outside")
                .file("d/l/x", "x"),
        ),
        plant("folder through a link", out().folder("l/x/")),
        plant("link through a link", out().symlink("l/x", "y")),
        plant(
            "file over a link",
            t().symlink("l", "../outside/x").file("l", "x"),
        ),
        (
            "folder over a link",
            out().entry(&opening, b""),
            Proof::Harms(Python, opened),
        ),
        // GNU tar, which removes a folder that is empty to put a link in its place.
        (
            "link over a folder",
            t().folder("d/").symlink("d", "../outside").file("d/x", "x"),
            Proof::Harms(Gnu, planted),
        ),
    ]
}

pub fn by_hard_links(place: &Place) -> Vec<Attack> {
    let canary = place.outside().join("canary").display().to_string();
    let out = "../outside/canary";
    let link = |what, archive| (what, archive, LINKED);
    vec![
        link("hard link out", t().hardlink("h", out)),
        link("hard link absolute", t().hardlink("h", &canary)),
        link(
            "hard link by pax out",
            t().pax(&[("linkpath", out)]).hardlink("h", "f"),
        ),
        link(
            "hard link by GNU out",
            long(b'K', out.as_bytes()).hardlink("h", "f"),
        ),
        link(
            "hard link through a link",
            t().symlink("l", "../outside").hardlink("h", "l/canary"),
        ),
        link(
            "hard link by a global target",
            t().kind(b'g', "g", record("linkpath", out).as_bytes())
                .hardlink("h", "f"),
        ),
        (
            "overwritten through a hard link",
            t().hardlink("h", out).file("h", "overwritten"),
            Proof::Harms(Python, |place| overwritten(place) || linked(place)),
        ),
        (
            "written through a hard link",
            t().symlink("l", out)
                .hardlink("h", "l")
                .file("h", "overwritten"),
            Proof::Harms(Python, overwritten),
        ),
    ]
}
