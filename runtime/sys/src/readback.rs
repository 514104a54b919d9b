//! What the kernel itself says of a process: the source of every receipt.

use std::path::Path;

use crate::error::{Context, Error};

/// The security-relevant lines of `/proc/<pid>/status` (proc_pid_status(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file-system user id.
    pub users: [u32; 4],
    /// Real, effective, saved and file-system group id.
    pub groups: [u32; 4],
    /// Supplementary groups.
    pub supplementary: Vec<u32>,
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub capabilities: Capabilities,
    /// Whether no exec can gain privileges.
    pub no_new_privileges: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// How many filters are stacked (Linux 5.9).
    pub seccomp_filters: u32,
    /// How many processors it may run on.
    pub processors: u32,
}

/// Capability sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `CapInh`
    pub inheritable: u64,
    /// `CapPrm`
    pub permitted: u64,
    /// `CapEff`
    pub effective: u64,
    /// `CapBnd`
    pub bounding: u64,
    /// `CapAmb`
    pub ambient: u64,
}

impl Capabilities {
    /// Whether a process with these sets has, and can ever get, nothing.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl Status {
    /// Reads the status of process `pid` below `proc` (usually `/proc`).
    ///
    /// # Errors
    /// Of reading; `EBADMSG` when a line that must be there is missing or
    /// malformed, for a layer that cannot be read back is not enforced.
    pub fn read(proc: &Path, pid: &str) -> Result<Self, Error> {
        let path = proc.join(pid).join("status");
        let object = path.display().to_string();
        let text = std::fs::read_to_string(&path).context("read", &object)?;
        Self::parse(&text).ok_or_else(|| Error::new("parse", object, rustix::io::Errno::BADMSG))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.get(name.len()..)?.strip_prefix(':').map(str::trim)
        };
        let capability = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            users: four(field("Uid")?)?,
            groups: four(field("Gid")?)?,
            supplementary: numbers(field("Groups")?)?,
            capabilities: Capabilities {
                inheritable: capability("CapInh")?,
                permitted: capability("CapPrm")?,
                effective: capability("CapEff")?,
                bounding: capability("CapBnd")?,
                ambient: capability("CapAmb")?,
            },
            no_new_privileges: match field("NoNewPrivs")? {
                "0" => false,
                "1" => true,
                _ => return None,
            },
            seccomp_mode: field("Seccomp")?.parse().ok()?,
            // Absent before Linux 5.9: one filter is then all that is known.
            seccomp_filters: field("Seccomp_filters").map_or(Some(1), |n| n.parse().ok())?,
            processors: bits(field("Cpus_allowed")?)?,
        })
    }
}

/// How many bits of a mask such as `ffff,00000003` are set.
fn bits(mask: &str) -> Option<u32> {
    mask.split(',')
        .map(|word| u32::from_str_radix(word, 16).map(u32::count_ones).ok())
        .sum()
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

fn four(text: &str) -> Option<[u32; 4]> {
    numbers(text)?.try_into().ok()
}

/// The namespaces of a process, by inode number (namespaces(7)): equal numbers,
/// same namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceIds {
    /// `ns/user`
    pub user: u64,
    /// `ns/mnt`
    pub mount: u64,
    /// `ns/pid`
    pub pid: u64,
    /// `ns/net`
    pub network: u64,
    /// `ns/ipc`
    pub ipc: u64,
    /// `ns/uts`
    pub uts: u64,
    /// `ns/cgroup`
    pub cgroup: u64,
}

impl NamespaceIds {
    /// Reads them for process `pid` below `proc`. Needs the right to trace it.
    pub fn read(proc: &Path, pid: &str) -> Result<Self, Error> {
        let inode = |name: &str| {
            let path = proc.join(pid).join("ns").join(name);
            rustix::fs::stat(&path)
                .map(|stat| stat.st_ino)
                .context("stat", path.display().to_string())
        };
        Ok(Self {
            user: inode("user")?,
            mount: inode("mnt")?,
            pid: inode("pid")?,
            network: inode("net")?,
            ipc: inode("ipc")?,
            uts: inode("uts")?,
            cgroup: inode("cgroup")?,
        })
    }
}

/// What a process can write to and what it cannot see, of its mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Whether the root of its file system is read-only.
    pub root_read_only: bool,
    /// Mount points that can be written to; those of /proc and /dev apart.
    pub writable: Vec<String>,
    /// Mount points where set-user-ID programs or devices would count, but for
    /// the single devices in /dev.
    pub lax: Vec<String>,
    /// How many paths of /proc are covered.
    pub covered: u32,
}

impl Mounts {
    /// Reads `/proc/<pid>/mountinfo` below `proc`.
    ///
    /// # Errors
    /// Of reading.
    pub fn read(proc: &Path, pid: &str) -> Result<Self, Error> {
        let path = proc.join(pid).join("mountinfo");
        let object = path.display().to_string();
        // A mount point may have any bytes for a name.
        let bytes = std::fs::read(&path).context("read", object)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in crate::mountinfo::lines(text) {
            let point = line.point.as_ref();
            let read_only = line.has_option("ro");
            // What is mounted on the same place later covers what was there.
            mounts.writable.retain(|covered| covered != point);
            mounts.lax.retain(|covered| covered != point);
            if point == "/" {
                mounts.root_read_only = read_only;
            }
            if point.starts_with("/proc/") {
                mounts.covered += 1;
                continue;
            }
            let device = line.fstype == "devtmpfs" || point == "/dev" || point == "/dev/pts";
            if !read_only && !device && point != "/proc" {
                mounts.writable.push(point.to_owned());
            }
            let strict = line.has_option("nosuid") && line.has_option("nodev");
            if !strict && !device {
                mounts.lax.push(point.to_owned());
            }
        }
        mounts
    }
}

/// Soft limits of `/proc/<pid>/limits` by the kernel's names of them, such as
/// `Max open files`; `None` is unlimited.
///
/// # Errors
/// Of reading.
pub fn limits(proc: &Path, pid: &str) -> Result<Vec<(String, Option<u64>)>, Error> {
    let path = proc.join(pid).join("limits");
    let object = path.display().to_string();
    let text = std::fs::read_to_string(&path).context("read", object)?;
    Ok(text.lines().skip(1).filter_map(limit).collect())
}

/// The name is padded to a fixed width, so two spaces end it.
fn limit(line: &str) -> Option<(String, Option<u64>)> {
    let (name, values) = line.split_once("  ")?;
    let soft = values.split_whitespace().next()?;
    Some((name.to_owned(), soft.parse().ok()))
}

/// A small number of `/proc/<pid>/<file>`, such as `oom_score_adj`.
///
/// # Errors
/// Of reading; `EBADMSG` when it is no number.
pub fn number(proc: &Path, pid: &str, file: &str) -> Result<i64, Error> {
    let path = proc.join(pid).join(file);
    let object = path.display().to_string();
    let text = std::fs::read_to_string(&path).context("read", &object)?;
    text.trim()
        .parse()
        .map_err(|_| Error::new("parse", object, rustix::io::Errno::BADMSG))
}

/// The descriptor numbers that process `pid` has open, sorted.
///
/// `fd` is listed by its owner alone, `fdinfo` by whoever may trace the process
/// (proc_pid_fdinfo(5), Linux 5.14): the init may, of a process whose memory came from
/// another user namespace.
pub fn descriptors(proc: &Path, pid: &str) -> Result<Vec<u32>, Error> {
    match numbers_in(&proc.join(pid).join("fd")) {
        Err(error) if error.errno == rustix::io::Errno::ACCESS => {
            numbers_in(&proc.join(pid).join("fdinfo"))
        }
        other => other,
    }
}

fn numbers_in(path: &Path) -> Result<Vec<u32>, Error> {
    let object = path.display().to_string();
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(path).context("opendir", &object)? {
        let name = entry.context("readdir", &object)?.file_name();
        let number = name.to_str().and_then(|text| text.parse().ok());
        numbers.extend::<Option<u32>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n\
        Groups:\t \nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\nCpus_allowed:\tff,00000003\n";

    #[test]
    fn a_sealed_process_reads_as_sealed() {
        let status = Status::parse(TEXT).unwrap();
        assert_eq!(status.users, [1000; 4]);
        assert!(status.capabilities.none());
        assert!(status.no_new_privileges);
        assert_eq!((status.seccomp_mode, status.seccomp_filters), (2, 1));
        assert_eq!(status.processors, 10);
    }

    #[test]
    fn a_capability_anywhere_is_seen() {
        for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let text = TEXT.replace(
                &format!("{name}:\t0000000000000000"),
                &format!("{name}:\t0000000000200000"),
            );
            assert!(!Status::parse(&text).unwrap().capabilities.none(), "{name}");
        }
    }

    #[test]
    fn a_missing_line_is_not_taken_for_a_good_one() {
        for name in ["Uid", "Groups", "CapBnd", "NoNewPrivs", "Seccomp:"] {
            let text: String = TEXT
                .lines()
                .filter(|line| !line.starts_with(name))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(Status::parse(&text), None, "{name}");
        }
    }

    #[test]
    fn mounts_are_told_apart() {
        let text = "1 0 0:1 / / ro,nosuid,nodev - tmpfs none rw\n\
            2 1 0:2 / /proc rw,nosuid,nodev,noexec - proc none rw\n\
            3 2 0:3 /null /proc/kcore rw - devtmpfs none rw\n\
            4 1 0:3 /null /dev/null rw - devtmpfs none rw\n\
            5 1 0:4 / /tmp rw,nosuid,nodev - tmpfs none rw\n\
            6 1 0:5 / /odd ro,nodev - ext4 none rw\n\
            7 1 0:6 / /hidden rw,nosuid,nodev - tmpfs none rw\n\
            8 7 0:1 / /hidden ro,nosuid,nodev - tmpfs none rw\n";
        let mounts = Mounts::parse(text);
        assert!(mounts.root_read_only);
        assert_eq!(mounts.writable, ["/tmp"]);
        assert_eq!(mounts.lax, ["/odd"]);
        assert_eq!(mounts.covered, 1);
    }

    #[test]
    fn limits_are_read_by_name() {
        let all = limits(Path::new("/proc"), "self").unwrap();
        assert!(all.iter().any(|(name, _)| name == "Max open files"));
    }

    #[test]
    fn this_process_can_be_read() {
        let proc = Path::new("/proc");
        assert!(NamespaceIds::read(proc, "self").unwrap().mount > 0);
        assert!(descriptors(proc, "self").unwrap().contains(&2));
        Status::read(proc, "self").unwrap();
    }
}
