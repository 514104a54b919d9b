//! The command line, spoken by two ordinary users to one manager.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::process::{Command, Stdio};

use lakekeep_tests::lakekeep;
use lakekeep_tests::manager::{ALICE, BOB, Manager, Setup};

/// What a command said and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Runs `lakekeep` as this account, with this input.
fn say(manager: &Manager, user: &str, words: &[&str], input: &str) -> Said {
    let mut child = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups", "--"])
        .arg(lakekeep())
        .args(words)
        .env("LAKEKEEP_SOCKET", manager.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended already.
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_user_does_everything_with_their_own_and_nothing_with_another_s() {
    let Some(manager) = Setup::new().start("cli") else {
        return;
    };
    let alice = |words: &[&str]| say(&manager, ALICE, words, "");
    let id = alice(&["create", "--label", "job=nightly"]).success();
    let id = id.trim();
    let shell = |script: &str| alice(&["exec", id, "--", "sh", "-c", script]);
    assert_eq!(shell("echo hello; echo there >&2").success(), "hello\n");
    assert_eq!(shell("exit 7").code, Some(7));
    let input = say(
        &manager,
        ALICE,
        &["exec", id, "--", "wc", "-c"],
        "twelve bytes",
    );
    assert_eq!(input.success().trim(), "12");
    let first = format!("{id}/1");
    assert_eq!(alice(&["logs", &first]).success(), "hello\n");
    assert_eq!(alice(&["logs", "-f", &first]).success(), "hello\n");
    for words in [
        &["ps", "--label", "job=nightly"][..],
        &["inspect", id],
        &["stats", id],
        &["top", "--count", "1"],
        &["receipt", id],
        &["verdict", &first],
    ] {
        let said = alice(words).success();
        assert!(!said.trim().is_empty(), "{words:?}");
    }
    let listed = alice(&["ps", "--json"]).success();
    let one: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert!(one.to_string().contains(id), "{one}");
    // A file in, and out again.
    let into = format!("{id}:/tmp/file");
    let put = say(&manager, ALICE, &["cp", "-", &into], "contents");
    put.success();
    assert_eq!(shell("cat /tmp/file").success(), "contents");
    assert_eq!(alice(&["cp", &into, "-"]).success(), "contents");
    let folder = format!("{id}:/tmp");
    assert!(alice(&["ls", &folder]).success().contains("file"));
    alice(&["freeze", id]).success();
    assert_eq!(shell("true").code, Some(125));
    alice(&["thaw", id]).success();
    // The same words of Bob's.
    let (logs, kill) = (["logs", &first], ["kill", id]);
    for words in [&logs[..], &kill, &["inspect", id], &["cp", &into, "-"]] {
        let said = say(&manager, BOB, words, "");
        assert_eq!(said.code, Some(125), "{words:?}: {said:?}");
        assert!(said.stdout.is_empty(), "{words:?}: {said:?}");
        assert!(said.stderr.contains("of yours"), "{words:?}: {said:?}");
    }
    alice(&["kill", id]).success();
    assert!(!alice(&["ps"]).success().contains(id));
    manager.end();
}

#[test]
fn a_run_goes_through_the_manager_and_never_without_it() {
    let Some(manager) = Setup::new().start("cli_run") else {
        return;
    };
    let run = |words: &[&str]| {
        let words = [&["run"], words].concat();
        say(&manager, ALICE, &words, "from outside")
    };
    let done = run(&[
        "--memory",
        "64MiB",
        "--",
        "sh",
        "-c",
        "cat; echo err >&2; exit 3",
    ]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(3), "from outside"),
        "{done:?}"
    );
    assert!(done.stderr.contains("err"), "{done:?}");
    let late = run(&["--timeout", "300ms", "--", "sleep", "1000"]);
    assert_eq!(late.code, Some(124), "{late:?}");
    let wide = run(&["--mount", "/etc:/mnt/x:rw", "--", "true"]);
    assert_eq!(wide.code, Some(125), "{wide:?}");
    // Its sandbox was for it alone.
    assert!(
        !say(&manager, ALICE, &["ps"], "")
            .success()
            .contains("running")
    );
    let nobody = Command::new(lakekeep())
        .args(["run", "--", "true"])
        .env("LAKEKEEP_SOCKET", manager.place().path().join("nobody"))
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(125), "{nobody:?}");
    manager.end();
}
