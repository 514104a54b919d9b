//! Bytecode that a compiler in a sandbox said: what is taken of it, and what is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_environment::{
    Digest, Draft, Entry, FileNode, Interpreter, Manifest, Node, NotCompiled, Tree, drift,
};
use lakekeep_policy::GuestPath;

const CODE: &[u8] = b"\xa7\x0d\x0d\x0a\x01\0\0\0hashhashcode";

fn place(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

fn content(text: &str) -> Node {
    Node::File(FileNode {
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        executable: text == "python",
    })
}

/// Two modules, of which one has its bytecode.
fn environment() -> Manifest {
    let entry = |path: &str, node| Entry {
        path: path.to_owned(),
        node,
    };
    let entries = vec![
        entry("bin", Node::Directory),
        entry("bin/python", content("python")),
        entry("bin/data.txt", content("no module")),
        entry("pkg", Node::Directory),
        entry("pkg/__pycache__", Node::Directory),
        entry("pkg/__pycache__/has.cpython-311.pyc", content("code")),
        entry("pkg/has.py", content("x = 1")),
        entry("pkg/lacks.py", content("x = 2")),
        entry("top.py", content("x = 3")),
    ];
    let draft = Draft {
        interpreter: Interpreter {
            executable: place("/srv/venv/bin/python"),
            version: "3.11.7".to_owned(),
            soabi: "cpython-311-x86_64-linux-gnu".to_owned(),
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

fn record(path: &str, code: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in [path.as_bytes(), code] {
        out.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

#[test]
fn what_lacks_bytecode_is_told_and_gets_it() {
    let before = environment();
    let lacks: Vec<String> = before.uncompiled().into_iter().collect();
    assert_eq!(lacks, ["/srv/venv/pkg/lacks.py", "/srv/venv/top.py"]);
    let said = [
        record("/srv/venv/pkg/lacks.py", CODE),
        record("/srv/venv/top.py", CODE),
    ];
    let compiled = before.compiled(&said.concat()).unwrap();
    let after = compiled.manifest;
    assert!(after.uncompiled().is_empty());
    assert_ne!(after.digest(), before.digest());
    let paths: Vec<&str> = after.trees()[0]
        .entries
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    for path in [
        "__pycache__",
        "__pycache__/top.cpython-311.pyc",
        "pkg/__pycache__/lacks.cpython-311.pyc",
        "pkg/__pycache__/has.cpython-311.pyc",
    ] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    // The hash, which nobody compares, is gone.
    let (digest, code) = compiled.contents.iter().next().unwrap();
    assert_eq!(code, b"\xa7\x0d\x0d\x0a\x01\0\0\0\0\0\0\0\0\0\0\0code");
    assert_eq!(*digest, Digest::of(code));
    // It is the same environment to whoever asks what differs.
    assert_eq!(drift(&before, &after), []);
}

#[test]
fn nothing_else_is_taken() {
    let before = environment();
    for path in [
        "/srv/venv/pkg/has.py",
        "/srv/venv/bin/data.txt",
        "/srv/venv/bin/python",
        "/srv/venv/new.py",
        "/srv/venv/pkg/../top.py",
        "/etc/passwd",
        "",
    ] {
        let refused = before.compiled(&record(path, CODE)).unwrap_err();
        assert!(
            matches!(refused, NotCompiled::Path { .. }),
            "{path}: {refused}"
        );
    }
    let twice = record("/srv/venv/top.py", CODE).repeat(2);
    assert!(matches!(
        before.compiled(&twice),
        Err(NotCompiled::Path { .. })
    ));
    let compared = [&CODE[..4], &[0; 12], b"code"].concat();
    for code in [&b""[..], &CODE[..16], &CODE[..12], &compared] {
        let refused = before
            .compiled(&record("/srv/venv/top.py", code))
            .unwrap_err();
        assert!(matches!(refused, NotCompiled::Code { .. }), "{code:?}");
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let before = environment();
    let whole = record("/srv/venv/top.py", CODE);
    for length in 1..whole.len() {
        let refused = before.compiled(&whole[..length]).unwrap_err();
        assert!(matches!(refused, NotCompiled::Cut), "{length}: {refused}");
    }
    let long = [u32::MAX.to_be_bytes().as_slice(), b"/srv"].concat();
    assert!(matches!(before.compiled(&long), Err(NotCompiled::Cut)));
    assert_eq!(
        before.compiled(b"").unwrap().manifest.digest(),
        before.digest()
    );
}
