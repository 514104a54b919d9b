//! The machine and its kernel.

use lakekeep_plan::host::{Filesystems, KernelRelease};

use super::ProbeError;
use super::read::{self, LINE};

pub(super) struct Machine {
    pub kernel: KernelRelease,
    pub arch: String,
    pub memory_total: u64,
    pub swap_total: u64,
}

pub(super) fn machine() -> Result<Machine, ProbeError> {
    let uname = rustix::system::uname();
    let text = uname.release().to_string_lossy().into_owned();
    let kernel = release(&text)
        .ok_or_else(|| read::malformed("uname -r", &text, "a version such as 6.1.0"))?;
    let memory = rustix::system::sysinfo();
    let unit = u64::from(memory.mem_unit);
    Ok(Machine {
        kernel,
        arch: uname.machine().to_string_lossy().into_owned(),
        memory_total: wide(memory.totalram) * unit,
        swap_total: wide(memory.totalswap) * unit,
    })
}

/// Not from the affinity of the caller: a sandbox's limit is held against the host's.
pub(super) fn online_cpus() -> Result<u32, ProbeError> {
    let path = "/sys/devices/system/cpu/online";
    match read::read(path, LINE)? {
        Some(text) => {
            count(text.trim()).ok_or_else(|| read::malformed(path, &text, "a list of CPUs"))
        }
        // No /sys: the standard library asks the scheduler.
        None => Ok(std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))),
    }
}

pub(super) fn security_modules() -> Result<Option<Vec<String>>, ProbeError> {
    let text = match read::read("/sys/kernel/security/lsm", LINE) {
        // Containers often hide it: as good as not mounted.
        Err(ProbeError::Read { .. }) => None,
        other => other?,
    };
    Ok(text.map(|list| list.trim().split(',').map(str::to_owned).collect()))
}

pub(super) fn filesystems() -> Result<Filesystems, ProbeError> {
    let text = read::read("/proc/filesystems", LINE)?.unwrap_or_default();
    let known = |name: &str| {
        text.lines()
            .filter_map(|line| line.split('\t').next_back())
            .any(|kind| kind == name)
    };
    Ok(Filesystems {
        overlay: known("overlay"),
        erofs: known("erofs"),
    })
}

/// The two first numbers of `6.1.0-28-amd64`, `5.15-rc3`, `6.12+`.
fn release(text: &str) -> Option<KernelRelease> {
    let (major, rest) = text.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some(KernelRelease {
        major: major.parse().ok()?,
        minor: rest[..digits].parse().ok()?,
        text: text.to_owned(),
    })
}

/// How many CPUs `0-3,8` names.
fn count(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |total, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u32 = first.parse().ok()?;
        let last: u32 = last.parse().ok()?;
        total.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// `sysinfo` counts in the machine's word, which is this one where we run.
#[allow(clippy::useless_conversion)]
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_many_makes_are_understood() {
        for (text, expected) in [
            ("6.1.0-28-amd64", (6, 1)),
            ("5.15-rc3", (5, 15)),
            ("6.12+", (6, 12)),
            ("4.18.0-553.el8.x86_64", (4, 18)),
        ] {
            let kernel = release(text).unwrap();
            assert_eq!((kernel.major, kernel.minor), expected, "{text}");
        }
        assert!(release("linux").is_none());
        assert!(release("6.x").is_none());
    }

    #[test]
    fn cpus_are_counted_over_ranges() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count(""), None);
        assert_eq!(count("3-0"), None);
        assert_eq!(count("0-4294967295"), None);
    }
}
