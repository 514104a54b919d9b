//! Environments of made-up files.

use std::collections::HashMap;
use std::io::Read;

use lakekeep_environment::{Digest, Draft, Entry, FileNode, Interpreter, Manifest, Node, Tree};
use lakekeep_policy::GuestPath;
use lakekeep_tree::{Bounds, Contents};

/// No bound that these tests meet.
pub const WIDE: Bounds = Bounds {
    bytes: 1 << 30,
    environments: 1000,
};

/// Contents by digest.
#[derive(Clone, Default)]
pub struct Given(pub HashMap<Digest, Vec<u8>>);

impl Contents for Given {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        let content = self.0.get(&file.digest).cloned();
        Ok(content.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn Read>))
    }
}

pub fn place(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

pub fn node(content: &[u8], executable: bool) -> FileNode {
    FileNode {
        digest: Digest::of(content),
        size: content.len() as u64,
        executable,
    }
}

/// An interpreter and modules `m0.py`, `m1.py`, … of these contents.
pub fn environment(modules: &[Vec<u8>]) -> (Manifest, Given) {
    let nodes = modules.iter().map(|content| node(content, false));
    let mut given = Given::default();
    for content in modules.iter().cloned().chain([b"python".to_vec()]) {
        given.0.insert(Digest::of(&content), content);
    }
    (manifest(nodes.collect()), given)
}

/// The same with files of which only this is known.
pub fn manifest(modules: Vec<FileNode>) -> Manifest {
    let mut entries = vec![
        Entry {
            path: "bin".to_owned(),
            node: Node::Directory,
        },
        Entry {
            path: "bin/python".to_owned(),
            node: Node::File(node(b"python", true)),
        },
    ];
    for (number, file) in modules.into_iter().enumerate() {
        entries.push(Entry {
            path: format!("m{number}.py"),
            node: Node::File(file),
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
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
        libraries: Vec::new(),
        files: Vec::new(),
        trees: vec![Tree {
            root: place("/srv/venv"),
            entries,
        }],
    };
    draft.finish().unwrap()
}
