//! What ran in a group, as the kernel accounted for it.

use std::path::{Path, PathBuf};

use super::file::{self, SHORT};
use super::group::Dir;
use super::limits::{limit, number};
use super::{CgroupError, Controller, Group, Limit, Version, parse, tree};

/// Accounts of a group and of all below it. `None` where this kernel does not count.
///
/// Read it before [`Group::kill_all`]: ending a group that keeps forking takes its
/// right to fork, and the refusals are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory at one time, in bytes (version 2: Linux 5.19).
    pub memory_peak: Option<u64>,
    /// Memory now, in bytes.
    pub memory_current: Option<u64>,
    /// The limit that it was held against.
    pub memory_limit: Option<Limit>,
    /// How often usage hit the limit and something had to be reclaimed.
    pub memory_limit_hits: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: u64,
    /// Times that an allocation could not be satisfied (version 2).
    pub oom_events: Option<u64>,
    /// The most processes and threads at one time (Linux 6.1).
    pub pids_peak: Option<u64>,
    /// Processes and threads now.
    pub pids_current: Option<u64>,
    /// Forks that were refused.
    pub pids_max_events: Option<u64>,
    /// CPU time used, in microseconds.
    pub cpu_usage_us: Option<u64>,
    /// Time that was spent waiting for the next period, in microseconds.
    pub cpu_throttled_us: Option<u64>,
    /// Periods in which that happened.
    pub nr_throttled: Option<u64>,
}

impl Group {
    /// Reads the accounts.
    ///
    /// # Errors
    /// If the group is in no hierarchy, or a file is unreadable or malformed.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        self.require()?;
        let mut usage = Usage::default();
        if let Some(dir) = self.dir_of(Controller::Memory) {
            match dir.version {
                Version::V1 => memory_v1(dir, &mut usage)?,
                Version::V2 => memory_v2(dir, &mut usage)?,
            }
        }
        if let Some(dir) = self.dir_of(Controller::Pids) {
            pids(dir, &mut usage)?;
        }
        if let Some(dir) = self.dir_of(Controller::Cpuacct) {
            usage.cpu_usage_us = cpu_time(dir)?;
        }
        if let Some(dir) = self.dir_of(Controller::Cpu) {
            throttling(dir, &mut usage)?;
        }
        Ok(usage)
    }
}

/// Version 1 counts kills in the group of the process that was killed, and nowhere
/// above it; so a task's own group below the sandbox has to be added.
fn memory_v1(dir: &Dir, usage: &mut Usage) -> Result<(), CgroupError> {
    usage.memory_peak = number(&dir.file("memory.max_usage_in_bytes"))?;
    usage.memory_current = number(&dir.file("memory.usage_in_bytes"))?;
    usage.memory_limit = limit(&dir.file("memory.limit_in_bytes"))?;
    usage.memory_limit_hits = number(&dir.file("memory.failcnt"))?;
    let groups = tree::subtree(&dir.path)?;
    usage.oom_kills = sum(&groups, "memory.oom_control", "oom_kill")?.unwrap_or(0);
    Ok(())
}

fn memory_v2(dir: &Dir, usage: &mut Usage) -> Result<(), CgroupError> {
    usage.memory_peak = number(&dir.file("memory.peak"))?;
    usage.memory_current = number(&dir.file("memory.current"))?;
    usage.memory_limit = limit(&dir.file("memory.max"))?;
    let path = dir.file("memory.events");
    if let Some(text) = file::read(&path, SHORT)? {
        usage.memory_limit_hits = parse::keyed(&path, &text, "max")?;
        usage.oom_events = parse::keyed(&path, &text, "oom")?;
        usage.oom_kills = parse::keyed(&path, &text, "oom_kill")?.unwrap_or(0);
    }
    Ok(())
}

/// `pids.events` counts the whole subtree only where `pids.events.local` is beside it
/// (version 2 since Linux 6.11); elsewhere a refusal counts where the fork was.
fn pids(dir: &Dir, usage: &mut Usage) -> Result<(), CgroupError> {
    usage.pids_current = number(&dir.file("pids.current"))?;
    usage.pids_peak = number(&dir.file("pids.peak"))?;
    let local = dir.file("pids.events.local");
    let hierarchical = rustix::fs::access(&local, rustix::fs::Access::EXISTS).is_ok();
    let groups = if hierarchical {
        vec![dir.path.clone()]
    } else {
        tree::subtree(&dir.path)?
    };
    usage.pids_max_events = sum(&groups, "pids.events", "max")?;
    Ok(())
}

fn cpu_time(dir: &Dir) -> Result<Option<u64>, CgroupError> {
    match dir.version {
        Version::V1 => Ok(number(&dir.file("cpuacct.usage"))?.map(nanoseconds)),
        Version::V2 => key(&dir.file("cpu.stat"), "usage_usec"),
    }
}

fn throttling(dir: &Dir, usage: &mut Usage) -> Result<(), CgroupError> {
    let path = dir.file("cpu.stat");
    let Some(text) = file::read(&path, SHORT)? else {
        return Ok(());
    };
    usage.nr_throttled = parse::keyed(&path, &text, "nr_throttled")?;
    usage.cpu_throttled_us = match dir.version {
        Version::V1 => parse::keyed(&path, &text, "throttled_time")?.map(nanoseconds),
        Version::V2 => parse::keyed(&path, &text, "throttled_usec")?,
    };
    Ok(())
}

/// One key of one file, summed over groups; `None` if no group has it.
fn sum(groups: &[PathBuf], file: &str, name: &str) -> Result<Option<u64>, CgroupError> {
    let mut total = None;
    for group in groups {
        if let Some(count) = key(&group.join(file), name)? {
            total = Some(total.unwrap_or(0) + count);
        }
    }
    Ok(total)
}

fn key(path: &Path, name: &str) -> Result<Option<u64>, CgroupError> {
    match file::read(path, SHORT)? {
        Some(text) => parse::keyed(path, &text, name),
        None => Ok(None),
    }
}

fn nanoseconds(count: u64) -> u64 {
    count / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(version: Version, files: &[(&str, &str)]) -> (tempdir::Guard, Dir) {
        let guard = tempdir::Guard::new();
        for (name, text) in files {
            std::fs::write(guard.path.join(name), text).unwrap();
        }
        let dir = Dir {
            version,
            controllers: Controller::ALL.to_vec(),
            base: guard.path.clone(),
            path: guard.path.clone(),
        };
        (guard, dir)
    }

    #[test]
    fn version_2_memory_is_read_from_its_events() {
        let (_guard, dir) = fixture(
            Version::V2,
            &[
                ("memory.peak", "1048576\n"),
                ("memory.current", "4096\n"),
                ("memory.max", "2097152\n"),
                ("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n"),
            ],
        );
        let mut usage = Usage::default();
        memory_v2(&dir, &mut usage).unwrap();
        assert_eq!(usage.memory_peak, Some(1 << 20));
        assert_eq!(usage.memory_limit, Some(Limit::Value(2 << 20)));
        assert_eq!(usage.memory_limit_hits, Some(7));
        assert_eq!((usage.oom_events, usage.oom_kills), (Some(2), 1));
    }

    #[test]
    fn version_1_kills_are_summed_over_the_groups_below() {
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        let (guard, dir) = fixture(Version::V1, &[("memory.oom_control", control)]);
        let task = guard.path.join("task");
        std::fs::create_dir(&task).unwrap();
        std::fs::write(task.join("memory.oom_control"), control).unwrap();
        let mut usage = Usage::default();
        memory_v1(&dir, &mut usage).unwrap();
        assert_eq!(usage.oom_kills, 2);
        assert_eq!(usage.memory_peak, None);
    }

    #[test]
    fn hierarchical_refusals_are_not_counted_twice() {
        let events = ("pids.events", "max 4\n");
        let local = ("pids.events.local", "max 0\n");
        let (guard, dir) = fixture(Version::V2, &[events, local]);
        std::fs::create_dir(guard.path.join("task")).unwrap();
        std::fs::write(guard.path.join("task/pids.events"), "max 4\n").unwrap();
        let mut usage = Usage::default();
        pids(&dir, &mut usage).unwrap();
        assert_eq!(usage.pids_max_events, Some(4));
        std::fs::remove_file(guard.path.join("pids.events.local")).unwrap();
        pids(&dir, &mut usage).unwrap();
        assert_eq!(usage.pids_max_events, Some(8));
    }

    #[test]
    fn version_1_times_are_nanoseconds() {
        let stat = "nr_periods 10\nnr_throttled 3\nthrottled_time 5000000\n";
        let files = [("cpu.stat", stat), ("cpuacct.usage", "123456789\n")];
        let (_guard, dir) = fixture(Version::V1, &files);
        let mut usage = Usage::default();
        throttling(&dir, &mut usage).unwrap();
        assert_eq!(usage.cpu_throttled_us, Some(5000));
        assert_eq!(usage.nr_throttled, Some(3));
        assert_eq!(cpu_time(&dir).unwrap(), Some(123_456));
    }

    mod tempdir {
        use std::path::PathBuf;
        use std::sync::atomic::{AtomicU32, Ordering};

        static NEXT: AtomicU32 = AtomicU32::new(0);

        pub struct Guard {
            pub path: PathBuf,
        }

        impl Guard {
            pub fn new() -> Self {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let name = format!("lakekeep-usage-{}-{number}", std::process::id());
                let path = std::env::temp_dir().join(name);
                std::fs::create_dir(&path).unwrap();
                Self { path }
            }
        }

        impl Drop for Guard {
            fn drop(&mut self) {
                std::fs::remove_dir_all(&self.path).ok();
            }
        }
    }
}
