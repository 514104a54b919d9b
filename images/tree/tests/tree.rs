//! Environments in a store: made, linked, opened, verified, removed; and contents that lie.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use lakekeep_content::{ContentError, Store};
use lakekeep_environment::{
    Digest, Draft, Entry, FileNode, Interpreter, Library, Manifest, Node, RootFile, Tree,
};
use lakekeep_policy::GuestPath;
use lakekeep_tree::{Contents, TreeError, list, make, open, remove};

/// Contents by digest.
#[derive(Default)]
struct Given(HashMap<Digest, Vec<u8>>);

impl Contents for Given {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        let content = self.0.get(&file.digest).cloned();
        Ok(content.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn Read>))
    }
}

fn place(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

fn file(content: &str, executable: bool) -> FileNode {
    FileNode {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        executable,
    }
}

/// A manifest in which one module has this content, and the contents of all files.
fn environment(module: &str) -> (Manifest, Given) {
    let mut given = Given::default();
    for content in ["python", "elf", module] {
        let bytes = content.as_bytes().to_vec();
        given.0.insert(Digest::of(&bytes), bytes);
    }
    let entry = |path: &str, node| Entry {
        path: path.to_owned(),
        node,
    };
    let draft = Draft {
        interpreter: Interpreter {
            executable: place("/srv/venv/bin/python"),
            version: "3.11.7".to_owned(),
            soabi: "cpython-311".to_owned(),
            libc: "glibc 2.36".to_owned(),
            machine: "x86_64".to_owned(),
            prefix: place("/srv/venv"),
            base_prefix: place("/srv/venv"),
        },
        paths: Vec::new(),
        distributions: Vec::new(),
        libraries: vec![Library {
            soname: "libx.so.1".to_owned(),
            path: place("/usr/lib/libx.so.1"),
            file: file("elf", false),
        }],
        files: vec![RootFile {
            path: place("/srv/own.py"),
            file: file(module, false),
        }],
        trees: vec![Tree {
            root: place("/srv/venv"),
            entries: vec![
                entry("bin", Node::Directory),
                entry("bin/python", Node::File(file("python", true))),
                entry("bin/python3", Node::Link("python".to_owned())),
                entry("m.py", Node::File(file(module, false))),
            ],
        }],
    };
    (draft.finish().unwrap(), given)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(folder.path()).unwrap();
    let store = Store::open(&real.join("store")).unwrap();
    (folder, store)
}

#[test]
fn an_environment_is_made_once_and_holds_what_the_manifest_says() {
    let (_folder, store) = store();
    let (manifest, given) = environment("x = 1");
    let made = make(&store, &manifest, &given).unwrap();
    assert_eq!((made.written, made.linked), (4, 0));
    let mounts = made.environment.mounts();
    let root = &mounts[0].source;
    assert_eq!(
        (mounts[0].target.as_str(), mounts[0].directory),
        ("/srv/venv", true)
    );
    assert_eq!(
        (mounts[1].target.as_str(), mounts[1].directory),
        ("/srv/own.py", false)
    );
    assert_eq!(fs::read(root.join("m.py")).unwrap(), b"x = 1");
    assert_eq!(fs::read(&mounts[1].source).unwrap(), b"x = 1");
    assert_eq!(
        fs::read_link(root.join("bin/python3")).unwrap().as_os_str(),
        "python"
    );
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("bin/python"), mode("m.py"), mode("bin")),
        (0o555, 0o444, 0o755)
    );
    let library = made.environment.libraries().join("libx.so.1");
    assert_eq!(fs::read(library).unwrap(), b"elf");
    made.environment.verify().unwrap();
    // Again, and with nothing to give: it is there.
    let again = make(&store, &manifest, &Given::default()).unwrap();
    assert_eq!((again.written, again.linked), (0, 0));
    let found = open(&store, &manifest.digest()).unwrap();
    assert_eq!(*found.manifest(), manifest);
}

#[test]
fn what_two_environments_share_is_stored_once() {
    let (_folder, store) = store();
    let (one, given) = environment("x = 1");
    let first = make(&store, &one, &given).unwrap();
    let (other, given) = environment("x = 2");
    let second = make(&store, &other, &given).unwrap();
    // The interpreter and the library are shared, the module in its two places is not.
    assert_eq!((second.written, second.linked), (2, 2));
    let inode = |made: &lakekeep_tree::Made, path: &str| {
        fs::metadata(made.environment.mounts()[0].source.join(path))
            .unwrap()
            .ino()
    };
    assert_eq!(inode(&first, "bin/python"), inode(&second, "bin/python"));
    assert_ne!(inode(&first, "m.py"), inode(&second, "m.py"));
}

#[test]
fn contents_that_lie_make_nothing() {
    let (_folder, store) = store();
    let (manifest, given) = environment("x = 1");
    let digest = Digest::of(b"x = 1");
    for lie in ["x = 2", "x = 1 ", "x =", ""] {
        let mut lying = Given(given.0.clone());
        lying.0.insert(digest, lie.as_bytes().to_vec());
        let refused = make(&store, &manifest, &lying).unwrap_err();
        assert!(
            matches!(refused, TreeError::Changed { .. }),
            "{lie:?}: {refused}"
        );
    }
    let mut lacking = Given(given.0.clone());
    lacking.0.remove(&digest);
    let refused = make(&store, &manifest, &lacking).unwrap_err();
    assert!(matches!(refused, TreeError::NoContent { .. }), "{refused}");
    assert_eq!(list(&store).unwrap(), []);
    let absent = open(&store, &manifest.digest()).unwrap_err();
    assert!(matches!(absent, TreeError::Absent { .. }), "{absent}");
    make(&store, &manifest, &given).unwrap();
}

#[test]
fn damage_is_found() {
    let (_folder, store) = store();
    let (manifest, given) = environment("x = 1");
    let made = make(&store, &manifest, &given).unwrap();
    let path = made.environment.mounts()[0].source.join("m.py");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "x = 3").unwrap();
    let damaged = made.environment.verify().unwrap_err();
    let named = matches!(&damaged, TreeError::Damaged { path, .. } if path == "trees/0/m.py");
    assert!(named, "{damaged}");
    // Exchanged for a link, which is not followed.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("bin/python", &path).unwrap();
    assert!(matches!(
        made.environment.verify(),
        Err(TreeError::Damaged { .. })
    ));
    let manifest_file = path.ancestors().nth(3).unwrap().join("manifest");
    fs::set_permissions(&manifest_file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&manifest_file, "lakekeep-environment\t1\n").unwrap();
    let refused = open(&store, &manifest.digest()).unwrap_err();
    assert!(matches!(refused, TreeError::Damaged { .. }), "{refused}");
}

#[test]
fn what_is_in_use_stays() {
    let (_folder, store) = store();
    let (manifest, given) = environment("x = 1");
    let made = make(&store, &manifest, &given).unwrap();
    let digest = manifest.digest();
    let refused = remove(&store, &digest).unwrap_err();
    assert!(
        matches!(refused, TreeError::Store(ContentError::Busy { .. })),
        "{refused}"
    );
    drop(made);
    assert_eq!(list(&store).unwrap().len(), 1);
    assert!(remove(&store, &digest).unwrap());
    assert!(!remove(&store, &digest).unwrap());
    assert_eq!(list(&store).unwrap(), []);
}
