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
    // The administrator reads that he tried.
    let tried = |line: &&str| line.contains(BOB) && line.contains("exec");
    let audit = text.split("audit query").nth(1).unwrap();
    assert!(audit.lines().any(|line| tried(&line)), "{text}");
}
