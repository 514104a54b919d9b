//! What a store promises, on a real file system.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Read};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    use lakekeep_content::{
        Algorithm, ContentError, Digest, Expected, Kind, Removed, Seal, Space, Store,
    };

    const IMAGES: Space = Space::new("images").unwrap();

    struct Place {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        Place {
            _folder: folder,
            path,
        }
    }

    fn sha256(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    fn blob_path(store: &Store, digest: &Digest) -> PathBuf {
        let blobs = store.path().join("blobs");
        blobs.join(digest.algorithm().name()).join(digest.hex())
    }

    fn drafts(store: &Path) -> usize {
        fs::read_dir(store.join("drafts")).unwrap().count()
    }

    /// A tree of one file.
    fn file_tree(store: &Store, name: &str, content: &str) -> Digest {
        let staging = store.stage().unwrap();
        let path = format!("/proc/self/fd/{}", raw(&staging.root()));
        fs::write(Path::new(&path).join(name), content).unwrap();
        let digest = Digest::of(Algorithm::Blake3, content.as_bytes());
        drop(staging.commit(&digest).unwrap());
        digest
    }

    fn raw(fd: &impl AsFd) -> i32 {
        use std::os::fd::AsRawFd;
        fd.as_fd().as_raw_fd()
    }

    #[test]
    fn what_is_put_is_found_and_proven() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        for algorithm in Algorithm::ALL {
            let wanted = Digest::of(algorithm, b"content");
            let expected = Expected::Any(algorithm);
            assert_eq!(
                store.put(&mut &b"content"[..], expected, 7).unwrap(),
                wanted
            );
            assert!(store.contains_blob(&wanted).unwrap());
            assert_eq!(store.read_blob(&wanted, 7).unwrap(), b"content");
            let mut file = store.open_blob(&wanted).unwrap().verified().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
        // Once more: it stays, and leaves nothing behind.
        store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        assert_eq!(store.list(Kind::Blob).unwrap().len(), 2);
        assert_eq!(drafts(&place.path), 0);
        // A second opening finds the same.
        let again = Store::open(&place.path).unwrap();
        assert!(again.contains_blob(&sha256(b"content")).unwrap());
    }

    #[test]
    fn other_content_than_expected_is_not_stored() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let wanted = sha256(b"content");
        let put = store.put(&mut &b"contemt"[..], Expected::Digest(wanted), 100);
        assert!(matches!(put, Err(ContentError::Mismatch { .. })), "{put:?}");
        let put = store.put(&mut &b"content"[..], Expected::Digest(wanted), 6);
        assert!(
            matches!(put, Err(ContentError::TooLarge { most: 6 })),
            "{put:?}"
        );
        let mut broken = io::Read::chain(&b"cont"[..], Broken);
        let put = store.put(&mut broken, Expected::Digest(wanted), 100);
        assert!(matches!(put, Err(ContentError::Source(_))), "{put:?}");
        assert!(!store.contains_blob(&wanted).unwrap());
        assert_eq!(drafts(&place.path), 0);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }

    /// The disk's bytes change under the store; first proven to change what is read plainly.
    #[test]
    fn damage_is_found_when_read_and_set_aside_by_fsck() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let digest = store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        let sound = store.put_bytes(b"sound", Algorithm::Sha256).unwrap();
        let path = blob_path(&store, &digest);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "contemt").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"contemt");
        let read = store.read_blob(&digest, 100);
        assert!(
            matches!(read, Err(ContentError::Damaged { .. })),
            "{read:?}"
        );
        let file = store.open_blob(&digest).unwrap().verified();
        assert!(
            matches!(file, Err(ContentError::Damaged { .. })),
            "{file:?}"
        );
        let mut streamed = store.open_blob(&digest).unwrap();
        let copied = io::copy(&mut streamed, &mut io::sink()).unwrap_err();
        assert_eq!(copied.kind(), io::ErrorKind::InvalidData);
        let report = store.fsck().unwrap();
        assert_eq!((report.blobs, report.damage.len()), (2, 1), "{report:?}");
        assert!(
            place
                .path
                .join("damaged")
                .join(&report.damage[0].aside)
                .exists()
        );
        assert!(!store.contains_blob(&digest).unwrap());
        assert_eq!(store.read_blob(&sound, 5).unwrap(), b"sound");
        // It can be had again, and then all is well.
        store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        assert_eq!(store.fsck().unwrap().damage, []);
    }

    #[test]
    fn a_truncated_file_is_replaced_by_the_next_put() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let digest = store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        let path = blob_path(&store, &digest);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "cont").unwrap();
        assert!(store.read_blob(&digest, 100).is_err());
        store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        assert_eq!(store.read_blob(&digest, 100).unwrap(), b"content");
    }

    #[test]
    fn what_is_pinned_stays() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let other = Store::open(&place.path).unwrap();
        let blob = store.put_bytes(b"content", Algorithm::Sha256).unwrap();
        let tree = file_tree(&store, "file", "x");
        for (kind, digest) in [(Kind::Blob, blob), (Kind::Folder, tree)] {
            let pin = store.pin(kind, &digest).unwrap();
            let second = other.pin(kind, &digest).unwrap();
            assert_eq!(other.remove(kind, &digest).unwrap(), Removed::InUse);
            assert!(other.is_pinned(kind, &digest).unwrap());
            drop(pin);
            assert_eq!(other.remove(kind, &digest).unwrap(), Removed::InUse);
            drop(second);
            assert!(!other.is_pinned(kind, &digest).unwrap());
            assert_eq!(other.remove(kind, &digest).unwrap(), Removed::Removed);
            assert_eq!(other.remove(kind, &digest).unwrap(), Removed::Absent);
            let pin = store.pin(kind, &digest);
            assert!(matches!(pin, Err(ContentError::Absent { .. })), "{pin:?}");
        }
        assert_eq!(drafts(&place.path), 0);
    }

    #[test]
    fn collecting_and_adding_exclude_each_other() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let adding = store.share().unwrap();
        let also = store.share().unwrap();
        assert!(matches!(store.collect(), Err(ContentError::Busy { .. })));
        drop((adding, also));
        let collecting = store.collect().unwrap();
        assert!(matches!(store.collect(), Err(ContentError::Busy { .. })));
        drop(collecting);
        drop(store.share().unwrap());
    }

    #[test]
    fn a_tree_is_filed_whole_and_its_changes_are_found() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let digest = file_tree(&store, "file", "content");
        let folder = store.folder(&digest).unwrap();
        assert_eq!(folder.path(), store.folder_path(&digest));
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"content");
        let seal = store.seal(&digest).unwrap();
        assert_eq!((seal.bytes, seal.entries), (7, 1));
        assert_eq!(Seal::of(folder.root()).unwrap(), seal);
        assert_eq!(store.fsck().unwrap().damage, []);
        type Change = fn(&Path);
        let changes: [Change; 5] = [
            |root| fs::write(root.join("file"), "contemt").unwrap(),
            |root| fs::write(root.join("more"), "").unwrap(),
            |root| fs::remove_file(root.join("file")).unwrap(),
            |root| {
                fs::set_permissions(root.join("file"), PermissionsExt::from_mode(0o777)).unwrap();
            },
            |root| {
                fs::remove_file(root.join("file")).unwrap();
                symlink("/etc/passwd", root.join("file")).unwrap();
            },
        ];
        drop(folder);
        for (number, change) in changes.iter().enumerate() {
            change(&store.folder_path(&digest));
            let report = store.fsck().unwrap();
            assert_eq!(report.damage.len(), 1, "change {number}: {report:?}");
            assert!(store.folder(&digest).is_err(), "change {number}");
            assert_eq!(file_tree(&store, "file", "content"), digest);
        }
    }

    #[test]
    fn names_lead_to_digests() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let one = store.put_bytes(b"one", Algorithm::Sha256).unwrap();
        let two = store.put_bytes(b"two", Algorithm::Sha256).unwrap();
        let hostile = "../../../etc/passwd";
        for text in ["docker.io/library/python:3.12", hostile, "a b/ü"] {
            assert_eq!(store.name(IMAGES, text).unwrap(), None);
            store.set_name(IMAGES, text, &one).unwrap();
            store.set_name(IMAGES, text, &two).unwrap();
            assert_eq!(store.name(IMAGES, text).unwrap().unwrap().digest, two);
        }
        assert_eq!(store.names(IMAGES).unwrap().len(), 3);
        for text in ["", "a\nb", "a\0b", &"x".repeat(1025)] {
            assert!(store.set_name(IMAGES, text, &one).is_err(), "{text:?}");
        }
        assert!(store.remove_name(IMAGES, hostile).unwrap());
        assert!(!store.remove_name(IMAGES, hostile).unwrap());
        assert_eq!(store.fsck().unwrap().damage, []);
        store.remove(Kind::Blob, &two).unwrap();
        let report = store.fsck().unwrap();
        assert_eq!(report.damage.len(), 2, "{report:?}");
        assert_eq!(store.names(IMAGES).unwrap(), []);
    }

    #[test]
    fn a_store_that_others_can_write_is_refused() {
        let place = place();
        drop(Store::open(&place.path).unwrap());
        fs::set_permissions(&place.path, PermissionsExt::from_mode(0o770)).unwrap();
        let opened = Store::open(&place.path);
        assert!(matches!(
            opened,
            Err(ContentError::NotOurs { mode: 0o770, .. })
        ));
        fs::set_permissions(&place.path, PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(place.path.join("format"), "lakekeep-content 2\n").unwrap();
        let opened = Store::open(&place.path);
        assert!(matches!(opened, Err(ContentError::Format { .. })));
        // The folder itself by way of a link.
        let link = place.path.with_extension("link");
        symlink(&place.path, &link).unwrap();
        assert!(Store::open(&link).is_err());
    }

    /// Links where the store's own files and folders should be: proven to lead out when followed,
    /// then not followed.
    #[test]
    fn links_within_the_store_are_not_followed() {
        let place = place();
        let outside = place.path.with_extension("outside");
        fs::create_dir(&outside).unwrap();
        let store = Store::open(&place.path).unwrap();
        let digest = sha256(b"content");
        let secret = outside.join("secret");
        fs::write(&secret, "content").unwrap();
        symlink(&secret, blob_path(&store, &digest)).unwrap();
        assert_eq!(fs::read(blob_path(&store, &digest)).unwrap(), b"content");
        assert!(store.read_blob(&digest, 100).is_err());
        assert!(store.pin(Kind::Blob, &digest).is_err());
        let tree = Digest::of(Algorithm::Blake3, b"tree");
        let folders = place.path.join("folders/blake3");
        symlink(&outside, folders.join(tree.hex())).unwrap();
        assert!(store.folder(&tree).is_err());
        let report = store.fsck().unwrap();
        assert_eq!(report.damage.len(), 2, "{report:?}");
        assert_eq!(fs::read(&secret).unwrap(), b"content");
        // In place of a whole folder of the store's.
        fs::remove_dir(place.path.join("drafts")).unwrap();
        symlink(&outside, place.path.join("drafts")).unwrap();
        assert!(Store::open(&place.path).is_err());
        assert_eq!(fs::read(&secret).unwrap(), b"content");
    }

    #[test]
    fn what_nobody_holds_is_swept_and_what_somebody_makes_is_not() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let drafts_folder = place.path.join("drafts");
        fs::write(drafts_folder.join("left"), "x").unwrap();
        fs::create_dir_all(drafts_folder.join("tree/root/deep")).unwrap();
        fs::write(drafts_folder.join("tree/root/deep/file"), "x").unwrap();
        fs::set_permissions(
            drafts_folder.join("tree/root/deep"),
            PermissionsExt::from_mode(0o500),
        )
        .unwrap();
        symlink("/etc", drafts_folder.join("link")).unwrap();
        let staging = store.stage().unwrap();
        drop(Store::open(&place.path).unwrap());
        assert_eq!(drafts(&place.path), 1);
        let digest = Digest::of(Algorithm::Blake3, b"tree");
        drop(staging.commit(&digest).unwrap());
        assert_eq!(drafts(&place.path), 0);
        assert!(Path::new("/etc").exists());
    }

    #[test]
    fn strange_things_are_no_trees() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let staging = store.stage().unwrap();
        rustix::fs::mknodat(
            staging.root(),
            "pipe",
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let committed = staging.commit(&Digest::of(Algorithm::Blake3, b"tree"));
        assert!(matches!(committed, Err(ContentError::Unkept { .. })));
        assert_eq!(drafts(&place.path), 0);
        assert_eq!(store.list(Kind::Folder).unwrap(), []);
    }
}
