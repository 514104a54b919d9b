//! Each limit: what happens beyond it, and how the verdict says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use lakekeep_tests::{
    Finished, HostSnapshot, Place, Privilege, Run, for_each_privilege, skip, slack,
};

const MIB: u64 = 1024 * 1024;

/// Runs it, or reports that this host cannot enforce the layer for this user.
fn limited(
    test: &str,
    layer: &str,
    privilege: Privilege,
    run: impl Fn(Run) -> Run,
) -> Option<Finished> {
    let place = Place::new();
    let before = HostSnapshot::take(place.path());
    let finished = run(Run::new(&place, privilege)).finish();
    before.assert_unchanged();
    match finished.unenforced(layer) {
        Some(reason) => {
            skip(&format!("{test}::{}", privilege.name()), layer, &reason);
            None
        }
        None => Some(finished),
    }
}

#[test]
fn out_of_memory_says_limit_and_peak() {
    for_each_privilege("memory", |privilege| {
        let run = |run: Run| {
            run.flags(["--memory", "64MiB", "--swap", "0"])
                .shell("head -c 300M /dev/zero | tail")
        };
        let Some(run) = limited("memory", "memory_limit", privilege, run) else {
            return;
        };
        run.assert_code(137).assert_verdict("out_of_memory");
        assert_eq!(
            run.verdict_field("limit").and_then(|v| v.as_u64()),
            Some(64 * MIB),
            "{:?}",
            run.receipt
        );
        let peak = run
            .verdict_field("peak")
            .and_then(|v| v.as_u64())
            .unwrap_or(0);
        assert!((32 * MIB..=80 * MIB).contains(&peak), "peak {peak}");
    });
}

#[test]
fn below_the_memory_limit_nothing_is_killed() {
    for_each_privilege("memory_below", |privilege| {
        let run = |run: Run| {
            run.flags(["--memory", "256MiB"])
                .shell("head -c 50M /dev/zero | tail | wc -c")
        };
        let Some(run) = limited("memory_below", "memory_limit", privilege, run) else {
            return;
        };
        run.assert_code(0).assert_verdict("exit");
        assert_eq!(run.text().trim(), (50 * MIB).to_string());
    });
}

#[test]
fn processes_beyond_the_limit_are_refused() {
    for_each_privilege("pids", |privilege| {
        let script = "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; echo all";
        let run = |run: Run| run.flags(["--pids", "20"]).shell(script);
        let Some(run) = limited("pids", "pids_limit", privilege, run) else {
            return;
        };
        assert_ne!(run.code, 0, "{}", run.stderr);
        let by_rlimit = run
            .layer("pids_limit")
            .is_some_and(|layer| layer["value"]["rlimit"].is_u64());
        if !by_rlimit {
            // Without a control group nobody counts the refusals.
            run.assert_verdict("pids");
        }
        assert!(!run.text().contains("all"));
    });
}

#[test]
fn wall_time_ends_everything_inside() {
    for_each_privilege("wall_time", |privilege| {
        let script = "trap '' TERM INT HUP; setsid sleep 100 & sleep 100";
        let run = |run: Run| run.flags(["--timeout", "1s"]).shell(script);
        let Some(run) = limited("wall_time", "wall_time_limit", privilege, run) else {
            return;
        };
        run.assert_code(124).assert_verdict("wall_time");
        assert!(run.elapsed >= Duration::from_secs(1), "{:?}", run.elapsed);
    });
}

#[test]
fn cpu_time_ends_a_busy_process() {
    for_each_privilege("cpu_time", |privilege| {
        let run = |run: Run| {
            run.flags(["--cpu-time", "1s"])
                .flags(["--timeout", &format!("{}s", 60 * slack())])
                .shell("while :; do :; done")
        };
        let Some(run) = limited("cpu_time", "cpu_time_limit", privilege, run) else {
            return;
        };
        assert_ne!(run.code, 0);
        run.assert_verdict("cpu_time");
    });
}

#[test]
fn sleeping_uses_no_cpu_time() {
    for_each_privilege("cpu_time_idle", |privilege| {
        let run = |run: Run| run.flags(["--cpu-time", "1s"]).command(["sleep", "2"]);
        let Some(run) = limited("cpu_time_idle", "cpu_time_limit", privilege, run) else {
            return;
        };
        run.assert_code(0).assert_verdict("exit");
    });
}

#[test]
fn a_file_beyond_its_size_is_refused() {
    for_each_privilege("file_size", |privilege| {
        let script = "trap '' XFSZ; head -c 1048576 /dev/zero > /tmp/fits && echo fits; head -c 1048577 /dev/zero > /tmp/over || echo refused; stat -c %s /tmp/over";
        let run = |run: Run| run.flags(["--file-size", "1MiB"]).shell(script);
        let Some(run) = limited("file_size", "file_size_limit", privilege, run) else {
            return;
        };
        assert_eq!(
            run.text(),
            format!("fits\nrefused\n{MIB}\n"),
            "{}",
            run.stderr
        );
    });
}

#[test]
fn open_files_are_limited() {
    for_each_privilege("open_files", |privilege| {
        let run = |run: Run| {
            run.flags(["--open-files", "32"])
                .shell("ulimit -Sn; ulimit -Hn")
        };
        let Some(run) = limited("open_files", "open_files_limit", privilege, run) else {
            return;
        };
        assert_eq!(run.text(), "32\n32\n");
    });
}

#[test]
fn scratch_space_is_one_pot() {
    for_each_privilege("scratch_size", |privilege| {
        let script = "head -c 10M /dev/zero > /tmp/a && echo first; head -c 10M /dev/zero > /home/user/b || echo full; \
                      rm /tmp/a /home/user/b; head -c 10M /dev/zero > /dev/shm/c && echo again";
        let run = |run: Run| run.flags(["--scratch-size", "16MiB"]).shell(script);
        let Some(run) = limited("scratch_size", "scratch_limit", privilege, run) else {
            return;
        };
        run.assert_code(0);
        assert_eq!(run.text(), "first\nfull\nagain\n", "{}", run.stderr);
    });
}

#[test]
fn a_full_disk_is_the_verdict() {
    for_each_privilege("disk_full", |privilege| {
        let run = |run: Run| {
            run.flags(["--scratch-size", "4MiB"])
                .shell("exec head -c 100M /dev/zero > /tmp/a")
        };
        let Some(run) = limited("disk_full", "scratch_limit", privilege, run) else {
            return;
        };
        assert_ne!(run.code, 0);
        run.assert_verdict("disk_full");
    });
}

#[test]
fn scratch_inodes_are_limited() {
    for_each_privilege("scratch_inodes", |privilege| {
        let script = "i=0; while [ $i -lt 300 ]; do touch /tmp/f$i || { echo full; exit 0; }; i=$((i+1)); done; echo all";
        let run = |run: Run| run.flags(["--scratch-inodes", "100"]).shell(script);
        let Some(run) = limited("scratch_inodes", "scratch_limit", privilege, run) else {
            return;
        };
        assert_eq!(run.text(), "full\n", "{}", run.stderr);
    });
}

#[test]
fn output_beyond_its_limit_is_cut() {
    for_each_privilege("output", |privilege| {
        let run = |run: Run| {
            run.flags(["--output-limit", "1MiB"])
                .command(["head", "-c", "50M", "/dev/zero"])
        };
        let Some(run) = limited("output", "output_limit", privilege, run) else {
            return;
        };
        assert_ne!(run.code, 0);
        run.assert_verdict("output_limit");
        let got = run.stdout.len() as u64;
        assert!((MIB / 2..=MIB).contains(&got), "{got} bytes came out");
    });
}

#[test]
fn output_just_within_its_limit_is_whole() {
    for_each_privilege("output_within", |privilege| {
        let run = |run: Run| {
            run.flags(["--output-limit", "1MiB"])
                .command(["head", "-c", "1048576", "/dev/zero"])
        };
        let Some(run) = limited("output_within", "output_limit", privilege, run) else {
            return;
        };
        run.assert_code(0).assert_verdict("exit");
        assert_eq!(run.stdout.len() as u64, MIB);
    });
}

#[test]
fn a_denied_call_is_explained() {
    for_each_privilege("explain", |privilege| {
        let run = |run: Run| {
            run.flags(["--explain-syscalls"])
                .command(["unshare", "--user", "true"])
        };
        let Some(run) = limited("explain", "seccomp", privilege, run) else {
            return;
        };
        assert_ne!(run.code, 0);
        assert!(run.stderr.contains("unshare"), "{}", run.stderr);
        assert!(
            run.receipt
                .is_some_and(|receipt| receipt.to_string().contains("unshare")),
            "the receipt names the call"
        );
    });
}

#[test]
fn each_verdict_but_exit_carries_a_remedy() {
    for_each_privilege("remedy", |privilege| {
        let place = Place::new();
        let runs = [
            Run::new(&place, privilege)
                .flags(["--timeout", "300ms"])
                .command(["sleep", "9"]),
            Run::new(&place, privilege).command(["/none-such"]),
            Run::new(&place, privilege)
                .flags(["--output-limit", "1KiB"])
                .command(["head", "-c", "1M", "/dev/zero"]),
        ];
        for run in runs {
            let finished = run.finish();
            let remedy = finished
                .verdict_field("remedy")
                .and_then(|v| v.as_str())
                .unwrap_or("");
            assert!(!remedy.is_empty(), "{:?}", finished.receipt);
        }
    });
}
