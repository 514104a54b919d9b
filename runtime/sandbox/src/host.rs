//! Reads the facts that the planner needs from the running kernel.
//!
//! On the path of every `lakekeep run`: some twenty small reads, nothing spawned, nothing
//! made, nothing changed. What a kernel does not have is a fact ("absent"); an error is
//! only what keeps us from knowing.

mod caller;
mod cgroup;
mod kernel;
mod read;
mod subordinate;
mod visibility;

use lakekeep_plan::host::{HostFacts, UserNamespaceFacts};
use lakekeep_sys::cgroup::CgroupError;
use rustix::io::Errno;

pub(crate) use read::{LINE, read};

/// Why the host's facts cannot be known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A file could not be opened or read.
    #[error("cannot read {path}{}", read::remedy(path, *errno))]
    Read {
        /// The file.
        path: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// A file was longer than any that is expected there.
    #[error("{path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: String,
        /// The most that is read of it.
        limit: usize,
    },
    /// A file holds something else than documented.
    #[error("{path} holds {found:?}, expected {expected}")]
    Malformed {
        /// The file.
        path: String,
        /// The text that was refused, shortened.
        found: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The control groups could not be read.
    #[error("cannot read how control groups are mounted")]
    Cgroup(#[from] CgroupError),
}

/// Reads everything, once.
///
/// # Errors
/// If /proc is not mounted, or a file there is unreadable or malformed.
pub fn probe() -> Result<HostFacts, ProbeError> {
    let mountinfo = read::require("/proc/self/mountinfo", read::LONG)?;
    let caller = caller::facts()?;
    let machine = kernel::machine()?;
    Ok(HostFacts {
        user_namespaces: user_namespaces()?,
        subordinate: subordinate::facts(&caller)?,
        cgroup: cgroup::facts(&mountinfo, &caller)?,
        landlock_abi: lakekeep_sys::landlock::abi(),
        seccomp_actions: words("/proc/sys/kernel/seccomp/actions_avail")?.unwrap_or_default(),
        online_cpus: kernel::online_cpus()?,
        pid_max: read::number("/proc/sys/kernel/pid_max")?,
        lsm: kernel::security_modules()?,
        filesystems: kernel::filesystems()?,
        proc_fully_visible: visibility::proc_fully_visible(&mountinfo),
        kernel: machine.kernel,
        arch: machine.arch,
        memory_total: machine.memory_total,
        swap_total: machine.swap_total,
        caller,
    })
}

/// Each switch is absent from kernels that do not have what it switches.
fn user_namespaces() -> Result<UserNamespaceFacts, ProbeError> {
    let max = read::optional_number("/proc/sys/user/max_user_namespaces")?;
    let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let clone = "/proc/sys/kernel/unprivileged_userns_clone";
    Ok(UserNamespaceFacts {
        available: max.is_some(),
        max: max.unwrap_or(0),
        apparmor_restricted: read::optional_number::<u64>(apparmor)?.is_some_and(|on| on != 0),
        unprivileged_clone_sysctl: read::optional_number::<u64>(clone)?.map(|on| on != 0),
    })
}

fn words(path: &str) -> Result<Option<Vec<String>>, ProbeError> {
    let text = read::read(path, LINE)?;
    Ok(text.map(|text| text.split_whitespace().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described() {
        let facts = probe().unwrap();
        assert!(facts.kernel.at_least(4, 0), "{:?}", facts.kernel);
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(facts.online_cpus > 0);
        assert!(facts.memory_total > 1 << 20);
        assert!(facts.pid_max > 100);
        assert!(!facts.caller.uid_map.is_empty());
    }
}
