//! Manifests: what is read, what is written, and what is refused with its line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_environment::{
    Difference, Digest, Distribution, Draft, Entry, FileNode, Interpreter, Library, Manifest, Node,
    Rejection, RootFile, SearchPath, Tree, drift,
};
use lakekeep_policy::GuestPath;
use proptest::prelude::*;

fn place(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

fn content(text: &str, executable: bool) -> FileNode {
    FileNode {
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        executable,
    }
}

fn entry(path: &str, node: Node) -> Entry {
    Entry {
        path: path.to_owned(),
        node,
    }
}

/// A virtual environment over a Python in /usr/local.
fn draft() -> Draft {
    Draft {
        interpreter: Interpreter {
            executable: place("/home/alice/venv/bin/python"),
            version: "3.11.7".to_owned(),
            soabi: "cpython-311-x86_64-linux-gnu".to_owned(),
            libc: "glibc 2.36".to_owned(),
            machine: "x86_64".to_owned(),
            prefix: place("/home/alice/venv"),
            base_prefix: place("/usr/local"),
        },
        paths: vec![
            SearchPath {
                path: place("/home/alice/src"),
                added: true,
            },
            SearchPath {
                path: place("/home/alice/venv/lib/python3.11/site-packages"),
                added: false,
            },
        ],
        distributions: vec![distribution("numpy", "2.0.2")],
        libraries: vec![Library {
            soname: "libstdc++.so.6".to_owned(),
            path: place("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"),
            file: content("elf", false),
        }],
        files: vec![RootFile {
            path: place("/usr/local/bin/python3.11"),
            file: content("python", true),
        }],
        trees: vec![
            Tree {
                root: place("/usr/local/lib/python3.11"),
                entries: vec![entry("os.py", Node::File(content("import sys", false)))],
            },
            Tree {
                root: place("/home/alice/venv"),
                entries: vec![
                    entry("lib", Node::Directory),
                    entry("bin", Node::Directory),
                    entry(
                        "bin/python",
                        Node::Link("/usr/local/bin/python3.11".to_owned()),
                    ),
                    entry("lib64", Node::Link("lib".to_owned())),
                    entry("lib/a b.py", Node::File(content("x = 1", false))),
                ],
            },
        ],
    }
}

fn distribution(name: &str, version: &str) -> Distribution {
    Distribution {
        name: name.to_owned(),
        version: version.to_owned(),
        editable: false,
    }
}

/// The good text with `from` replaced by `to`, which must be in it.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let text = draft().finish().unwrap().to_text();
    assert!(text.contains(from), "{from:?} is in {text}");
    text.replacen(from, to, 1).into_bytes()
}

fn refusal(text: &[u8]) -> Rejection {
    let error = Manifest::parse(text).unwrap_err();
    let shown = error.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(shown.starts_with("environment manifest"), "{shown}");
    error.rejection().clone()
}

#[test]
fn a_draft_becomes_a_manifest_whose_text_reads_back() {
    let manifest = draft().finish().unwrap();
    let text = manifest.to_text();
    let again = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(again, manifest);
    assert_eq!(again.digest(), Digest::of(text.as_bytes()));
    assert_eq!(manifest.trees()[0].root.as_str(), "/home/alice/venv");
    assert_eq!(manifest.contents().count(), 4);
}

#[test]
fn the_order_of_discovery_does_not_count() {
    let mut other = draft();
    other.trees.reverse();
    other.trees[0].entries.reverse();
    assert_eq!(
        other.finish().unwrap().digest(),
        draft().finish().unwrap().digest()
    );
}

#[test]
fn every_fact_counts() {
    let base = draft().finish().unwrap().digest();
    for (from, to) in [
        ("3.11.7", "3.11.8"),
        ("glibc 2.36", "glibc 2.35"),
        ("\t2.0.2", "\t2.1.3"),
        ("\tadded\t", "\tfound\t"),
        ("plain", "editable"),
        ("a b.py", "a c.py"),
        ("\t5\tlib", "\t6\tlib"),
        ("l\tlib\t", "l\tbin\t"),
        ("file\tx\t", "file\tf\t"),
    ] {
        let other = Manifest::parse(&changed(from, to)).unwrap();
        assert_ne!(other.digest(), base, "{from:?} → {to:?}");
    }
}

#[test]
fn places_of_the_system_are_refused() {
    for root in [
        "/etc/cron.d",
        "/proc/self",
        "/sys/fs/cgroup",
        "/dev/shm/x",
        "/usr",
        "/",
        "/bin/x",
        "/lib64/x",
        "/run/lakekeep/x",
        "/usr/share/x",
        "/home",
        "/tmp",
    ] {
        let text = changed("tree\t/usr/local/lib/python3.11", &format!("tree\t{root}"));
        assert!(matches!(refusal(&text), Rejection::Place(_)), "{root}");
        let text = changed("\t/usr/local/bin/python3.11\n", &format!("\t{root}\n"));
        assert!(matches!(refusal(&text), Rejection::Place(_)), "{root}");
    }
}

#[test]
fn paths_that_climb_are_refused() {
    for path in [
        "lib/../../../etc/passwd",
        "../x",
        "lib/..",
        "..",
        "lib/./x",
        "lib//x",
        "lib/",
        "",
        "/etc/x",
        "lib/x\u{1b}[2J",
        "lib/x\0y",
    ] {
        let text = changed("\tlib/a b.py", &format!("\t{path}"));
        let refused = refusal(&text);
        assert!(
            matches!(
                refused,
                Rejection::Path(_) | Rejection::Absolute | Rejection::Order
            ),
            "{path:?}: {refused:?}"
        );
    }
    let long = format!("\tlib/{}", "n".repeat(256));
    assert!(matches!(
        refusal(&changed("\tlib/a b.py", &long)),
        Rejection::Path(_)
    ));
}

#[test]
fn links_that_leave_are_refused() {
    for target in [
        "/etc/shadow",
        "../../bob/secret",
        "../venv2",
        "/",
        "/home/alice",
        "/usr/local/bin/python",
        "lib/../../../x",
        "/usr/local/bin/../../bin/sh",
    ] {
        let text = changed("l\tlib\tlib64", &format!("l\t{target}\tlib64"));
        assert_eq!(refusal(&text), Rejection::LinkOut, "{target}");
    }
    let text = changed("l\tlib\tlib64", "l\t\tlib64");
    assert_eq!(refusal(&text), Rejection::Word("TARGET"));
}

#[test]
fn an_entry_beneath_a_file_or_a_link_is_refused() {
    for path in ["bin/python/x", "lib64/x", "lib/a b.py/x", "nowhere/x"] {
        let mut draft = draft();
        let node = Node::File(content("y", false));
        draft.trees[1].entries.push(entry(path, node));
        let error = draft.finish().unwrap_err();
        assert_eq!(*error.rejection(), Rejection::NoParent, "{path}");
        assert!(
            error.line() > 0 && error.subject().contains(path),
            "{error}"
        );
    }
}

#[test]
fn what_is_twice_or_out_of_order_is_refused() {
    for line in ["d\tlib\n", "l\tlib\tlib64\n"] {
        let text = changed(line, &line.repeat(2));
        assert_eq!(refusal(&text), Rejection::Order, "{line:?}");
    }
    let tree = "tree\t/usr/local/lib/python3.11\n";
    assert_eq!(refusal(&changed(tree, &tree.repeat(2))), Rejection::Order);
    let twice = "distribution\tnumpy\t2.0.2\tplain\n";
    assert_eq!(refusal(&changed(twice, &twice.repeat(2))), Rejection::Order);
}

#[test]
fn what_would_shadow_another_is_refused() {
    let mut nested = draft();
    nested.trees.push(Tree {
        root: place("/home/alice/venv/lib"),
        entries: Vec::new(),
    });
    let refused = nested.finish().unwrap_err();
    assert_eq!(*refused.rejection(), Rejection::Nested);
    let mut file = draft();
    file.files[0].path = place("/home/alice/venv/bin/python3");
    assert_eq!(*file.finish().unwrap_err().rejection(), Rejection::Nested);
}

#[test]
fn other_kinds_of_file_do_not_exist() {
    // Devices, pipes, sockets, setuid programs: no line can say them.
    for kind in ["s", "c", "b", "p", "u", "X", "fx", "4755", ""] {
        let text = changed("d\tlib\n", &format!("{kind}\tlib\n"));
        assert!(matches!(refusal(&text), Rejection::Kind(_)), "{kind:?}");
    }
}

#[test]
fn second_spellings_are_refused() {
    let digest = Digest::of(b"x = 1").to_string();
    assert_eq!(
        refusal(&changed(&digest, &digest.to_uppercase())),
        Rejection::Digest
    );
    assert_eq!(refusal(&changed(&digest, &digest[2..])), Rejection::Digest);
    for size in ["05", "+5", "-5", "", "5 ", "99999999999999999999"] {
        let text = changed("\t5\tlib", &format!("\t{size}\tlib"));
        assert_eq!(refusal(&text), Rejection::Size, "{size:?}");
    }
    let text = String::from_utf8(changed("plain", "plain")).unwrap();
    assert_eq!(refusal(text.trim_end().as_bytes()), Rejection::Truncated);
    assert!(matches!(
        refusal(text.replace('\n', "\r\n").as_bytes()),
        Rejection::Header
    ));
    assert!(matches!(
        refusal(format!("{text}\n").as_bytes()),
        Rejection::Kind(_)
    ));
    assert_eq!(refusal(&changed("t\t1", "t\t2")), Rejection::Header);
    assert_eq!(refusal(b"\xff\n"), Rejection::NotText);
    assert_eq!(refusal(b""), Rejection::Truncated);
}

#[test]
fn too_much_is_refused() {
    let big = (64u64 << 30).to_string();
    let text = changed("\t5\tlib", &format!("\t{big}\tlib"));
    assert_eq!(refusal(&text), Rejection::TooLarge);
    let mut many = draft();
    many.trees.extend((0..64).map(|number| Tree {
        root: place(&format!("/srv/x/{number:03}")),
        entries: Vec::new(),
    }));
    let refused = many.finish().unwrap_err();
    assert_eq!(*refused.rejection(), Rejection::TooManyTrees);
    let mut head = changed("plain", "plain");
    head.resize(lakekeep_environment::MAX_MANIFEST_BYTES + 1, b'\n');
    assert_eq!(refusal(&head), Rejection::TooLong);
    let mut text = draft().finish().unwrap().to_text();
    for number in 0..lakekeep_environment::MAX_ENTRIES {
        text.push_str(&format!("d\tq{number:07}\n"));
    }
    assert_eq!(refusal(text.as_bytes()), Rejection::TooMany);
}

#[test]
fn an_interpreter_from_elsewhere_is_refused() {
    for path in [
        "/bin/sh",
        "/home/alice/venv/lib",
        "/home/alice/venv",
        "/home/alice/venv/bin/no",
    ] {
        let text = changed(
            "python\t/home/alice/venv/bin/python",
            &format!("python\t{path}"),
        );
        assert_eq!(refusal(&text), Rejection::NoInterpreter, "{path}");
    }
}

#[test]
fn a_librarys_name_is_one_name() {
    for soname in ["../x", "..", "a/b", ""] {
        let text = changed("libstdc++.so.6\t", &format!("{soname}\t"));
        assert_eq!(refusal(&text), Rejection::Word("SONAME"), "{soname:?}");
    }
}

#[test]
fn drift_names_what_differs() {
    let there = draft().finish().unwrap();
    assert_eq!(drift(&there, &there), []);
    let mut now = draft();
    now.distributions = vec![distribution("numpy", "2.1.3"), distribution("six", "1.17")];
    let found = drift(&now.finish().unwrap(), &there);
    let told: Vec<String> = found.iter().map(Difference::to_string).collect();
    assert_eq!(
        told,
        [
            "numpy 2.1.3 in the client, 2.0.2 in the environment",
            "six 1.17 in the client, none in the environment"
        ]
    );
    let mut edited = draft();
    edited.trees[1].entries[4].node = Node::File(content("x = 2", false));
    let found = drift(&edited.finish().unwrap(), &there);
    assert_eq!(
        found[0].to_string(),
        "/home/alice/venv/lib/a b.py is another"
    );
    let mut other = draft();
    other.interpreter.version = "3.12.1".to_owned();
    let found = drift(&other.finish().unwrap(), &there);
    assert!(found[0].to_string().contains("3.12.1"), "{found:?}");
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(from in 0usize..900, cut in 0usize..40, put in "[a-z0-9\t\n/.]{0,12}") {
        let text = draft().finish().unwrap().to_text();
        let start = from.min(text.len());
        let end = (start + cut).min(text.len());
        let text = format!("{}{put}{}", &text[..start], &text[end..]);
        if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
            prop_assert_eq!(manifest.to_text(), text);
        }
    }
}
