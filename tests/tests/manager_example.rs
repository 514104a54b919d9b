//! What the README shows first works: two users side by side, from the command line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use lakekeep_tests::lakekeep;
use lakekeep_tests::manager::{ALICE, BOB, SERVICE, available};

#[test]
fn two_users_side_by_side() {
    if !available("two_users_side_by_side") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/two-users/run.sh");
    let run = Command::new(script)
        .args([ALICE, BOB])
        .env("LAKEKEEP", lakekeep())
        .env("LAKEKEEP_SERVICE", SERVICE)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{text}", run.status);
    // Each reads what the other wrote, and Bob does not reach Alice's sandbox.
    for word in ["written by ann\nand by bob\n", "of yours", "(exit 125)"] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let on_disk = text.lines().find(|line| line.ends_with(" notes")).unwrap();
    assert!(on_disk.contains(" 700001 700001 "), "{on_disk}");
    // The README shows what it does, for users of other names.
    let plain = without_identifiers(&text.replace(ALICE, "ann").replace(BOB, "bob"));
    let readme = include_str!("../../README.md");
    let shown = |line: &&str| {
        ["ann$ ", "bob$ ", "root$ "]
            .iter()
            .any(|who| line.starts_with(who))
    };
    let shown: Vec<&str> = readme.lines().filter(shown).collect();
    assert_eq!(shown.len(), 5);
    for line in shown {
        assert!(
            plain.contains(&without_identifiers(line)),
            "{line}\n{plain}"
        );
    }
    // The administrator reads that he tried.
    let tried = |line: &&str| line.contains(BOB) && line.contains("exec");
    let audit = text.split("audit query").nth(1).unwrap();
    assert!(audit.lines().any(|line| tried(&line)), "{text}");
}

/// The text with every sandbox's identifier under one name.
fn without_identifiers(text: &str) -> String {
    let is_one = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| match is_one(word) {
        true => "ID",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}
