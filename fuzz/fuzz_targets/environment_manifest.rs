//! An environment's manifest, as a stranger may have written it.
#![no_main]

use std::path::{Component, Path};

use lakekeep_environment::{Manifest, Node, check_root, drift};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let manifest = match Manifest::parse(data) {
        Ok(manifest) => manifest,
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
            return;
        }
    };
    // One environment has one text.
    assert_eq!(manifest.to_text().as_bytes(), data);
    assert_eq!(drift(&manifest, &manifest), []);
    for file in manifest.files() {
        check_root(&file.path).expect("a place for an environment");
    }
    for tree in manifest.trees() {
        check_root(&tree.root).expect("a place for an environment");
        for entry in &tree.entries {
            let plain = |part| matches!(part, Component::Normal(_));
            assert!(!entry.path.is_empty());
            assert!(
                Path::new(&entry.path).components().all(plain),
                "{:?}",
                entry.path
            );
            if let Node::Link(target) = &entry.node {
                stays(&manifest, tree.root.as_path(), &entry.path, target);
            }
        }
    }
});

/// The link, followed by its words from where it is, ends within the environment.
fn stays(manifest: &Manifest, root: &Path, path: &str, target: &str) {
    let whole = root.join(path);
    let mut there = whole.parent().expect("in a folder").to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::RootDir => there = "/".into(),
            Component::ParentDir => {
                there.pop();
            }
            Component::Normal(name) => there.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let in_tree = manifest
        .trees()
        .iter()
        .any(|tree| there.starts_with(&tree.root));
    let single = manifest
        .files()
        .iter()
        .any(|file| there.starts_with(&file.path));
    assert!(in_tree || single, "{path:?} → {target:?}");
}
