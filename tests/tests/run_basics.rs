//! `lakekeep run` as its user sees it: exit codes, streams, environment, signals.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Run, Tracked, eventually, for_each_privilege, skip, slack,
};
use rustix::process::{Pid, Signal, kill_process};

const HUNDRED_MB: usize = 100 * 1000 * 1000;

/// Each kind of ending, its exit code and its verdict.
#[test]
fn the_exit_code_is_the_command_s() {
    for_each_privilege("exit_codes", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let endings: [(&str, i32, &str); 6] = [
            ("exit 0", 0, "exit"),
            ("exit 1", 1, "exit"),
            ("exit 42", 42, "exit"),
            ("exit 255", 255, "exit"),
            ("kill -KILL $$", 137, "signal"),
            ("kill -TERM $$", 143, "signal"),
        ];
        for (script, code, verdict) in endings {
            Run::new(&place, privilege)
                .shell(script)
                .finish()
                .assert_code(code)
                .assert_verdict(verdict);
        }
        before.assert_unchanged();
    });
}

#[test]
fn what_cannot_be_executed_is_126_or_127_and_named() {
    for_each_privilege("exec_failures", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        for (command, code) in [
            ("/usr/bin/none-such", 127),
            ("none-such-command", 127),
            ("/etc/passwd", 126),
            ("/usr", 126),
        ] {
            let run = Run::new(&place, privilege).command([command]).finish();
            run.assert_code(code).assert_verdict("exec_failed");
            assert!(run.stderr.contains(command), "{}", run.stderr);
        }
        before.assert_unchanged();
    });
}

#[test]
fn time_over_is_124() {
    for_each_privilege("timeout", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .flags(["--timeout", "500ms"])
            .command(["sleep", "100"])
            .finish();
        run.assert_code(124).assert_verdict("wall_time");
        let soon = Duration::from_secs(60) * slack();
        assert!(run.elapsed < soon, "{:?}", run.elapsed);
    });
}

#[test]
fn a_hundred_megabytes_pass_through_unchanged() {
    for_each_privilege("streams", |privilege| {
        let place = Place::new();
        // A pattern that shows loss, repetition and reordering.
        let bytes: Vec<u8> = (0..HUNDRED_MB / 4)
            .flat_map(|n| u32::try_from(n).unwrap().to_le_bytes())
            .collect();
        let run = Run::new(&place, privilege)
            .flags(["--output-limit", "1GiB"])
            .flags(["--timeout", &format!("{}s", 100 * slack())])
            .command(["cat"])
            .stdin(bytes.clone())
            .finish();
        run.assert_code(0);
        assert_eq!(run.stdout.len(), bytes.len());
        assert!(run.stdout == bytes, "the bytes differ");
    });
}

#[test]
fn the_two_outputs_stay_apart() {
    for_each_privilege("outputs", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .shell("echo out; echo err >&2")
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), "out\n");
        assert!(
            run.stderr.lines().any(|line| line == "err"),
            "{}",
            run.stderr
        );
    });
}

/// A conversation works only when nothing waits for a whole output or the end.
#[test]
fn streams_are_not_held_back() {
    for_each_privilege("conversation", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege).shell("while read line; do echo \"got $line\"; done");
        let mut child = run.spawn();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for word in ["one", "two", "three"] {
            writeln!(stdin, "{word}").unwrap();
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, format!("got {word}\n"));
        }
        drop(stdin);
        assert_eq!(end_of(&mut child), Some(0));
    });
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    for_each_privilege("closed_output", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .flags(["--output-limit", "1TiB"])
            .command(["yes"]);
        let mut child = run.spawn();
        let mut few = [0; 64];
        child.stdout.take().unwrap().read_exact(&mut few).unwrap();
        assert_ne!(
            end_of(&mut child),
            Some(0),
            "SIGPIPE or EPIPE must reach the command"
        );
    });
}

#[test]
fn only_granted_variables_exist() {
    for_each_privilege("environment", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .environment("HOST_ONLY", "secret")
            .environment("LD_LIBRARY_PATH", "/nowhere")
            .flags(["--env", "GIVEN=a=b c", "--env", "EMPTY="])
            .command(["env"])
            .finish();
        run.assert_code(0);
        let text = run.text();
        assert!(text.lines().any(|line| line == "GIVEN=a=b c"), "{text}");
        assert!(text.lines().any(|line| line == "EMPTY="), "{text}");
        let known = [
            "GIVEN",
            "EMPTY",
            "HOME",
            "KMP_AFFINITY",
            "LANG",
            "PATH",
            "TMPDIR",
            "USER",
            "TERM",
        ];
        let foreign: Vec<_> = text
            .lines()
            .filter(|line| {
                !known
                    .iter()
                    .any(|name| line.starts_with(&format!("{name}=")))
            })
            .collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    });
}

#[test]
fn arguments_arrive_as_they_are() {
    for_each_privilege("arguments", |privilege| {
        let place = Place::new();
        let words = [
            "",
            "a b",
            "--flag",
            "--",
            "line\nbreak",
            "ünïcode",
            "$HOME",
            "'\"\\",
        ];
        let run = Run::new(&place, privilege)
            .command(["/usr/bin/printf", "<%s>"].into_iter().chain(words))
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), words.map(|word| format!("<{word}>")).concat());
    });
}

#[test]
fn the_working_directory_is_as_given() {
    for_each_privilege("workdir", |privilege| {
        let place = Place::new();
        assert_eq!(
            Run::new(&place, privilege).command(["pwd"]).finish().text(),
            "/home/user\n"
        );
        let run = Run::new(&place, privilege)
            .flags(["--workdir", "/tmp"])
            .command(["pwd"])
            .finish();
        assert_eq!(run.text(), "/tmp\n");
    });
}

#[test]
fn signals_reach_the_command() {
    for_each_privilege("signals", |privilege| {
        let place = Place::new();
        for (signal, name, code) in [
            (Signal::INT, "INT", 41),
            (Signal::TERM, "TERM", 42),
            (Signal::HUP, "HUP", 43),
        ] {
            let script = format!(
                "trap 'echo {name}; exit {code}' {name}; echo ready; while :; do sleep 0.05; done"
            );
            let run = Run::new(&place, privilege).shell(&script);
            let mut child = run.spawn();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            kill_process(Pid::from_child(&child), signal).unwrap();
            assert_eq!(end_of(&mut child), Some(code), "{name}");
            line.clear();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{name}\n"));
        }
    });
}

#[test]
fn a_background_process_ends_with_the_command() {
    for_each_privilege("background", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let script = "(setsid sleep 1000 </dev/null >/dev/null 2>&1 &) ; (trap '' TERM HUP; sleep 1000 >/dev/null 2>&1 &); exit 3";
        Run::new(&place, privilege)
            .shell(script)
            .finish()
            .assert_code(3);
        before.assert_unchanged();
    });
}

#[test]
fn the_number_of_processors_agrees_with_the_limit() {
    for_each_privilege("nproc", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .flags(["--cpus", "1"])
            .command(["nproc"])
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), "1\n");
    });
}

#[test]
fn a_mounted_file_is_read_by_python() {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return skip("python", "python3", "the host has no /usr/bin/python3");
    }
    for_each_privilege("python", |privilege| {
        let place = Place::new();
        let data = place.file("x.csv", privilege, "n\n1\n2\n3\n");
        let run = Run::new(&place, privilege)
            .flags([
                "--mount".to_owned(),
                format!("{}:/data/x.csv:ro", data.display()),
            ])
            .command([
                "python3",
                "-c",
                "import csv; print(sum(int(r['n']) for r in csv.DictReader(open('/data/x.csv'))))",
            ])
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), "6\n");
    });
}

#[test]
fn a_writable_volume_keeps_what_was_written() {
    for_each_privilege("volume", |privilege| {
        let place = Place::new();
        let volume = place.dir("volume", privilege);
        Run::new(&place, privilege)
            .flags([
                "--mount".to_owned(),
                format!("{}:/data:rw", volume.display()),
            ])
            .shell("echo kept > /data/file")
            .finish()
            .assert_code(0);
        assert_eq!(
            std::fs::read_to_string(volume.join("file")).unwrap(),
            "kept\n"
        );
    });
}

/// A mount below a volume's folder comes along, and with the volume's own rules.
#[test]
fn what_is_mounted_below_a_read_only_volume_is_read_only() {
    if !Privilege::Root.available("submount") {
        return;
    }
    let place = Place::new();
    let source = place.dir("volume/sub", Privilege::Root);
    let volume = place.path().join("volume");
    let run = Run::new(&place, Privilege::Root)
        .flags(["--mount".to_owned(), format!("{}:/data:ro", volume.display())])
        .shell("cat /data/sub/there; touch /data/sub/new && echo written; grep ' /data/sub ' /proc/self/mounts")
        .to_command();
    // In a mount table of its own, so that the host keeps no trace of the mount.
    let script = format!(
        "mount -t tmpfs t {0} && echo present > {0}/there && chmod 755 {0} && exec \"$@\"",
        source.display()
    );
    let mut command = std::process::Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "/bin/sh", "-c", &script, "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .env_clear();
    command.envs(
        run.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = Tracked::spawn(&mut command);
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    end_of(&mut child);
    assert!(text.starts_with("present\n"), "{text}");
    assert!(!text.contains("written"), "{text}");
    let flags = text
        .lines()
        .find(|line| line.contains(" /data/sub "))
        .unwrap_or("");
    for flag in ["ro", "nosuid", "nodev"] {
        assert!(
            flags.split([' ', ',']).any(|at| at == flag),
            "{flag} is not in {flags:?}"
        );
    }
}

/// Class 46: no two living sandboxes have a host id in common.
#[test]
fn two_sandboxes_have_different_host_ids() {
    if !Privilege::Root.available("id_ranges") {
        return;
    }
    let place = Place::new();
    let shared = place.dir("state-shared", Privilege::Root);
    let mut ranges = Vec::new();
    let mut living: Vec<Tracked> = Vec::new();
    for _ in 0..3 {
        let run = Run::new(&place, Privilege::Root)
            .state(&shared)
            .shell("grep -v '^$' /proc/self/uid_map; echo end; read line");
        let mut child = run.spawn();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line == "end" {
                break;
            }
            let numbers: Vec<u64> = line
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            ranges.push((numbers[1], numbers[1] + numbers[2]));
        }
        living.push(child);
    }
    assert!(ranges.len() >= 3, "{ranges:?}");
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{ranges:?} overlap");
    }
    assert!(
        ranges.iter().all(|range| range.0 != 0),
        "host uid 0 is mapped: {ranges:?}"
    );
}

/// The interpreter of a virtual environment is a link to one elsewhere: it is called by the
/// link's name, and finds its libraries by it.
#[test]
fn an_interpreter_of_a_virtual_environment_brings_the_environment() {
    for_each_privilege("venv", |privilege| {
        let place = Place::new();
        let folder = place.dir("venv", privilege);
        let mut venv = std::process::Command::new("/usr/bin/python3");
        venv.args(["-m", "venv", "--without-pip"]).arg(&folder);
        privilege.apply(&mut venv);
        assert!(venv.status().unwrap().success());
        let python = folder.join("bin/python3").display().to_string();
        let show = "import sys; print(sys.prefix != sys.base_prefix, sys.prefix)";
        let run = Run::new(&place, privilege)
            .flags(["--interpreter", &python])
            .command([python.as_str(), "-c", show])
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), format!("True {}\n", folder.display()));
    });
}

fn end_of(child: &mut Tracked) -> Option<i32> {
    eventually("the end of lakekeep run", || child.try_wait().unwrap()).code()
}
