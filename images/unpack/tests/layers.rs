//! What honest layers become.

#[cfg(test)]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::common::{Fields, Tar, diff_id};
    use lakekeep_unpack::{Limits, UnpackError, Unpacked, merge, unpack};

    fn folder(name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        (folder, path)
    }

    fn into(layer: &[u8], archive: &[u8], root: &Path) -> Result<Unpacked, UnpackError> {
        let root = fs::File::open(root).unwrap();
        unpack(layer, root.as_fd(), &diff_id(archive), Limits::default())
    }

    fn gzip(archive: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(archive).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(archive: &[u8]) -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(archive, level)
    }

    /// zstd's frame of 3 bytes of anything.
    const SKIPPED: &[u8] = &[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];

    fn plain() -> Vec<u8> {
        Tar::default()
            .folder("./")
            .folder("usr/")
            .folder("usr/bin/")
            .entry(
                &Fields {
                    name: b"usr/bin/tool",
                    mode: 0o4755,
                    size: 4,
                    ..Fields::default()
                },
                b"tool",
            )
            .hardlink("usr/bin/same", "usr/bin/tool")
            .symlink("bin", "usr/bin")
            .symlink("escape", "/etc/passwd")
            .file("deep/in/folders", "x")
            .folder("usr/")
            .pax(&[
                ("path", "ünï"),
                ("SCHILY.xattr.security.capability", "x"),
                ("mtime", "12.5"),
            ])
            .file("f", "pax")
            .end()
    }

    fn check(root: &Path, unpacked: &Unpacked, archive: &[u8]) {
        assert_eq!(fs::read(root.join("usr/bin/tool")).unwrap(), b"tool");
        let seen = fs::metadata(root.join("usr/bin/tool")).unwrap();
        assert_eq!((seen.mode() & 0o7777, seen.nlink()), (0o555, 2));
        assert_eq!(
            fs::read_link(root.join("escape")).unwrap(),
            Path::new("/etc/passwd")
        );
        let pax = fs::metadata(root.join("ünï")).unwrap();
        assert_eq!(
            (pax.mode() & 0o7777, pax.mtime(), pax.size()),
            (0o444, 12, 3)
        );
        let made = fs::metadata(root.join("deep/in")).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o755);
        assert_eq!((unpacked.entries, unpacked.stripped), (10, 2));
        assert_eq!(
            (unpacked.diff_id, unpacked.bytes),
            (diff_id(archive), archive.len() as u64)
        );
    }

    #[test]
    fn a_layer_is_unpacked_however_it_is_compressed() {
        let archive = plain();
        let (half, rest) = archive.split_at(1500);
        for (what, layer) in [
            ("plain", archive.clone()),
            ("gzip", gzip(&archive)),
            ("gzip in members", [gzip(half), gzip(rest)].concat()),
            ("zstd", zstd(&archive)),
            (
                "zstd in frames",
                [SKIPPED, &zstd(half), SKIPPED, &zstd(rest), SKIPPED].concat(),
            ),
        ] {
            let (_place, root) = folder("root");
            let unpacked = into(&layer, &archive, &root);
            check(
                &root,
                &unpacked.unwrap_or_else(|error| panic!("{what}: {error}")),
                &archive,
            );
        }
    }

    #[test]
    fn layers_that_do_not_decompress_are_refused() {
        let archive = plain();
        let (packed, framed) = (gzip(&archive), zstd(&archive));
        let mut flipped = packed.clone();
        let end = flipped.len() - 6;
        flipped[end] ^= 1;
        for (what, layer) in [
            ("gzip cut off", packed[..packed.len() - 9].to_vec()),
            ("gzip with garbage", [&packed[..], b"garbage"].concat()),
            ("gzip with zeros", [&packed[..], &[0; 64]].concat()),
            ("gzip with a wrong sum", flipped),
            ("zstd cut off", framed[..framed.len() - 9].to_vec()),
            ("zstd with garbage", [&framed[..], b"garbage"].concat()),
            ("zstd's beginning alone", framed[..5].to_vec()),
        ] {
            let (_place, root) = folder("root");
            let unpacked = into(&layer, &archive, &root);
            let format = what.split(' ').next().unwrap();
            match unpacked {
                Err(UnpackError::Compression { format: found, .. })
                    if format.starts_with(found) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = Tar::default().kind(b'0', "zeros", &vec![0; 80 << 20]).end();
        let bomb = gzip(&zeros);
        assert!(bomb.len() < 200 << 10, "{}", bomb.len());
        let (_place, root) = folder("root");
        let unpacked = into(&bomb, &zeros, &root);
        assert!(
            matches!(unpacked, Err(UnpackError::Ratio { .. })),
            "{unpacked:?}"
        );
        let written = fs::metadata(root.join("zeros")).unwrap().len();
        assert!(written <= Limits::RATIO_FROM + (1 << 20), "{written}");
        let limits = Limits {
            bytes: 1 << 20,
            ..Limits::default()
        };
        let (_place, root) = folder("root");
        let open = fs::File::open(&root).unwrap();
        let unpacked = unpack(&bomb[..], open.as_fd(), &diff_id(&zeros), limits);
        assert!(
            matches!(unpacked, Err(UnpackError::TooLarge { .. })),
            "{unpacked:?}"
        );
    }

    /// Unpacks each, and lays them over each other.
    fn merged(layers: &[Vec<u8>]) -> (tempfile::TempDir, PathBuf) {
        let (place, root) = folder("root");
        let mut folders = Vec::new();
        for (number, archive) in layers.iter().enumerate() {
            let path = place.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            into(archive, archive, &path).unwrap();
            folders.push(fs::File::open(&path).unwrap());
        }
        let layers: Vec<_> = folders.iter().map(AsFd::as_fd).collect();
        merge(&layers, fs::File::open(&root).unwrap().as_fd()).unwrap();
        (place, root)
    }

    fn listed(root: &Path) -> Vec<String> {
        fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    walk(root, &path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(root, root, &mut found);
        found.sort();
        found
    }

    #[test]
    fn layers_are_laid_over_each_other() {
        let t = Tar::default;
        let lower = t()
            .folder("a/")
            .file("a/removed", "x")
            .file("a/kept", "x")
            .file("a/changed", "lower")
            .folder("opaque/")
            .file("opaque/hidden", "x")
            .folder("gone/")
            .file("gone/x", "x")
            .file("file", "x")
            .folder("folder/")
            .file("folder/x", "x")
            .symlink("link", "a")
            .end();
        let upper = t()
            .file("a/.wh.removed", "")
            .file("a/changed", "upper")
            .file(".wh.gone", "")
            .folder("opaque/")
            .file("opaque/shown", "x")
            .file("opaque/.wh..wh..opq", "")
            .folder("file/")
            .file("file/x", "x")
            .file("folder", "x")
            .file(".wh.never", "")
            .folder("link/")
            .file("link/own", "x")
            .end();
        let (place, root) = merged(&[lower, upper]);
        assert_eq!(
            listed(&root),
            [
                "a",
                "a/changed",
                "a/kept",
                "file",
                "file/x",
                "folder",
                "link",
                "link/own",
                "opaque",
                "opaque/shown",
            ]
        );
        assert_eq!(fs::read(root.join("a/changed")).unwrap(), b"upper");
        // The layers are as they were, and the tree's files are theirs.
        let kept = fs::metadata(place.path().join("0/a/kept")).unwrap();
        assert_eq!(kept.ino(), fs::metadata(root.join("a/kept")).unwrap().ino());
        assert_eq!(
            fs::read(place.path().join("0/a/changed")).unwrap(),
            b"lower"
        );
        assert!(place.path().join("0/gone/x").exists());
    }

    /// A layer's whiteouts are for lower layers, wherever in the archive they stand.
    #[test]
    fn a_whiteout_spares_its_own_layer() {
        let t = Tar::default;
        let lower = t().file("f", "lower").folder("d/").file("d/x", "x").end();
        let upper = t()
            .file("f", "upper")
            .file(".wh.f", "")
            .folder("d/")
            .file("d/y", "y")
            .file(".wh.d", "")
            .end();
        let (_place, root) = merged(&[lower, upper]);
        assert_eq!(listed(&root), ["d", "d/y", "f"]);
        assert_eq!(fs::read(root.join("f")).unwrap(), b"upper");
    }

    /// In the tree as in a layer, a link of a lower layer's leads no upper one out.
    #[test]
    fn a_lower_link_is_replaced_and_not_followed() {
        let (place, _) = folder("unused");
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let lower = Tar::default().symlink("l", outside.to_str().unwrap()).end();
        let upper = Tar::default().file("l/planted", "x").end();
        let whiteout = Tar::default().file("l/.wh.canary", "").end();
        fs::write(outside.join("canary"), "x").unwrap();
        let (_place, root) = merged(&[lower, upper, whiteout]);
        assert_eq!(listed(&root), ["l", "l/planted"]);
        assert_eq!(listed(&outside), ["canary"]);
    }
}
