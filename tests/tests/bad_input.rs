//! Bad input is refused before anything is made: what, why, and what to do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::symlink;

use lakekeep_tests::{Finished, HostSnapshot, Place, Privilege, Run, for_each_privilege};

/// Runs each and asserts its refusal. The names must all be in the message.
fn refuse_all<'a>(
    test: &str,
    privilege: Privilege,
    place: &Place,
    cases: impl IntoIterator<Item = (Vec<String>, Vec<&'a str>)>,
) {
    for (flags, names) in cases {
        let before = HostSnapshot::take(place.path());
        let marker = place.dir("marker", privilege);
        let run = Run::new(place, privilege)
            .flags(&flags)
            .flags([
                "--mount".to_owned(),
                format!("{}:/marker:rw", marker.display()),
            ])
            .shell("touch /marker/it-ran");
        let finished = run.finish();
        assert_refusal(&format!("{test} {flags:?}"), &finished, &names);
        assert!(
            !marker.join("it-ran").exists(),
            "{test} {flags:?}: the command ran"
        );
        before.assert_unchanged();
    }
}

fn assert_refusal(test: &str, finished: &Finished, names: &[&str]) {
    assert_eq!(finished.code, 125, "{test}: {}", finished.stderr);
    for name in names {
        assert!(
            finished.stderr.contains(name),
            "{test}: {name:?} is not in: {}",
            finished.stderr
        );
    }
    assert!(finished.stdout.is_empty(), "{test}: wrote to stdout");
    // What and why, then the remedy: one sentence each, as everywhere in lakekeep.
    assert!(
        finished.stderr.contains("; ") || finished.stderr.contains(". "),
        "{test}: no remedy in: {}",
        finished.stderr
    );
    assert!(
        !finished.stderr.contains("panicked"),
        "{test}: {}",
        finished.stderr
    );
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[test]
fn a_missing_command() {
    for_each_privilege("no_command", |privilege| {
        let place = Place::new();
        let finished = Run::new(&place, privilege).finish();
        assert_refusal("no command", &finished, &["--"]);
    });
}

#[test]
fn images() {
    for_each_privilege("images", |privilege| {
        let place = Place::new();
        let file = place.file("image-file", privilege, "x");
        let file = file.display().to_string();
        let cases = [
            (
                words(["--image", "/none/such/image"]),
                vec!["/none/such/image"],
            ),
            (words(["--image", &file]), vec![file.as_str()]),
            (words(["--image", "relative/image"]), vec!["relative/image"]),
            (words(["--image", ""]), vec!["image"]),
        ];
        refuse_all("image", privilege, &place, cases);
    });
}

#[test]
fn mounts() {
    for_each_privilege("mounts", |privilege| {
        let place = Place::new();
        let source = place.dir("source", privilege);
        let source = source.display().to_string();
        let at = |target: &str| words(["--mount", &format!("{source}:{target}")]);
        let cases = [
            (words(["--mount", "/none/such:/data"]), vec!["/none/such"]),
            (words(["--mount", "relative:/data"]), vec!["relative"]),
            (words(["--mount", "/proc/sys:/data"]), vec!["/proc/sys"]),
            (words(["--mount", "nonsense"]), vec!["nonsense"]),
            (
                words(["--mount", &format!("{source}:/data:rx")]),
                vec!["rx"],
            ),
            (
                words([
                    "--mount",
                    &format!("{source}:/a"),
                    "--mount",
                    &format!("{source}:/a"),
                ]),
                vec!["/a"],
            ),
            (words(["--mount", "/:/data:rw"]), vec!["/"]),
            (at("data"), vec!["data"]),
            (at("/data/../etc"), vec!["/data/../etc"]),
            (at("/"), vec!["/"]),
            (at("/proc"), vec!["/proc"]),
            (at("/proc/sys"), vec!["/proc/sys"]),
            (at("/sys/fs/cgroup"), vec!["/sys/fs/cgroup"]),
            (at("/dev"), vec!["/dev"]),
            (at("/etc/passwd"), vec!["/etc/passwd"]),
            (at("/usr"), vec!["/usr"]),
            (at("/run"), vec!["/run"]),
            (at("/run/lakekeep/x"), vec!["/run/lakekeep"]),
        ];
        refuse_all("mount", privilege, &place, cases);
    });
}

#[test]
fn a_source_that_is_or_passes_a_link() {
    for_each_privilege("links", |privilege| {
        let place = Place::new();
        let inside = place.dir("real", privilege).join("sub");
        std::fs::create_dir(&inside).unwrap();
        let link = place.path().join("link");
        symlink(place.path().join("real"), &link).unwrap();
        let link = link.display().to_string();
        let cases = [
            (
                words(["--mount", &format!("{link}:/data")]),
                vec![link.as_str(), "link"],
            ),
            (
                words(["--mount", &format!("{link}/sub:/data")]),
                vec![link.as_str(), "link"],
            ),
        ];
        refuse_all("link", privilege, &place, cases);
    });
}

#[test]
fn limits() {
    for_each_privilege("limits", |privilege| {
        let place = Place::new();
        let cases = [
            (words(["--memory", "1000TiB"]), vec!["memory"]),
            (words(["--memory", "0"]), vec!["memory"]),
            (words(["--memory", "lots"]), vec!["lots"]),
            (words(["--memory", "-1"]), vec!["-1"]),
            (
                words(["--memory", "99999999999999999999TiB"]),
                vec!["99999999999999999999TiB"],
            ),
            (words(["--memory", "12parsecs"]), vec!["12parsecs"]),
            (words(["--cpus", "100000"]), vec!["cpus"]),
            (words(["--cpus", "0"]), vec!["cpus"]),
            (words(["--cpus", "NaN"]), vec!["NaN"]),
            (words(["--pids", "0"]), vec!["pids"]),
            (words(["--pids", "4294967296"]), vec!["4294967296"]),
            (words(["--timeout", "0"]), vec!["0"]),
            (words(["--timeout", "soon"]), vec!["soon"]),
            (words(["--cpu-time", "0s"]), vec!["cpu"]),
            (words(["--open-files", "0"]), vec!["open"]),
            (
                words(["--scratch-size", "1TiB", "--memory", "64MiB"]),
                vec!["scratch"],
            ),
            (words(["--output-limit", "0"]), vec!["output"]),
        ];
        refuse_all("limit", privilege, &place, cases);
    });
}

#[test]
fn policies() {
    for_each_privilege("policies", |privilege| {
        let place = Place::new();
        let write =
            |name: &str, text: &str| place.file(name, privilege, text).display().to_string();
        let unknown = write("unknown.toml", "version = 1\n[limits]\nmemry = \"1GiB\"\n");
        let kind = write(
            "kind.toml",
            "version = 1\npreset = \"udf\"\n[limits]\npids = \"many\"\n",
        );
        let broken = write("broken.toml", "version = 1\n[limits\n");
        let json = write(
            "unknown.json",
            "{\n  \"version\": 1,\n  \"shell\": true\n}\n",
        );
        let version = write("version.toml", "version = 2\n");
        let twice = write("twice.toml", "version = 1\n[limits]\npids = 1\npids = 2\n");
        let contradiction = write(
            "contradiction.toml",
            "version = 1\n[landlock]\nenabled = false\n[floor]\nrequire = [\"landlock\"]\n",
        );
        let cpu = write(
            "cpu.toml",
            "version = 1\n[limits]\nwall_time = \"1s\"\ncpu_time = \"1h\"\n",
        );
        let many = write("many.toml", "version = 1\n[limits]\npids = 0\nmemory = 0\n");
        let climbing = write(
            "climbing.toml",
            "version = 1\n[[mounts]]\nsource = \"/tmp/../etc\"\ntarget = \"/data\"\n",
        );
        let huge = write(
            "huge.toml",
            &format!("version = 1\n#{}\n", "x".repeat(2 << 20)),
        );
        let directory = place.dir("policy.toml", privilege).display().to_string();
        let cases = [
            (
                words(["--policy", "/none/such.toml"]),
                vec!["/none/such.toml"],
            ),
            (words(["--policy", &directory]), vec![directory.as_str()]),
            (
                words(["--policy", &unknown]),
                vec![":3:", "limits.memry", "memory"],
            ),
            (words(["--policy", &kind]), vec![":4:", "limits.pids"]),
            (words(["--policy", &broken]), vec![":2:"]),
            (words(["--policy", &json]), vec![":3:", "shell"]),
            (words(["--policy", &version]), vec!["version"]),
            (words(["--policy", &twice]), vec![":4:", "duplicate"]),
            (words(["--policy", &contradiction]), vec!["landlock"]),
            (words(["--policy", &cpu]), vec!["cpu_time"]),
            (
                words(["--policy", &many]),
                vec!["limits.pids", "limits.memory"],
            ),
            (words(["--policy", &climbing]), vec![":3:", "/tmp/../etc"]),
            (words(["--policy", &huge]), vec![huge.as_str()]),
            (words(["--preset", "wide"]), vec!["wide", "general"]),
        ];
        refuse_all("policy", privilege, &place, cases);
    });
}

#[test]
fn an_unreadable_policy() {
    if !Privilege::Root.available("unreadable_policy") {
        return;
    }
    let place = Place::new();
    let policy = place.file("private.toml", Privilege::Root, "version = 1\n");
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let policy = policy.display().to_string();
    let cases = [(words(["--policy", &policy]), vec![policy.as_str()])];
    refuse_all("unreadable", Privilege::User, &place, cases);
}

#[test]
fn a_floor_that_cannot_be_met() {
    // As root the tests use a user id that surely has no subordinate ids.
    if !Privilege::Root.available("unmet_floor") {
        return;
    }
    let place = Place::new();
    let policy = place.file(
        "floor.toml",
        Privilege::User,
        "version = 1\n[floor]\nrequire = [\"id_range\"]\n",
    );
    let policy = policy.display().to_string();
    let cases = [(words(["--policy", &policy]), vec!["id_range", "floor"])];
    refuse_all("floor", Privilege::User, &place, cases);
}

#[test]
fn variables_places_and_files() {
    for_each_privilege("others", |privilege| {
        let place = Place::new();
        let cases = [
            (words(["--env", "NOVALUE"]), vec!["NOVALUE"]),
            (words(["--env", "=x"]), vec!["env"]),
            (words(["--env", "LAKEKEEP_X=1"]), vec!["LAKEKEEP_X"]),
            (words(["--workdir", "relative"]), vec!["relative"]),
            (
                words(["--workdir", "/proc/self/fd/7"]),
                vec!["/proc/self/fd/7"],
            ),
            (words(["--no-such-flag"]), vec!["--no-such-flag"]),
        ];
        refuse_all("other", privilege, &place, cases);
    });
}

/// A receipt that cannot be kept is known before the run, not after it.
#[test]
fn a_receipt_in_a_missing_folder() {
    for_each_privilege("receipt_file", |privilege| {
        let place = Place::new();
        let finished = Run::new(&place, privilege)
            .receipt("/none/such/receipt.json")
            .command(["echo", "it-ran"])
            .finish();
        assert_refusal("receipt", &finished, &["/none/such/receipt.json"]);
    });
}

#[test]
fn arguments_beyond_the_kernel_s_limit() {
    for_each_privilege("too_long", |privilege| {
        let place = Place::new();
        // As many as the kernel lets this test pass to lakekeep itself. Inside there
        // is a little more to carry, or a little less: refused, or all there.
        let word = "x".repeat(100_000);
        let many: Vec<&str> = std::iter::repeat_n(word.as_str(), 19).collect();
        let mut command = vec!["/bin/sh", "-c", "echo $#", "sh"];
        command.extend(&many);
        let finished = Run::new(&place, privilege).command(&command).finish();
        match finished.code {
            0 => assert_eq!(finished.text(), "19\n"),
            _ => assert_refusal("too long", &finished, &["bytes"]),
        }
    });
}

/// The receipt names what was refused, and no half-made thing stays, when the
/// failure comes late: the command's own mount target is below a file.
#[test]
fn a_failure_halfway_is_undone() {
    for_each_privilege("halfway", |privilege| {
        let place = Place::new();
        let source = place.dir("source", privilege).display().to_string();
        let file = place.file("file", privilege, "x").display().to_string();
        let cases = [(
            words([
                "--mount",
                &format!("{file}:/data/x"),
                "--mount",
                &format!("{source}:/data/x/y"),
            ]),
            vec!["/data/x"],
        )];
        refuse_all("halfway", privilege, &place, cases);
    });
}
