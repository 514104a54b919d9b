//! Bytecode as a hostile compiler would say it, for an environment of two modules without.
#![no_main]

use std::sync::LazyLock;

use lakekeep_environment::{Digest, Manifest, Node};
use libfuzzer_sys::fuzz_target;

static ENVIRONMENT: LazyLock<Manifest> = LazyLock::new(|| {
    let file = |kind: &str, path: &str| format!("{kind}\t{}\t0\t{path}\n", Digest::of(b""));
    let text = format!(
        "lakekeep-environment\t1\n\
         python\t/v/p\t3.11.7\tcpython-311-x\tglibc\tx86_64\n\
         prefix\t/v\t/v\n\
         tree\t/v\n{}{}{}",
        file("f", "a.py"),
        file("f", "b.py"),
        file("x", "p"),
    );
    Manifest::parse(text.as_bytes()).expect("an environment")
});

fuzz_target!(|data: &[u8]| {
    let before = &*ENVIRONMENT;
    assert_eq!(before.uncompiled().len(), 2);
    let compiled = match before.compiled(data) {
        Ok(compiled) => compiled,
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
            return;
        }
    };
    let after = compiled.manifest;
    for (digest, code) in &compiled.contents {
        assert_eq!(*digest, Digest::of(code));
        assert!(code.len() <= data.len());
    }
    // What was there is there, and all else is bytecode of a source.
    let entries = |manifest: &Manifest| manifest.trees()[0].entries.clone();
    let old = entries(before);
    for entry in entries(&after) {
        let is_new = !old.contains(&entry);
        let bytecode =
            matches!(&entry.node, Node::File(file) if compiled.contents.contains_key(&file.digest));
        let folder = entry.path == "__pycache__" && entry.node == Node::Directory;
        let named = ["a", "b"]
            .map(|name| format!("__pycache__/{name}.cpython-311.pyc"))
            .contains(&entry.path);
        assert!(!is_new || folder || (bytecode && named), "{entry:?}");
    }
    assert!(old.iter().all(|entry| entries(&after).contains(entry)));
});
