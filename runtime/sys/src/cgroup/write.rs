//! Setting limits, for what libcontainer does not set.

use std::path::Path;

use rustix::io::Errno;

use super::file::{self, failed};
use super::group::Dir;
use super::limits::limit;
use super::{CgroupError, Controller, Group, Limit, Limits, Operation, Unenforced, Version};

const NO_CONTROLLER: &str = "its controller is in no hierarchy that the group was made in; \
     enable it at boot, or have it delegated";
const NO_SWAP_ACCOUNTING: &str =
    "the kernel does not account for swap; boot with swapaccount=1, or switch swap off";
const NO_OOM_GROUP: &str = "version 1 ends one process at a time; boot with cgroup version 2";
const NO_BANDWIDTH: &str = "the kernel was built without CONFIG_CFS_BANDWIDTH";

/// Whether the file of a limit was there to be written.
type Present = bool;

impl Group {
    /// Sets the limits that are given, and returns those that cannot be set here.
    ///
    /// The order: memory before swap (version 1 limits the sum, which may not be the
    /// lesser), cpuset before anything runs.
    ///
    /// # Errors
    /// If the group does not exist, or the kernel refuses a value.
    pub fn write_limits(&self, limits: &Limits) -> Result<Vec<Unenforced>, CgroupError> {
        self.require()?;
        let mut missing = Vec::new();
        self.write_memory(limits, &mut missing)?;
        self.write_oom_group(limits, &mut missing)?;
        self.write_cpu(limits, &mut missing)?;
        self.write_pids(limits, &mut missing)?;
        self.write_cpuset(limits, &mut missing)?;
        Ok(missing)
    }

    fn write_memory(&self, limits: &Limits, missing: &mut Vec<Unenforced>) -> Written {
        if limits.memory.is_none() && limits.swap.is_none() {
            return Ok(());
        }
        let Some(dir) = self.made(Controller::Memory) else {
            unenforced(missing, "memory", limits.memory.is_some(), NO_CONTROLLER);
            unenforced(missing, "swap", limits.swap.is_some(), NO_CONTROLLER);
            return Ok(());
        };
        let accounted = match dir.version {
            Version::V1 => memory_v1(dir, limits)?,
            Version::V2 => memory_v2(dir, limits)?,
        };
        unenforced(missing, "swap", !accounted, NO_SWAP_ACCOUNTING);
        Ok(())
    }

    fn write_oom_group(&self, limits: &Limits, missing: &mut Vec<Unenforced>) -> Written {
        let Some(on) = limits.oom_group else {
            return Ok(());
        };
        let present = match self.made(Controller::Memory) {
            Some(dir) => put(&dir.file("memory.oom.group"), if on { "1" } else { "0" })?,
            None => false,
        };
        unenforced(missing, "oom_group", on && !present, NO_OOM_GROUP);
        Ok(())
    }

    fn write_cpu(&self, limits: &Limits, missing: &mut Vec<Unenforced>) -> Written {
        if limits.cpu_quota_us.is_none() && limits.cpu_period_us.is_none() {
            return Ok(());
        }
        let Some(dir) = self.made(Controller::Cpu) else {
            unenforced(missing, "cpu", true, NO_CONTROLLER);
            return Ok(());
        };
        let present = match dir.version {
            Version::V1 => cpu_v1(dir, limits)?,
            Version::V2 => cpu_v2(dir, limits)?,
        };
        unenforced(missing, "cpu", !present, NO_BANDWIDTH);
        Ok(())
    }

    fn write_pids(&self, limits: &Limits, missing: &mut Vec<Unenforced>) -> Written {
        let Some(pids) = limits.pids else {
            return Ok(());
        };
        let present = match self.made(Controller::Pids) {
            Some(dir) => put(&dir.file("pids.max"), &spelled(pids, "max"))?,
            None => false,
        };
        unenforced(missing, "pids", !present, NO_CONTROLLER);
        Ok(())
    }

    fn write_cpuset(&self, limits: &Limits, missing: &mut Vec<Unenforced>) -> Written {
        let Some(cpus) = &limits.cpuset else {
            return Ok(());
        };
        let present = match self.made(Controller::Cpuset) {
            Some(dir) => put(&dir.file("cpuset.cpus"), cpus)?,
            None => false,
        };
        unenforced(missing, "cpuset", !present, NO_CONTROLLER);
        Ok(())
    }
}

type Written = Result<(), CgroupError>;

fn unenforced(list: &mut Vec<Unenforced>, limit: &'static str, wanted: bool, why: &'static str) {
    if wanted {
        list.push(Unenforced { limit, why });
    }
}

/// Memory and swap are limited together, and the kernel refuses at every moment a sum
/// that is less than the memory alone. So: memory first, which is right when it is
/// lowered; if that is refused the sum is what stands in the way, and goes first.
fn memory_v1(dir: &Dir, limits: &Limits) -> Result<Present, CgroupError> {
    let memory_file = dir.file("memory.limit_in_bytes");
    let both_file = dir.file("memory.memsw.limit_in_bytes");
    let Some(swap) = limits.swap else {
        return write_one(&memory_file, limits.memory, "-1").map(|()| true);
    };
    let memory = match limits.memory {
        Some(memory) => memory,
        None => limit(&memory_file)?.unwrap_or(Limit::Unlimited),
    };
    let both = spelled(sum(memory, swap), "-1");
    match write_one(&memory_file, limits.memory, "-1") {
        Err(error) if error.errno() == Some(Errno::INVAL) => {
            put(&both_file, &both)?;
            write_one(&memory_file, limits.memory, "-1")?;
        }
        other => other?,
    }
    let accounted = put(&both_file, &both)?;
    if swap == Limit::Value(0) {
        // Without accounting this is all that keeps the group's memory from the disk.
        put(&dir.file("memory.swappiness"), "0")?;
    }
    Ok(accounted)
}

fn memory_v2(dir: &Dir, limits: &Limits) -> Result<Present, CgroupError> {
    write_one(&dir.file("memory.max"), limits.memory, "max")?;
    match limits.swap {
        Some(swap) => put(&dir.file("memory.swap.max"), &spelled(swap, "max")),
        None => Ok(true),
    }
}

/// The period first: the quota is judged by the period that is set.
fn cpu_v1(dir: &Dir, limits: &Limits) -> Result<Present, CgroupError> {
    let mut present = true;
    if let Some(period) = limits.cpu_period_us {
        present &= put(&dir.file("cpu.cfs_period_us"), &period.to_string())?;
    }
    if let Some(quota) = limits.cpu_quota_us {
        present &= put(&dir.file("cpu.cfs_quota_us"), &spelled(quota, "-1"))?;
    }
    Ok(present)
}

fn cpu_v2(dir: &Dir, limits: &Limits) -> Result<Present, CgroupError> {
    let path = dir.file("cpu.max");
    match (limits.cpu_quota_us, limits.cpu_period_us) {
        (Some(quota), Some(period)) => put(&path, &format!("{} {period}", spelled(quota, "max"))),
        (Some(quota), None) => put(&path, &spelled(quota, "max")),
        (None, Some(period)) => {
            let Some(text) = file::read(&path, file::SHORT)? else {
                return Ok(false);
            };
            let (quota, _) = super::parse::bandwidth(&path, &text)?;
            put(&path, &format!("{} {period}", spelled(quota, "max")))
        }
        (None, None) => Ok(true),
    }
}

fn sum(memory: Limit, swap: Limit) -> Limit {
    match (memory, swap) {
        (Limit::Value(memory), Limit::Value(swap)) => Limit::Value(memory.saturating_add(swap)),
        _ => Limit::Unlimited,
    }
}

fn spelled(limit: Limit, unlimited: &str) -> String {
    match limit {
        Limit::Unlimited => unlimited.to_owned(),
        Limit::Value(value) => value.to_string(),
    }
}

fn write_one(path: &Path, limit: Option<Limit>, unlimited: &str) -> Written {
    match limit {
        Some(limit) => file::write(path, &spelled(limit, unlimited)),
        None => Ok(()),
    }
}

/// Writes if the file exists. The directory must: a group that vanished is an error.
fn put(path: &Path, value: &str) -> Result<Present, CgroupError> {
    match file::write(path, value) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::NOENT) => match path.parent() {
            Some(dir) if rustix::fs::access(dir, rustix::fs::Access::EXISTS).is_ok() => Ok(false),
            _ => Err(failed(Operation::Write, path, Errno::NOENT)),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_spelled_as_the_version_wants_it() {
        assert_eq!(spelled(Limit::Unlimited, "max"), "max");
        assert_eq!(spelled(Limit::Unlimited, "-1"), "-1");
        assert_eq!(spelled(Limit::Value(5), "max"), "5");
    }

    #[test]
    fn memory_and_swap_together_are_unlimited_if_either_is() {
        let value = Limit::Value;
        assert_eq!(sum(value(3), value(4)), value(7));
        assert_eq!(sum(value(3), Limit::Unlimited), Limit::Unlimited);
        assert_eq!(sum(value(u64::MAX), value(1)), value(u64::MAX));
    }
}
