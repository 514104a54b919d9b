//! Archives that are made to harm: each is refused for its own reason, and nothing outside of the
//! folder is touched.

#[cfg(test)]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::common::{Fields, GNU, Tar, diff_id, header, record, sum};
    use lakekeep_unpack::{Limits, Refusal, UnpackError, unpack};

    /// A folder to unpack to, and one beside it that must stay as it is.
    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("root")).unwrap();
            let outside = folder.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("canary"), "the host's own").unwrap();
            fs::set_permissions(outside.join("canary"), PermissionsExt::from_mode(0o600)).unwrap();
            Place { folder }
        }

        fn root(&self) -> PathBuf {
            self.folder.path().join("root")
        }

        fn outside(&self) -> PathBuf {
            self.folder.path().join("outside")
        }

        /// Everything about everything outside.
        fn canaries(&self) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
            let folders = [self.folder.path().to_owned(), self.outside()];
            let mut found = BTreeMap::new();
            for path in folders
                .iter()
                .flat_map(|folder| fs::read_dir(folder).unwrap())
            {
                let path = path.unwrap().path();
                if path == self.root() {
                    continue;
                }
                let seen = path.symlink_metadata().unwrap();
                let content = fs::read(&path).unwrap_or_default();
                found.insert(
                    path,
                    (seen.mode(), seen.nlink(), seen.mtime_nsec(), content),
                );
            }
            found
        }
    }

    fn small() -> Limits {
        Limits {
            bytes: 8 << 20,
            file_bytes: 1 << 20,
            entries: 50,
            depth: 8,
            attribute_bytes: 1024,
            ..Limits::default()
        }
    }

    fn unpacked(archive: &[u8], root: &Path) -> Result<(), UnpackError> {
        let root = fs::File::open(root).unwrap();
        unpack(archive, root.as_fd(), &diff_id(archive), small()).map(|_| ())
    }

    fn refusal(archive: &[u8], place: &Place) -> Refusal {
        match unpacked(archive, &place.root()) {
            Err(UnpackError::Refused { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    fn pax_entry(records: &[(&str, &str)]) -> Tar {
        Tar::default().pax(records).file("f", "x")
    }

    fn long(kind: u8, name: &[u8]) -> Tar {
        let content = [name, &[0]].concat();
        Tar::default().kind(kind, "././@LongLink", &content)
    }

    fn fields(change: impl FnOnce(&mut Fields<'_>)) -> Vec<u8> {
        let mut fields = Fields {
            name: b"f",
            ..Fields::default()
        };
        change(&mut fields);
        Tar::default().entry(&fields, b"").end()
    }

    fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut block = header(&Fields {
            name: b"f",
            ..Fields::default()
        });
        block[at..at + bytes.len()].copy_from_slice(bytes);
        sum(&mut block);
        Tar::default().raw(&block).end()
    }

    /// What it is called, its bytes, and a word of the reason.
    type Case = (&'static str, Vec<u8>, &'static str);

    fn plain_names() -> Vec<Case> {
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

    fn names_by_extension() -> Vec<Case> {
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

    fn links_through() -> Vec<Case> {
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

    fn links_out() -> Vec<Case> {
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

    fn links_and_replacements() -> Vec<Case> {
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

    fn special_kinds() -> Vec<Case> {
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

    fn attribute_kinds() -> Vec<Case> {
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

    fn whiteout_kinds() -> Vec<Case> {
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

    fn broken_headers() -> Vec<Case> {
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

    fn numbers() -> Vec<Case> {
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

    fn extended_headers() -> Vec<Case> {
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

    fn compressed() -> Vec<Case> {
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

    #[test]
    fn hostile_archives_are_refused_for_their_reasons() {
        let cases: Vec<Case> = [
            plain_names(),
            names_by_extension(),
            links_through(),
            links_out(),
            links_and_replacements(),
            special_kinds(),
            attribute_kinds(),
            whiteout_kinds(),
            broken_headers(),
            numbers(),
            extended_headers(),
            compressed(),
        ]
        .concat();
        assert!(cases.len() >= 120, "{}", cases.len());
        let mut wrong = Vec::new();
        for (what, archive, word) in &cases {
            let place = Place::new();
            let before = place.canaries();
            match unpacked(archive, &place.root()) {
                Err(UnpackError::Refused { why, .. }) if why.to_string().contains(word) => {}
                other => wrong.push(format!("{what}: {other:?}, not {word:?}")),
            }
            assert_eq!(
                place.canaries(),
                before,
                "{what}: something outside was touched"
            );
        }
        assert_eq!(wrong, [""; 0], "of {} archives", cases.len());
        println!("{} hostile archives", cases.len());
    }

    /// A refusal names the entry, as far as its name is known.
    #[test]
    fn a_refusal_names_the_entry() {
        let archive = Tar::default().file("fine", "x").file("../evil", "x").end();
        let place = Place::new();
        let error = unpacked(&archive, &place.root()).unwrap_err().to_string();
        assert!(
            error.contains("entry 2") && error.contains("../evil"),
            "{error}"
        );
        let archive = pax_entry(&[("path", "/etc/shadow")]).end();
        let error = unpacked(&archive, &Place::new().root())
            .unwrap_err()
            .to_string();
        assert!(error.contains("/etc/shadow"), "{error}");
    }

    #[test]
    fn the_wrong_diff_id_is_refused() {
        let archive = Tar::default().file("f", "x").end();
        let place = Place::new();
        let root = fs::File::open(place.root()).unwrap();
        let unpacked = unpack(&archive[..], root.as_fd(), &diff_id(b"other"), small());
        assert!(
            matches!(unpacked, Err(UnpackError::WrongDiffId { .. })),
            "{unpacked:?}"
        );
    }

    #[test]
    fn refusals_are_of_their_kind() {
        let place = Place::new();
        let archive = Tar::default().kind(b'3', "dev/sda", b"").end();
        assert_eq!(refusal(&archive, &place), Refusal::Device);
    }

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
}
