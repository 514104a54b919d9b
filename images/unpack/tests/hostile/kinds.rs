//! Entries that are neither files nor folders nor links, attributes and whiteouts.

use super::common::Tar;
use super::place::{Case, pax_entry};

pub fn special_kinds() -> Vec<Case> {
    let t = Tar::default;
    vec![
        ("character device", t().kind(b'3', "d", b"").end(), "device"),
        ("block device", t().kind(b'4', "d", b"").end(), "device"),
        ("pipe", t().kind(b'6', "p", b"").end(), "pipe"),
        (
            "unknown kind",
            t().kind(b'Z', "z", b"").end(),
            "unknown kind",
        ),
        (
            "multi-volume",
            t().kind(b'M', "m", b"").end(),
            "unknown kind",
        ),
        ("old GNU sparse", t().kind(b'S', "s", b"").end(), "sparse"),
        (
            "pax sparse",
            pax_entry(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.realsize", "9999999999"),
            ])
            .end(),
            "sparse",
        ),
        (
            "old pax sparse",
            pax_entry(&[("GNU.sparse.size", "9999999999")]).end(),
            "sparse",
        ),
        (
            "sparse by another name",
            pax_entry(&[("GNU.sparse.name", "../x")]).end(),
            "sparse",
        ),
        (
            "folder with content",
            t().kind(b'5', "d/", b"x").end(),
            "has content",
        ),
        (
            "link with content",
            t().kind(b'2', "l", b"x").end(),
            "has content",
        ),
        (
            "file twice",
            t().file("f", "a").file("f", "b").end(),
            "twice",
        ),
        (
            "file twice, written otherwise",
            t().file("f", "a").file("./f", "b").end(),
            "twice",
        ),
        (
            "folder over a file",
            t().file("f", "a").folder("f/").end(),
            "twice",
        ),
    ]
}

pub fn attribute_kinds() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "file over a folder",
            t().folder("d/").file("d", "x").end(),
            "twice",
        ),
        (
            "link over a folder",
            t().folder("d/").symlink("d", "/etc").end(),
            "twice",
        ),
        (
            "whiteout of nothing",
            t().file(".wh.", "").end(),
            "whiteout",
        ),
        (
            "whiteout of the folder",
            t().file("d/.wh..", "").end(),
            "whiteout",
        ),
        (
            "whiteout upwards",
            t().file("d/.wh...", "").end(),
            "whiteout",
        ),
        (
            "whiteout as a folder",
            t().folder(".wh.d/").end(),
            "whiteout",
        ),
        (
            "whiteout as a link",
            t().symlink(".wh.d", "/etc").end(),
            "whiteout",
        ),
        (
            "whiteout with content",
            t().file(".wh.f", "x").end(),
            "whiteout",
        ),
        (
            "below a whiteout",
            t().file(".wh.d/f", "x").end(),
            "whiteout",
        ),
        (
            "whiteout of a whiteout",
            t().file(".wh..wh.f", "").end(),
            "whiteout",
        ),
        (
            "whiteout twice",
            t().file(".wh.f", "").file(".wh.f", "").end(),
            "twice",
        ),
    ]
}

pub fn whiteout_kinds() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "overlayfs's whiteout",
            t().kind(b'3', "f", b"").end(),
            "device",
        ),
        (
            "opaque by attribute",
            pax_entry(&[("SCHILY.xattr.trusted.overlay.opaque", "y")]).end(),
            "trusted.overlay.opaque",
        ),
        (
            "redirect by attribute",
            pax_entry(&[("SCHILY.xattr.trusted.overlay.redirect", "/etc")]).end(),
            "redirect",
        ),
        (
            "opaque by user attribute",
            pax_entry(&[("SCHILY.xattr.user.overlay.opaque", "y")]).end(),
            "user.overlay",
        ),
        (
            "attribute of a link",
            t().pax(&[("SCHILY.xattr.trusted.x", "y")])
                .symlink("l", "x")
                .end(),
            "trusted.x",
        ),
        (
            "attribute twice",
            pax_entry(&[("SCHILY.xattr.user.a", "1"), ("SCHILY.xattr.user.a", "2")]).end(),
            "attribute twice",
        ),
        (
            "attribute without a name",
            pax_entry(&[("SCHILY.xattr.", "1")]).end(),
            "no name",
        ),
        (
            "attributes without end",
            pax_entry(&[("SCHILY.xattr.user.a", &"v".repeat(2000))]).end(),
            "1024 bytes",
        ),
    ]
}
