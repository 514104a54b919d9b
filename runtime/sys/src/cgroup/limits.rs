//! Limits as the kernel holds them.

use std::path::Path;

use super::file::{self, SHORT};
use super::group::Dir;
use super::{CgroupError, Controller, Group, Version, parse};

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None is set here; one further up may hold all the same.
    Unlimited,
    /// This much.
    Value(u64),
}

/// The limits of one group.
///
/// Read back, `None` means that the kernel enforces none because the controller or
/// its file is not there. Written, `None` leaves what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes, without swap.
    pub memory: Option<Limit>,
    /// Swap beyond that, in bytes.
    pub swap: Option<Limit>,
    /// CPU time in each period, in microseconds.
    pub cpu_quota_us: Option<Limit>,
    /// The period, in microseconds.
    pub cpu_period_us: Option<u64>,
    /// Processes and threads.
    pub pids: Option<Limit>,
    /// CPUs, as a list such as `0-3,8`. Read back, those that are in effect.
    pub cpuset: Option<String>,
    /// Out of memory ends the whole group, not one process of it (version 2).
    pub oom_group: Option<bool>,
}

/// A limit that was asked for and that this host cannot set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforced {
    /// Which limit: `memory`, `swap`, `cpu`, `pids`, `cpuset`, `oom_group`.
    pub limit: &'static str,
    /// Why it cannot be set, and what would help.
    pub why: &'static str,
}

impl Group {
    /// Reads every limit of this group back from the kernel.
    ///
    /// # Errors
    /// If the group is in no hierarchy, or a file is unreadable or malformed.
    pub fn read_limits(&self) -> Result<Limits, CgroupError> {
        self.require()?;
        let mut limits = Limits::default();
        if let Some(dir) = self.dir_of(Controller::Memory) {
            read_memory(dir, &mut limits)?;
        }
        if let Some(dir) = self.dir_of(Controller::Cpu) {
            read_cpu(dir, &mut limits)?;
        }
        if let Some(dir) = self.dir_of(Controller::Pids) {
            limits.pids = limit(&dir.file("pids.max"))?;
        }
        if let Some(dir) = self.dir_of(Controller::Cpuset) {
            limits.cpuset = effective_cpus(dir)?;
        }
        Ok(limits)
    }
}

fn read_memory(dir: &Dir, limits: &mut Limits) -> Result<(), CgroupError> {
    match dir.version {
        Version::V2 => {
            limits.memory = limit(&dir.file("memory.max"))?;
            limits.swap = limit(&dir.file("memory.swap.max"))?;
            limits.oom_group = number(&dir.file("memory.oom.group"))?.map(|on| on == 1);
        }
        Version::V1 => {
            limits.memory = limit(&dir.file("memory.limit_in_bytes"))?;
            let both = limit(&dir.file("memory.memsw.limit_in_bytes"))?;
            limits.swap = swap_beyond(limits.memory, both);
        }
    }
    Ok(())
}

fn read_cpu(dir: &Dir, limits: &mut Limits) -> Result<(), CgroupError> {
    match dir.version {
        Version::V2 => {
            let path = dir.file("cpu.max");
            if let Some(text) = file::read(&path, SHORT)? {
                let (quota, period) = parse::bandwidth(&path, &text)?;
                limits.cpu_quota_us = Some(quota);
                limits.cpu_period_us = Some(period);
            }
        }
        Version::V1 => {
            limits.cpu_quota_us = limit(&dir.file("cpu.cfs_quota_us"))?;
            limits.cpu_period_us = number(&dir.file("cpu.cfs_period_us"))?;
        }
    }
    Ok(())
}

fn effective_cpus(dir: &Dir) -> Result<Option<String>, CgroupError> {
    let name = match dir.version {
        Version::V2 => "cpuset.cpus.effective",
        Version::V1 => "cpuset.effective_cpus",
    };
    let text = file::read(&dir.file(name), SHORT)?;
    Ok(text.map(|list| list.trim().to_owned()))
}

/// Version 1 limits memory and swap together.
fn swap_beyond(memory: Option<Limit>, both: Option<Limit>) -> Option<Limit> {
    Some(match (memory?, both?) {
        (Limit::Value(memory), Limit::Value(both)) => Limit::Value(both.saturating_sub(memory)),
        _ => Limit::Unlimited,
    })
}

/// A limit, or `None` where its file does not exist.
pub(super) fn limit(path: &Path) -> Result<Option<Limit>, CgroupError> {
    file::read(path, SHORT)?
        .map(|text| parse::limit(path, &text))
        .transpose()
}

/// A number, or `None` where its file does not exist.
pub(super) fn number(path: &Path) -> Result<Option<u64>, CgroupError> {
    file::read(path, SHORT)?
        .map(|text| parse::number(path, &text))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_on_version_1_is_what_lies_beyond_memory() {
        let value = |bytes| Some(Limit::Value(bytes));
        assert_eq!(swap_beyond(value(100), value(100)), value(0));
        assert_eq!(swap_beyond(value(100), value(150)), value(50));
        assert_eq!(
            swap_beyond(value(100), Some(Limit::Unlimited)),
            Some(Limit::Unlimited)
        );
        assert_eq!(swap_beyond(value(100), None), None);
    }
}
