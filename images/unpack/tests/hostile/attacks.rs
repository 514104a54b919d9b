//! Attacks that work against a program that trusts what it reads.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::common::{Fields, Tar};
use super::place::{Place, long, unpacked};

/// Unpacks with Python's tarfile as it was before it had filters.
fn naively(archive: &[u8], root: &Path) {
    let file = root.with_file_name("archive.tar");
    fs::write(&file, archive).unwrap();
    let script = "import sys, tarfile\n\
        with tarfile.open(sys.argv[1]) as t: t.extractall(sys.argv[2], filter='fully_trusted')";
    let done = Command::new("python3")
        .args(["-c", script])
        .args([&file, &root.to_path_buf()])
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    // It may end with an error, when the harm is done.
    assert!(
        !said.contains("ModuleNotFoundError") && !said.contains("SyntaxError"),
        "{said}"
    );
}

/// What an attack did outside, or within where nothing may be so.
type Worked = fn(&Place) -> bool;

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

fn set_id(place: &Place) -> bool {
    fs::metadata(place.root().join("s")).is_ok_and(|found| found.mode() & 0o6000 != 0)
}

fn pipe(place: &Place) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let found = fs::symlink_metadata(place.root().join("p"));
    found.is_ok_and(|found| found.file_type().is_fifo())
}

fn replaced(place: &Place) -> bool {
    fs::read(place.root().join("f")).is_ok_and(|content| content == b"second")
}

fn attacks_by_name() -> Vec<(&'static str, Tar, Worked)> {
    let t = Tar::default;
    let absolute = |place: &str| format!("{place}/outside/x");
    // The place's own path is put in when it is known.
    let here = absolute("HERE");
    vec![
        ("upwards", t().file("../outside/x", "x"), planted),
        (
            "upwards within",
            t().folder("a/").file("a/../../outside/x", "x"),
            planted,
        ),
        (
            "absolute",
            t().pax(&[("path", &here)]).file("f", "x"),
            planted,
        ),
        (
            "by pax",
            t().pax(&[("path", "../outside/x")]).file("f", "x"),
            planted,
        ),
        (
            "by GNU",
            long(b'L', b"../outside/x").file("f", "x"),
            planted,
        ),
        (
            "through a link",
            t().symlink("l", "../outside").file("l/x", "x"),
            planted,
        ),
        (
            "through two links",
            t().symlink("b", "..")
                .symlink("a", "b/outside")
                .file("a/x", "x"),
            planted,
        ),
        (
            "folder through a link",
            t().symlink("l", "../outside").folder("l/x/"),
            planted,
        ),
        (
            "link through a link",
            t().symlink("l", "../outside").symlink("l/x", "y"),
            planted,
        ),
        (
            "hard link out",
            t().hardlink("h", "../outside/canary"),
            linked,
        ),
        (
            "written through a hard link",
            t().hardlink("h", "../outside/canary")
                .file("h", "overwritten"),
            overwritten_or_linked,
        ),
    ]
}

fn attacks_by_kind() -> Vec<(&'static str, Tar, Worked)> {
    let t = Tar::default;
    // The place's own path is put in when it is known.
    vec![
        (
            "hard link through a link",
            t().symlink("l", "../outside").hardlink("h", "l/canary"),
            linked,
        ),
        ("pipe", t().kind(b'6', "p", b""), pipe),
        (
            "file twice",
            t().file("f", "first").file("f", "second"),
            replaced,
        ),
        (
            "set-user-ID",
            t().entry(
                &Fields {
                    name: b"s",
                    mode: 0o4755,
                    ..Fields::default()
                },
                b"",
            ),
            set_id,
        ),
    ]
}

fn overwritten_or_linked(place: &Place) -> bool {
    overwritten(place) || linked(place)
}

/// Where it is absolute, the attack has the place's path.
fn placed(attack: &Tar, place: &Place) -> Vec<u8> {
    let absolute = place.outside().join("x");
    if attack.bytes.windows(4).any(|bytes| bytes == b"HERE") {
        let path = absolute.to_str().unwrap();
        return Tar::default().pax(&[("path", path)]).file("f", "x").end();
    }
    attack.clone().end()
}

/// Each attack first works against a program that trusts what it reads, and then fails here.
#[test]
fn attacks_that_work_elsewhere_fail_here() {
    let attacks = [attacks_by_name(), attacks_by_kind()].concat();
    assert!(attacks.len() >= 12);
    for (what, attack, worked) in &attacks {
        let victim = Place::new();
        naively(&placed(attack, &victim), &victim.root());
        assert!(worked(&victim), "{what}: does not work at all");
        let place = Place::new();
        let before = place.canaries();
        let archive = placed(attack, &place);
        let unpacked = unpacked(&archive, &place.root());
        assert!(!worked(&place), "{what}: works here");
        assert_eq!(place.canaries(), before, "{what}");
        // Set-ID bits are left out; all else is refused.
        assert_eq!(
            unpacked.is_ok(),
            *what == "set-user-ID",
            "{what}: {unpacked:?}"
        );
    }
    println!("{} attacks", attacks.len());
}
