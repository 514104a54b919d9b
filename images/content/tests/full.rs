//! A full file system: refused, and nothing half is left. Needs root, which alone can mount one.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lakekeep_content::{Algorithm, ContentError, Kind, Store};
    use rustix::io::Errno;
    use rustix::mount::{MountFlags, UnmountFlags};

    /// A small tmpfs; unmounted at the end.
    struct Small(tempfile::TempDir);

    impl Small {
        fn mount() -> Result<Small, Errno> {
            let folder = tempfile::tempdir().unwrap();
            let options = c"size=1m,mode=700";
            rustix::mount::mount(
                "tmpfs",
                folder.path(),
                "tmpfs",
                MountFlags::empty(),
                options,
            )?;
            Ok(Small(folder))
        }

        fn path(&self) -> &Path {
            self.0.path()
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
        }
    }

    /// `LAKEKEEP_TESTS_REQUIRE=root` makes the skip a failure, as in the other tests.
    fn small() -> Option<Small> {
        match Small::mount() {
            Ok(small) => Some(small),
            Err(errno) => {
                let required = std::env::var("LAKEKEEP_TESTS_REQUIRE").unwrap_or_default();
                let required = required
                    .split(',')
                    .any(|name| ["root", "all"].contains(&name));
                assert!(!required, "root is required and missing: mount: {errno}");
                eprintln!("SKIP full: root: mount: {errno}");
                None
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_that_leaves_nothing() {
        let Some(small) = small() else { return };
        let folder = small.path().join("store");
        let store = Store::open(&folder).unwrap();
        let kept = store.put_bytes(&[1; 400_000], Algorithm::Sha256).unwrap();
        let full = store.put_bytes(&[2; 800_000], Algorithm::Sha256);
        let Err(ContentError::Kernel { errno, .. }) = &full else {
            panic!("{full:?}");
        };
        assert_eq!(*errno, Errno::NOSPC);
        let said = full.unwrap_err().to_string();
        assert!(said.contains("lakekeep image gc"), "{said}");
        assert_eq!(std::fs::read_dir(folder.join("drafts")).unwrap().count(), 0);
        assert_eq!(store.list(Kind::Blob).unwrap().len(), 1);
        assert_eq!(store.read_blob(&kept, 1 << 20).unwrap(), [1; 400_000]);
        assert_eq!(store.fsck().unwrap().damage, []);
        // There is room again for what fits.
        store.put_bytes(&[3; 400_000], Algorithm::Sha256).unwrap();
    }
}
