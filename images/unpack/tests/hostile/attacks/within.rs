//! What is left within the folder and may not be there.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::lgetxattr;

use super::super::common::{Fields, GNU, Tar, header, sum};
use super::super::place::Place;
use super::readers::Reader::{Gnu, Python};
use super::{Attack, Proof};

/// What only root may make.
const PRIVILEGED: [&str; 6] = [
    "character device",
    "block device",
    "overlayfs's whiteout",
    "opaque by attribute",
    "redirect by attribute",
    "file capability",
];

pub fn needs_privileges(attack: &str) -> bool {
    PRIVILEGED.contains(&attack)
}

pub fn has_privileges() -> bool {
    rustix::process::geteuid().is_root()
}

fn t() -> Tar {
    Tar::default()
}

fn found(place: &Place, name: &str) -> Option<fs::Metadata> {
    fs::symlink_metadata(place.root().join(name)).ok()
}

fn is_device(place: &Place) -> bool {
    found(place, "p").is_some_and(|found| {
        found.file_type().is_char_device() || found.file_type().is_block_device()
    })
}

fn is_pipe(place: &Place) -> bool {
    found(place, "p").is_some_and(|found| found.file_type().is_fifo())
}

fn sets_id(place: &Place) -> bool {
    found(place, "s").is_some_and(|found| found.mode() & 0o6000 != 0)
}

fn is_second(place: &Place) -> bool {
    fs::read(place.root().join("f")).is_ok_and(|content| content == b"second")
}

/// Much larger than any archive here.
fn is_huge(place: &Place) -> bool {
    found(place, "s").is_some_and(|found| found.size() > 1 << 30)
}

/// What was inside of something else has become a file.
fn is_smuggled(place: &Place) -> bool {
    found(place, "inner").is_some()
}

fn has_attribute(place: &Place, name: &str) -> bool {
    let length = lgetxattr(place.root().join("f"), name, &mut [0_u8; 64]);
    length.is_ok_and(|length| length > 0)
}

fn mode(mode: u32) -> Tar {
    let fields = Fields {
        name: b"s",
        mode,
        ..Fields::default()
    };
    t().entry(&fields, b"")
}

/// Of GNU's old form: no content, and 8 GiB in the end.
fn old_sparse() -> Tar {
    let mut block = header(&Fields {
        name: b"s",
        kind: b'S',
        magic: GNU,
        ..Fields::default()
    });
    block[386..397].copy_from_slice(b"00000000000");
    block[398..409].copy_from_slice(b"00000000000");
    block[483..494].copy_from_slice(b"77777777777");
    sum(&mut block);
    t().raw(&block)
}

pub fn kinds() -> Vec<Attack> {
    let device = |what, kind| (what, t().kind(kind, "p", b""), Proof::Harms(Gnu, is_device));
    let inner = t().file("inner", "").bytes;
    vec![
        device("character device", b'3'),
        device("block device", b'4'),
        device("overlayfs's whiteout", b'3'),
        (
            "pipe",
            t().kind(b'6', "p", b""),
            Proof::Harms(Python, is_pipe),
        ),
        ("set-user-ID", mode(0o4755), Proof::Harms(Python, sets_id)),
        ("set-group-ID", mode(0o2755), Proof::Harms(Python, sets_id)),
        (
            "file twice",
            t().file("f", "first").file("f", "second"),
            Proof::Harms(Python, is_second),
        ),
        (
            "file twice, written otherwise",
            t().file("f", "first").file("./f", "second"),
            Proof::Harms(Gnu, is_second),
        ),
        (
            "folder with content",
            t().kind(b'5', "d/", &inner),
            Proof::Harms(Python, is_smuggled),
        ),
        (
            "hard link with content",
            t().file("f", "x").entry(
                &Fields {
                    name: b"h",
                    kind: b'1',
                    size: 512,
                    target: b"f",
                    ..Fields::default()
                },
                &inner,
            ),
            Proof::Harms(Python, is_smuggled),
        ),
        (
            "link with content",
            t().kind(b'2', "l", &inner),
            Proof::Harms(Python, is_smuggled),
        ),
    ]
}

pub fn attributes() -> Vec<Attack> {
    let set = |name: &str, value: &str| t().pax(&[(name, value)]).file("f", "x");
    vec![
        (
            "opaque by attribute",
            set("SCHILY.xattr.trusted.overlay.opaque", "y"),
            Proof::Harms(Gnu, |place| has_attribute(place, "trusted.overlay.opaque")),
        ),
        (
            "redirect by attribute",
            set("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            Proof::Harms(Gnu, |place| {
                has_attribute(place, "trusted.overlay.redirect")
            }),
        ),
        (
            "opaque by user attribute",
            set("SCHILY.xattr.user.overlay.opaque", "y"),
            Proof::Harms(Gnu, |place| has_attribute(place, "user.overlay.opaque")),
        ),
        // vfs_cap_data (capabilities(7)), version 2: CAP_SYS_ADMIN, permitted and effective.
        (
            "file capability",
            set(
                "SCHILY.xattr.security.capability",
                "\u{1}\0\0\u{2}\0\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
            Proof::Harms(Gnu, |place| has_attribute(place, "security.capability")),
        ),
    ]
}

pub fn amounts() -> Vec<Attack> {
    let version = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];
    let size = [
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "9999999999"),
    ];
    let records = [&version[..], &size].concat();
    vec![
        (
            "old GNU sparse",
            old_sparse(),
            Proof::Harms(Python, is_huge),
        ),
        (
            "pax sparse",
            t().pax(&records).file("s", "0\n"),
            Proof::Harms(Python, is_huge),
        ),
        (
            "old pax sparse",
            t().pax(&[("GNU.sparse.size", "9999999999"), ("GNU.sparse.map", "0,0")])
                .file("s", ""),
            Proof::Harms(Python, is_huge),
        ),
        (
            "deep",
            t().folder(&"d/".repeat(9)),
            Proof::Harms(Python, |place| found(place, &"d/".repeat(9)).is_some()),
        ),
        (
            "too many entries",
            (0..60).fold(t(), |t, n| t.file(&n.to_string(), "")),
            Proof::Harms(Python, |place| found(place, "59").is_some()),
        ),
    ]
}
