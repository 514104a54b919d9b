//! Against the running kernel: needs root and a writable `lakekeep` group.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

/// A test's own group, swept whatever the test does.
struct Fixture {
    hierarchy: Hierarchy,
    launcher: String,
    controllers: Vec<Controller>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Fixture {
    /// Skips with a reason, unless `LAKEKEEP_TESTS_REQUIRE` names cgroup.
    fn new() -> Option<Self> {
        let hierarchy = Hierarchy::detect().unwrap();
        let controllers: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|&c| hierarchy.mount_of(c).is_some_and(|m| hierarchy.writable(m)))
            .collect();
        if !controllers.contains(&Controller::Pids) {
            return skip("no writable pids controller: needs root");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            hierarchy,
            launcher: format!("lakekeep/test-{}-{number}", std::process::id()),
            controllers,
        })
    }

    fn group(&self, name: &str) -> Group {
        let group = Group::new(&self.hierarchy, &format!("{}/{name}", self.launcher)).unwrap();
        group.create(&self.controllers).unwrap();
        group
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.hierarchy.sweep(&self.launcher, SOON).unwrap();
        self.hierarchy.prune().unwrap();
    }
}

fn skip<T>(reason: &str) -> Option<T> {
    let required = std::env::var("LAKEKEEP_TESTS_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == "cgroup"),
        "cgroup is required: {reason}"
    );
    eprintln!("skipped: {reason}");
    None
}

/// A shell that waits for its first line, so that it can be moved before it acts.
fn shell(script: &str) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn start_in(group: &Group, script: &str) -> Child {
    let mut child = shell(script).unwrap();
    group.attach(pid_of(&child)).unwrap();
    io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    child
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_runs_in_a_group_is_listed_counted_killed_and_removed() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let mut child = start_in(&group, "sleep 1000 & sleep 1000");
    until("three processes", || group.procs().unwrap().len() == 3);
    assert!(group.procs().unwrap().contains(&pid_of(&child)));
    assert_eq!(group.usage().unwrap().pids_current, Some(3));

    let removal = group.remove(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(removal, CgroupError::StillPopulated { ref pids, .. } if pids.len() == 3));

    assert_eq!(group.kill_all(SOON).unwrap(), 3);
    assert!(group.procs().unwrap().is_empty());
    assert!(group.remove(SOON).unwrap() > 0);
    assert!(!group.exists());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn limits_are_read_back_as_written() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let mut limits = Limits {
        memory: Some(Limit::Value(64 * MIB)),
        swap: Some(Limit::Value(0)),
        cpu_quota_us: Some(Limit::Value(50_000)),
        cpu_period_us: Some(100_000),
        pids: Some(Limit::Value(7)),
        cpuset: Some("0".to_owned()),
        oom_group: None,
    };
    assert_eq!(group.write_limits(&limits).unwrap(), []);
    assert_same(&group, &limits);
    // Raised and lowered again: on version 1 each way needs another order.
    for size in [256 * MIB, 32 * MIB] {
        limits.memory = Some(Limit::Value(size));
        assert_eq!(group.write_limits(&limits).unwrap(), []);
        assert_same(&group, &limits);
    }
    limits.pids = Some(Limit::Unlimited);
    limits.cpu_quota_us = Some(Limit::Unlimited);
    group.write_limits(&limits).unwrap();
    assert_same(&group, &limits);
}

fn assert_same(group: &Group, written: &Limits) {
    let mut read = group.read_limits().unwrap();
    read.oom_group = None;
    assert_eq!(read, *written);
}

#[test]
fn ending_a_whole_group_for_memory_is_refused_by_name_on_version_1() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let limits = Limits {
        oom_group: Some(true),
        ..Limits::default()
    };
    let missing = group.write_limits(&limits).unwrap();
    let v2 = fixture
        .hierarchy
        .mount_of(Controller::Memory)
        .unwrap()
        .version
        == Version::V2;
    assert_eq!(missing.iter().any(|m| m.limit == "oom_group"), !v2);
}

#[test]
fn memory_beyond_the_limit_is_a_counted_kill_with_a_peak() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let limits = Limits {
        memory: Some(Limit::Value(32 * MIB)),
        swap: Some(Limit::Value(0)),
        ..Limits::default()
    };
    group.write_limits(&limits).unwrap();
    let mut child = start_in(&group, "exec tail /dev/zero");
    assert!(!child.wait().unwrap().success());
    let usage = group.usage().unwrap();
    assert_eq!(usage.oom_kills, 1);
    assert_eq!(usage.memory_limit, Some(Limit::Value(32 * MIB)));
    assert!(usage.memory_peak.unwrap() > 30 * MIB);
    assert!(usage.memory_peak.unwrap() <= 32 * MIB);
    assert!(usage.cpu_usage_us.unwrap() > 0);
}

#[test]
fn a_refused_fork_is_counted_also_below() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let limits = Limits {
        pids: Some(Limit::Value(2)),
        ..Limits::default()
    };
    group.write_limits(&limits).unwrap();
    let mut child = start_in(&group, "sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait");
    child.wait().unwrap();
    assert!(group.usage().unwrap().pids_max_events.unwrap() > 0);
}

#[test]
fn a_group_that_forks_without_end_is_ended() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let limits = Limits {
        pids: Some(Limit::Value(300)),
        ..Limits::default()
    };
    group.write_limits(&limits).unwrap();
    let script = "f() { while :; do (f) & done; }; f 2>/dev/null";
    let mut child = start_in(&group, script);
    until("a crowd", || group.procs().unwrap().len() > 50);
    group.kill_all(SOON).unwrap();
    assert!(group.procs().unwrap().is_empty());
    group.remove(SOON).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_sweep_ends_what_a_dead_launcher_left_and_can_be_repeated() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let (first, second) = (fixture.group("s1"), fixture.group("s2/task"));
    let mut children = [
        start_in(&first, "sleep 1000"),
        start_in(&second, "sleep 1000"),
    ];
    let name = fixture.launcher.strip_prefix("lakekeep/").unwrap();
    assert!(fixture.hierarchy.launchers().unwrap().contains(name));

    let swept = fixture.hierarchy.sweep(&fixture.launcher, SOON).unwrap();
    assert!(swept.processes >= 2);
    assert!(swept.groups >= 4);
    let again = fixture.hierarchy.sweep(&fixture.launcher, SOON).unwrap();
    assert_eq!(again, Swept::default());
    assert!(!fixture.hierarchy.launchers().unwrap().contains(name));
    for child in &mut children {
        child.wait().unwrap();
    }
}

#[test]
fn a_sweep_ends_what_was_frozen_by_itself() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    if !fixture.controllers.contains(&Controller::Freezer) {
        skip::<()>("no writable freezer");
        return;
    }
    let group = fixture.group("s1");
    let mut child = start_in(&group, "sleep 1000");
    group.freeze(true, SOON).unwrap();

    let swept = fixture.hierarchy.sweep(&fixture.launcher, SOON).unwrap();
    assert!(swept.processes >= 1);
    assert!(!child.wait().unwrap().success());
}

/// The version 2 tree alone, also on a hybrid host, where it has no controllers.
fn unified_only() -> Option<Hierarchy> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let v2: String = mounts
        .split_inclusive('\n')
        .filter(|line| line.contains(" - cgroup2 "))
        .collect();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let hierarchy = Hierarchy::from_texts(&v2, &own).unwrap();
    match hierarchy.unified() {
        Some(mount) if hierarchy.writable(mount) => Some(hierarchy),
        _ => skip("no writable version 2 tree"),
    }
}

#[test]
fn version_2_ends_a_whole_subtree_at_once() {
    let Some(hierarchy) = unified_only() else {
        return;
    };
    let launcher = format!("lakekeep/test-v2-{}", std::process::id());
    let make = |name: &str| {
        let group = Group::new(&hierarchy, &format!("{launcher}/{name}")).unwrap();
        group.create(&[Controller::Freezer]).unwrap();
        group
    };
    let (sandbox, task) = (make("s1"), make("s1/task"));
    assert!(task.unified_fd().unwrap().is_some());
    let mut children = [
        start_in(&sandbox, "sleep 1000 & sleep 1000"),
        start_in(&task, "while :; do (sleep 1000) & sleep 0.001; done"),
    ];
    until("five processes below", || task.procs().unwrap().len() > 5);
    assert!(sandbox.kill_all(SOON).unwrap() > 5);
    assert!(task.procs().unwrap().is_empty());
    assert_eq!(sandbox.remove(SOON).unwrap(), 2);
    assert!(sandbox.unified_fd().unwrap().is_none());
    for child in &mut children {
        child.wait().unwrap();
    }
    hierarchy.sweep(&launcher, SOON).unwrap();
    hierarchy.prune().unwrap();
}

#[test]
fn the_callers_own_group_is_never_killed() {
    let Some(hierarchy) = unified_only() else {
        return;
    };
    let path = format!("lakekeep/test-own-{}", std::process::id());
    let group = Group::new(&hierarchy, &path).unwrap();
    group.create(&[Controller::Freezer]).unwrap();
    let home = hierarchy.unified().unwrap();
    let home = home
        .point
        .join(home.own.as_ref().unwrap().strip_prefix("/").unwrap());
    group.attach(rustix::process::getpid()).unwrap();
    let refused = group.kill_all(SOON);
    std::fs::write(home.join("cgroup.procs"), "0").unwrap();
    assert!(matches!(refused, Err(CgroupError::ContainsCaller { .. })));
    group.remove(SOON).unwrap();
}

#[test]
fn a_group_must_be_new() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let group = fixture.group("s1");
    let error = group.create(&fixture.controllers).unwrap_err();
    assert_eq!(error.errno(), Some(rustix::io::Errno::EXIST));
    assert!(group.exists());
}

#[test]
fn what_was_never_made_is_an_error_to_read_and_none_to_remove() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let path = format!("{}/never", fixture.launcher);
    let group = Group::new(&fixture.hierarchy, &path).unwrap();
    assert!(group.usage().is_err());
    assert!(group.read_limits().is_err());
    assert!(group.write_limits(&Limits::default()).is_err());
    assert_eq!(group.kill_all(SOON).unwrap(), 0);
    assert_eq!(group.remove(SOON).unwrap(), 0);
}
