//! What the doctor looks at and the planner does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lakekeep_plan::host::{CgroupVersion, HostFacts};
use rustix::fs::{Access, access};

use super::egress::Capture;
use super::hardening::{PEERS, SWITCHES};
use crate::host::{LINE, read};
use crate::launcher::beside;

const FIRST_SUBORDINATE: u32 = 100_000;
const TABLE: usize = 16 << 20;

/// Switches and tools around the sandbox. `None` is "absent, or hidden from us".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Hardening switches, by the name that sysctl(8) has for them.
    pub sysctls: BTreeMap<String, Option<i64>>,
    /// `/sys/kernel/mm/ksm/run`.
    pub ksm_run: Option<i64>,
    /// Swap can be limited for each group; `None` if there is no telling from here.
    pub swap_accounted: Option<bool>,
    /// The first id beyond every range in /etc/subuid and /etc/subgid.
    pub free_ids: u32,
    /// Other tools of the field, by name, and where they are.
    pub peers: BTreeMap<String, Option<PathBuf>>,
    /// Where file systems with project quotas are mounted; `None` if there is no telling.
    pub project_quotas: Option<Vec<String>>,
    /// A network that catches every destination.
    pub capture: Capture,
    /// The program of the relay.
    pub relay: Option<PathBuf>,
    /// This program, for a policy that has to name it.
    pub executable: Option<PathBuf>,
}

impl Surroundings {
    /// Reads them. What cannot be read is unknown, not an error: nothing depends on it.
    #[must_use]
    pub fn read(facts: &HostFacts) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let switch = |name: &str| number(&format!("/proc/sys/{}", name.replace('.', "/")));
        let found = |name: &str| std::env::split_paths(&path).find_map(|dir| program(&dir, name));
        Self {
            sysctls: by_name(SWITCHES.iter().map(|switch| switch.name), switch),
            ksm_run: number("/sys/kernel/mm/ksm/run"),
            swap_accounted: swap_accounted(facts),
            free_ids: free_ids(),
            peers: by_name(PEERS, found),
            project_quotas: std::fs::read_to_string("/proc/self/mountinfo")
                .ok()
                .map(|text| super::quotas::mounted(&text)),
            capture: Capture::try_out(),
            relay: beside("lakekeep-relay").ok(),
            executable: std::env::current_exe().ok(),
        }
    }
}

fn by_name<T>(
    names: impl IntoIterator<Item = &'static str>,
    value: impl Fn(&str) -> T,
) -> BTreeMap<String, T> {
    names
        .into_iter()
        .map(|name| (name.to_owned(), value(name)))
        .collect()
}

fn number(path: &str) -> Option<i64> {
    read(path, LINE).ok()??.trim().parse().ok()
}

/// Where useradd(8) begins, or after the last grant.
fn free_ids() -> u32 {
    ["/etc/subuid", "/etc/subgid"]
        .into_iter()
        .filter_map(|path| read(path, TABLE).ok().flatten())
        .map(|text| first_free(&text))
        .fold(FIRST_SUBORDINATE, u32::max)
}

fn first_free(table: &str) -> u32 {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line
                .split(':')
                .skip(1)
                .map(|field| field.trim().parse::<u32>());
            fields.next()?.ok()?.checked_add(fields.next()?.ok()?)
        })
        .fold(FIRST_SUBORDINATE, u32::max)
}

fn program(dir: &Path, name: &str) -> Option<PathBuf> {
    let path = dir.join(name);
    let usable = path.is_file() && access(&path, Access::EXEC_OK).is_ok();
    usable.then_some(path)
}

/// The root of a version 2 tree has no such file, so our own group is asked.
fn swap_accounted(facts: &HostFacts) -> Option<bool> {
    let memory = facts.cgroup.controllers.get("memory")?;
    let file = match memory.version {
        CgroupVersion::V1 => memory.mount.join("memory.memsw.limit_in_bytes"),
        CgroupVersion::V2 => {
            let own = memory.own_path.as_ref()?.strip_prefix("/").ok()?;
            let group = memory.mount.join(own);
            if !group.join("memory.max").exists() {
                return None;
            }
            group.join("memory.swap.max")
        }
    };
    Some(file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ids_lie_beyond_every_grant() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(
            first_free("ann:100000:65536\nbob:300000:10\nbad\n"),
            300_010
        );
        assert_eq!(first_free("ann:1000:1\nodd:4294967295:9\n"), 100_000);
    }
}
