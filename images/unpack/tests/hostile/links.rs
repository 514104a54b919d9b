//! Links, and what is written through them.

use super::common::Tar;
use super::place::{Case, long};

pub fn links_through() -> Vec<Case> {
    let t = Tar::default;
    let out = || t().symlink("l", "../outside");
    vec![
        (
            "through a link out",
            out().file("l/planted", "x").end(),
            "not a folder",
        ),
        (
            "through an absolute link",
            t().symlink("l", "/tmp").file("l/x", "x").end(),
            "not a folder",
        ),
        (
            "through a link to itself",
            t().symlink("l", "l").file("l/x", "x").end(),
            "not a folder",
        ),
        (
            "through a link within",
            t().folder("d/").symlink("l", "d").file("l/x", "x").end(),
            "not a folder",
        ),
        (
            "through two links",
            t().symlink("a", "b")
                .symlink("b", "..")
                .file("a/outside/x", "x")
                .end(),
            "not a folder",
        ),
        (
            "through a link below",
            t().folder("d/")
                .symlink("d/l", "../../outside")
                .file("d/l/x", "x")
                .end(),
            "not a folder",
        ),
        ("folder over a link", out().folder("l/").end(), "twice"),
        (
            "folder through a link",
            out().folder("l/d/").end(),
            "not a folder",
        ),
        (
            "link through a link",
            out().symlink("l/x", "y").end(),
            "not a folder",
        ),
        (
            "whiteout through a link",
            out().file("l/.wh.canary", "").end(),
            "not a folder",
        ),
        ("file over a link", out().file("l", "x").end(), "twice"),
        (
            "below a file",
            t().file("f", "x").file("f/x", "x").end(),
            "not a folder",
        ),
    ]
}

pub fn links_out() -> Vec<Case> {
    let t = Tar::default;
    let out = || t().symlink("l", "../outside");
    vec![
        ("link to nothing", t().symlink("l", "").end(), "nothing"),
        (
            "link by pax with NUL",
            t().pax(&[("linkpath", "a\0b")]).symlink("l", "x").end(),
            "NUL",
        ),
        (
            "link twice by pax",
            t().pax(&[("linkpath", "a"), ("linkpath", "b")])
                .symlink("l", "x")
                .end(),
            "target twice",
        ),
        (
            "target by pax and by GNU",
            long(b'K', b"a")
                .pax(&[("linkpath", "b")])
                .symlink("l", "x")
                .end(),
            "target twice",
        ),
        (
            "long target",
            long(b'K', &[b't'; 4096]).symlink("l", "x").end(),
            "more than 4096",
        ),
        (
            "hard link out",
            t().hardlink("h", "../outside/canary").end(),
            "upwards",
        ),
        (
            "hard link absolute",
            t().hardlink("h", "/etc/passwd").end(),
            "absolute",
        ),
        (
            "hard link through a link",
            out().hardlink("h", "l/canary").end(),
            "not a folder",
        ),
        (
            "hard link to what comes later",
            t().hardlink("h", "f").file("f", "x").end(),
            "before it",
        ),
        (
            "hard link to nothing",
            t().hardlink("h", "").end(),
            "to nothing",
        ),
        (
            "hard link to a folder",
            t().folder("d/").hardlink("h", "d").end(),
            "is a folder",
        ),
    ]
}

pub fn links_and_replacements() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "hard link to itself",
            t().hardlink("h", "h").end(),
            "before it",
        ),
        (
            "hard link by pax out",
            t().pax(&[("linkpath", "../outside/canary")])
                .hardlink("h", "f")
                .end(),
            "upwards",
        ),
        (
            "hard link by GNU out",
            long(b'K', b"../outside/canary").hardlink("h", "f").end(),
            "upwards",
        ),
        (
            "hard link to a whiteout",
            t().file(".wh.f", "").hardlink("h", ".wh.f").end(),
            "whiteout",
        ),
        (
            "hard link with content",
            t().kind(b'1', "h", b"x").end(),
            "has content",
        ),
        (
            "hard link whose target is replaced",
            t().file("f", "x")
                .hardlink("h", "f")
                .symlink("f", "../outside/canary")
                .end(),
            "twice",
        ),
        (
            "written through a hard link",
            t().symlink("l", "../outside/canary")
                .hardlink("h", "l")
                .file("h", "x")
                .end(),
            "twice",
        ),
    ]
}
