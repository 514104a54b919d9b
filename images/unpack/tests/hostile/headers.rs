//! Headers that lie, contradict each other, or have no end.

use super::common::{Fields, GNU, Tar, record};
use super::place::{Case, fields, long, patched, pax_entry};

pub fn broken_headers() -> Vec<Case> {
    let t = Tar::default;
    let whole = t().file("f", "content").end();
    vec![
        (
            "no archive",
            b"hello, this is no archive".to_vec(),
            "cut off",
        ),
        ("empty", Vec::new(), "cut off"),
        ("random block", vec![0xaa; 1024], "checksum"),
        (
            "wrong checksum",
            {
                let mut a = whole.clone();
                a[0] = b'g';
                a
            },
            "checksum is wrong",
        ),
        ("cut in the header", whole[..300].to_vec(), "cut off"),
        ("cut in the content", whole[..515].to_vec(), "cut off"),
        ("cut in the padding", whole[..1000].to_vec(), "cut off"),
        ("cut before the end", whole[..1024].to_vec(), "cut off"),
        (
            "garbage behind the end",
            [whole.clone(), vec![1; 512]].concat(),
            "followed by",
        ),
        (
            "archive behind the end",
            [whole.clone(), whole.clone()].concat(),
            "followed by",
        ),
        (
            "one zero block, then more",
            [&whole[..1024], &[0; 512], &whole].concat(),
            "followed by",
        ),
        (
            "size not a number",
            patched(124, b"0000000000x"),
            "size is no number",
        ),
        ("size negative", patched(124, &[0xff; 12]), "negative"),
        (
            "size huge",
            patched(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
            "too large",
        ),
        (
            "size beyond the limit",
            fields(|f| f.size = 2 << 20),
            "more than 1048576",
        ),
    ]
}

pub fn numbers() -> Vec<Case> {
    let t = Tar::default;
    let whole = t().file("f", "content").end();
    vec![
        (
            "size beyond the archive",
            fields(|f| f.size = 1 << 19),
            "cut off",
        ),
        (
            "mode not a number",
            patched(100, b"rwxr-x"),
            "mode is no number",
        ),
        ("unknown magic", patched(257, b"zipfile\0"), "magic"),
        (
            "size by pax alone",
            pax_entry(&[("size", "1024")]).end(),
            "size twice",
        ),
        (
            "size by pax to none",
            pax_entry(&[("size", "0")]).end(),
            "size twice",
        ),
        // CVE-2025-62518: the header says nothing follows, the extended header says a file does.
        (
            "archive in an archive",
            t().pax(&[("size", "1536")]).file("f", "").raw(&whole).end(),
            "size twice",
        ),
        (
            "size by pax negative",
            pax_entry(&[("size", "-1")]).end(),
            "number is none",
        ),
        (
            "size by pax overflows",
            pax_entry(&[("size", "18446744073709551617")]).end(),
            "number is none",
        ),
        (
            "size by pax with zeros",
            pax_entry(&[("size", "01")]).end(),
            "number is none",
        ),
        (
            "pax without a length",
            t().kind(b'x', "p", b"path=x\n").file("f", "x").end(),
            "length",
        ),
        (
            "pax length too long",
            t().kind(b'x', "p", b"99 path=x\n").file("f", "x").end(),
            "length",
        ),
    ]
}

pub fn extended_headers() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "pax length too short",
            t().kind(b'x', "p", b"3 path=x\n").file("f", "x").end(),
            "line",
        ),
        (
            "pax without a line's end",
            t().kind(b'x', "p", b"9 path=xx").file("f", "x").end(),
            "line",
        ),
        (
            "pax without a value",
            t().kind(b'x', "p", b"8 pathx\n").file("f", "x").end(),
            "value",
        ),
        (
            "pax without a key",
            t().kind(b'x', "p", b"5 =x\n").file("f", "x").end(),
            "key",
        ),
        (
            "pax twice",
            t().pax(&[("path", "a")])
                .pax(&[("path", "b")])
                .file("f", "x")
                .end(),
            "header twice",
        ),
        (
            "pax for nothing",
            t().pax(&[("path", "a")]).end(),
            "no entry",
        ),
        ("GNU name for nothing", long(b'L', b"a").end(), "no entry"),
        (
            "pax without end",
            t().kind(b'x', "p", &vec![b' '; 300 << 10]).end(),
            "more than 262144",
        ),
        (
            "global path",
            t().kind(b'g', "g", record("path", "../x").as_bytes())
                .file("f", "x")
                .end(),
            "global",
        ),
        (
            "global size",
            t().kind(b'g', "g", record("size", "9").as_bytes())
                .file("f", "x")
                .end(),
            "global",
        ),
    ]
}

pub fn compressed() -> Vec<Case> {
    let t = Tar::default;
    vec![
        (
            "global attribute",
            t().kind(b'g', "g", record("SCHILY.xattr.user.a", "9").as_bytes())
                .file("f", "x")
                .end(),
            "global",
        ),
        (
            "too many entries",
            (0..60).fold(t(), |t, n| t.file(&n.to_string(), "")).end(),
            "50 entries",
        ),
        (
            "too many comments",
            (0..60)
                .fold(t(), |t, _| {
                    t.kind(b'g', "g", record("comment", "x").as_bytes())
                })
                .end(),
            "50 entries",
        ),
        (
            "GNU prefix is no prefix",
            Tar::default()
                .entry(
                    &Fields {
                        name: b"../x",
                        magic: GNU,
                        ..Fields::default()
                    },
                    b"",
                )
                .end(),
            "upwards",
        ),
    ]
}
