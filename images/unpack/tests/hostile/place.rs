//! Where archives are unpacked to, what is beside that, and parts of archives.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::common::{Fields, Tar, diff_id, header, sum};
use lakekeep_unpack::{Limits, Refusal, UnpackError, unpack};

/// A folder to unpack to, and one beside it that must stay as it is.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), "the host's own").unwrap();
        fs::set_permissions(outside.join("canary"), PermissionsExt::from_mode(0o600)).unwrap();
        Place { folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Everything about everything outside.
    pub fn canaries(&self) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
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

/// Names, kinds, sizes and targets of all that is below a folder.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, Option<PathBuf>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seen = path.symlink_metadata().unwrap();
        if seen.is_dir() {
            let below = tree(&path);
            let name = path.file_name().unwrap();
            found.extend(
                below
                    .into_iter()
                    .map(|(path, seen)| (Path::new(name).join(path), seen)),
            );
        }
        let size = if seen.is_file() { seen.size() } else { 0 };
        let name = PathBuf::from(path.file_name().unwrap());
        found.insert(
            name,
            (seen.mode() & 0o170_000, size, fs::read_link(&path).ok()),
        );
    }
    found
}

pub fn small() -> Limits {
    Limits {
        bytes: 8 << 20,
        file_bytes: 1 << 20,
        entries: 50,
        depth: 8,
        attribute_bytes: 1024,
        ..Limits::default()
    }
}

pub fn unpacked(archive: &[u8], root: &Path) -> Result<(), UnpackError> {
    let root = fs::File::open(root).unwrap();
    unpack(archive, root.as_fd(), &diff_id(archive), small()).map(|_| ())
}

pub fn refusal(archive: &[u8], place: &Place) -> Refusal {
    match unpacked(archive, &place.root()) {
        Err(UnpackError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

pub fn pax_entry(records: &[(&str, &str)]) -> Tar {
    Tar::default().pax(records).file("f", "x")
}

pub fn long(kind: u8, name: &[u8]) -> Tar {
    let content = [name, &[0]].concat();
    Tar::default().kind(kind, "././@LongLink", &content)
}

pub fn fields(change: impl FnOnce(&mut Fields<'_>)) -> Vec<u8> {
    let mut fields = Fields {
        name: b"f",
        ..Fields::default()
    };
    change(&mut fields);
    Tar::default().entry(&fields, b"").end()
}

pub fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = header(&Fields {
        name: b"f",
        ..Fields::default()
    });
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sum(&mut block);
    Tar::default().raw(&block).end()
}

/// What it is called, its bytes, and a word of the reason.
pub type Case = (&'static str, Vec<u8>, &'static str);
