//! Processes, descriptors and control groups, as /proc and cgroupfs show them.
//!
//! The test process is a subreaper: whatever a killed command leaves behind becomes
//! a child of the test, so a leftover can be told from any other process.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use crate::fail;

/// Children that the harness itself started and waits for.
static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn known() -> MutexGuard<'static, BTreeSet<i32>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process was started as the program of that name.
#[must_use]
pub fn is_program(pid: i32, name: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
    Path::new(OsStr::from_bytes(program)).ends_with(name)
}

/// A child of the harness, killed and reaped when dropped.
#[derive(Debug)]
pub struct Tracked {
    child: Child,
}

impl Tracked {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let mut known = known();
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            fail(format_args!("cannot become a subreaper: {error}"));
        }
        let child = command.spawn().unwrap_or_else(|e| {
            fail(format_args!(
                "cannot start {}: {e}",
                command.get_program().display()
            ))
        });
        known.insert(pid_of(&child));
        Self { child }
    }
}

/// Runs what starts and reaps children by itself, unseen by [`orphans`].
pub(crate) fn quietly<T>(start: impl FnOnce() -> T, pid: impl FnOnce(&T) -> Option<u32>) -> T {
    let mut known = known();
    let value = start();
    known.extend(pid(&value).and_then(|pid| i32::try_from(pid).ok()));
    value
}

impl Deref for Tracked {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Tracked {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // Already over, and reaped, in the ordinary case: then kill does nothing.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("child {}: {error}", self.child.id());
        }
        known().remove(&pid_of(&self.child));
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}

/// One line of /proc/PID/stat.
struct Stat {
    pid: i32,
    parent: i32,
    state: char,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, brackets and blanks too: the last bracket ends it.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { pid, parent, state })
}

fn all() -> Vec<Stat> {
    let Ok(list) = fs::read_dir("/proc") else {
        fail(format_args!("/proc cannot be listed"));
    };
    list.filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// All living processes below this one, nearest first.
#[must_use]
pub fn descendants(pid: u32) -> Vec<i32> {
    let all = all();
    let mut found: Vec<i32> = vec![i32::try_from(pid).unwrap_or(-1)];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(
            all.iter()
                .filter(|p| p.parent == parent && p.state != 'Z')
                .map(|p| p.pid),
        );
        at += 1;
    }
    found.split_off(1)
}

/// The ended processes below this one that nobody has reaped.
#[must_use]
pub fn unreaped(pid: u32) -> Vec<i32> {
    let living = descendants(pid);
    let ended = all().into_iter().filter(|p| p.state == 'Z');
    let ours = ended.filter(|p| living.contains(&p.parent));
    ours.map(|p| p.pid).collect()
}

/// All living children of this one.
#[must_use]
pub fn children(pid: u32) -> Vec<i32> {
    let all = all().into_iter();
    all.filter(|p| Ok(p.parent) == i32::try_from(pid) && p.state != 'Z')
        .map(|p| p.pid)
        .collect()
}

/// Children of the test that the harness did not start: what commands left behind.
/// Those that ended are reaped on the way.
#[must_use]
pub fn orphans() -> Vec<(i32, String)> {
    let known = known();
    let own = getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for process in all() {
        if process.parent != own || known.contains(&process.pid) {
            continue;
        }
        if process.state == 'Z' {
            if let Err(error) = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG) {
                eprintln!("orphan {}: {error}", process.pid);
            }
            continue;
        }
        let line = fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        found.push((process.pid, line.replace('\0', " ")));
    }
    found
}

/// The number of descriptors that a process holds.
#[must_use]
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Every control group below one named `lakekeep`, in every hierarchy.
#[must_use]
pub fn cgroups_of_lakekeep() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(place), Some("cgroup" | "cgroup2")) = (fields.next(), fields.next()) {
            find_named(Path::new(place), 5, &mut found);
        }
    }
    found
}

fn find_named(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for child in subdirectories(dir) {
        if child.ends_with("lakekeep") {
            found.extend(subdirectories(&child));
        } else if depth > 0 {
            find_named(&child, depth - 1, found);
        }
    }
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(dir) else {
        return Vec::new();
    };
    list.filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Whether a living launcher holds a group of this name in any hierarchy: it keeps one
/// of its groups locked. Looked up and not tried, for a lock taken here for a moment
/// would keep the launcher that sweeps from removing it.
pub(crate) fn is_held(group: &Path, all: &[PathBuf]) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut same = all
        .iter()
        .filter(|other| other.file_name() == group.file_name());
    same.any(|other| {
        let Ok(found) = fs::metadata(other) else {
            return false;
        };
        let (major, minor) = (
            rustix::fs::major(found.dev()),
            rustix::fs::minor(found.dev()),
        );
        let name = format!(" {major:02x}:{minor:02x}:{} ", found.ino());
        locks
            .lines()
            .any(|line| line.contains("FLOCK") && line.contains(&name))
    })
}

/// Whether any process is in the group or below it.
pub(crate) fn is_populated(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
        || subdirectories(group)
            .iter()
            .any(|child| is_populated(child))
}
