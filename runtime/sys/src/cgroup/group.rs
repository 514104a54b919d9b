//! One group of ours: the same path in every hierarchy.

use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{Access, OFlags, access};
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::{self, failed};
use super::{CgroupError, Controller, Hierarchy, Operation, Version, tree};

/// The first component of every group of ours, and of no other's.
pub(super) const ROOT: &str = "lakekeep";
/// The kernel's limit for the name of one directory.
const NAME_MAX: usize = 255;

/// A group of ours: `lakekeep/<launcher>`, `lakekeep/<launcher>/<sandbox>`, and below.
///
/// Making one of these touches nothing: it is a name that has been checked.
#[derive(Clone, Debug)]
pub struct Group {
    path: PathBuf,
    pub(super) dirs: Vec<Dir>,
}

/// The group's directory in one hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Dir {
    pub version: Version,
    pub controllers: Vec<Controller>,
    /// Where `lakekeep/` is.
    pub base: PathBuf,
    pub path: PathBuf,
}

impl Group {
    /// Names a group: `lakekeep/` and at least one more component, each of letters,
    /// digits, `.`, `_` and `-`, not beginning with a dot.
    ///
    /// `lakekeep` itself is shared by all launchers of the host and is no group of
    /// anyone's; [`Hierarchy::prune`] removes it when it is empty.
    ///
    /// # Errors
    /// [`CgroupError::RefusedPath`] for any other path, and
    /// [`CgroupError::NotMounted`] where no hierarchy is mounted.
    pub fn new(hierarchy: &Hierarchy, path: &str) -> Result<Self, CgroupError> {
        check(path).map_err(|why| CgroupError::RefusedPath {
            path: path.chars().take(NAME_MAX).collect(),
            why,
        })?;
        if hierarchy.mounts().is_empty() {
            return Err(CgroupError::NotMounted);
        }
        Ok(Self {
            path: PathBuf::from(path),
            dirs: dirs(hierarchy, path),
        })
    }

    /// The path that was given: `lakekeep/…`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The group's directory in the hierarchy of a controller, made or not.
    #[must_use]
    pub fn dir(&self, controller: Controller) -> Option<&Path> {
        self.dir_of(controller).map(|dir| dir.path.as_path())
    }

    /// The group exists in at least one hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dirs.iter().any(Dir::exists)
    }

    /// The processes in this group itself, not below it, in any hierarchy; sorted.
    ///
    /// # Errors
    /// If a list that exists cannot be read.
    pub fn procs(&self) -> Result<Vec<Pid>, CgroupError> {
        let mut all = Vec::new();
        for dir in &self.dirs {
            all.extend(tree::procs(&dir.path)?);
        }
        all.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        all.dedup();
        Ok(all)
    }

    /// Whether a process is in this group itself, in every hierarchy where the group was
    /// made: in one that it is not in, no limit holds for it.
    ///
    /// # Errors
    /// If a list that exists cannot be read.
    pub fn holds(&self, pid: Pid) -> Result<bool, CgroupError> {
        for dir in self.dirs.iter().filter(|dir| dir.exists()) {
            if !tree::procs(&dir.path)?.contains(&pid) {
                return Ok(false);
            }
        }
        Ok(self.exists())
    }

    /// The version 2 directory, for `CLONE_INTO_CGROUP`; `None` if there is none.
    ///
    /// # Errors
    /// If it exists and cannot be opened.
    pub fn unified_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(dir) = self.dirs.iter().find(|d| d.version == Version::V2) else {
            return Ok(None);
        };
        match file::open(&dir.path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(Operation::Read, &dir.path, errno)),
        }
    }

    /// The files by which a process of one thread enters this group itself: `0`,
    /// written to each `tasks` of version 1, means the writer.
    ///
    /// Of a thread that moves itself the kernel need not know that its process
    /// neither forks nor ends meanwhile, and so waits for no RCU grace period;
    /// for every write to `cgroup.procs` it does, 5 to 13 ms on an idle host
    /// (`cgroup_procs_write_start`, Linux 5.4). Version 2 has no such file: its
    /// `cgroup.threads` does not move a thread out of its process's group.
    ///
    /// The kernel judges a write by who opened the file: the writer needs no right.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let old = |dir: &&Dir| dir.version == Version::V1 && dir.exists();
        let open = |dir: &Dir| {
            let path = dir.file("tasks");
            file::open(&path, OFlags::WRONLY)
                .map_err(|errno| failed(Operation::Attach, &path, errno))
        };
        self.dirs.iter().filter(old).map(open).collect()
    }

    /// Where writing a process's number, as the writer's pid namespace counts, makes that
    /// process a member: of every hierarchy in which the group was made, of one thread.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn doors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let open = |dir: &Dir| {
            let path = dir.file(match dir.version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            });
            file::open(&path, OFlags::WRONLY)
                .map_err(|errno| failed(Operation::Attach, &path, errno))
        };
        let made = self.dirs.iter().filter(|dir| dir.exists());
        made.map(open).collect()
    }

    pub(super) fn dir_of(&self, controller: Controller) -> Option<&Dir> {
        self.dirs
            .iter()
            .find(|dir| dir.controllers.contains(&controller))
    }

    /// The directory of a controller if the group was made there.
    pub(super) fn made(&self, controller: Controller) -> Option<&Dir> {
        self.dir_of(controller).filter(|dir| dir.exists())
    }

    pub(super) fn require(&self) -> Result<(), CgroupError> {
        if self.exists() {
            return Ok(());
        }
        Err(failed(Operation::Read, &self.path, Errno::NOENT))
    }
}

impl Dir {
    pub(super) fn exists(&self) -> bool {
        access(&self.path, Access::EXISTS).is_ok()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn dirs(hierarchy: &Hierarchy, path: &str) -> Vec<Dir> {
    let held = |point: &Path| {
        Controller::ALL
            .into_iter()
            .filter(|&c| hierarchy.mount_of(c).is_some_and(|m| m.point == point))
            .collect()
    };
    hierarchy
        .mounts()
        .iter()
        .map(|mount| {
            let base = hierarchy.base(mount);
            Dir {
                version: mount.version,
                controllers: held(&mount.point),
                path: base.join(path),
                base,
            }
        })
        .collect()
}

fn check(path: &str) -> Result<(), &'static str> {
    let mut parts = path.split('/');
    if parts.next() != Some(ROOT) {
        return Err("its first component is not \"lakekeep\"");
    }
    let mut count = 0;
    for part in parts {
        check_name(part)?;
        count += 1;
    }
    if count == 0 {
        return Err("it names what all launchers share: a component must follow \"lakekeep\"");
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX {
        return Err("a component is empty or longer than 255 bytes");
    }
    if name.starts_with('.') || !name.bytes().all(plain) {
        return Err("a component has other characters than letters, digits, '.', '_' and '-'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_lakekeep_can_be_named() {
        assert_eq!(check("lakekeep/l1"), Ok(()));
        assert_eq!(check("lakekeep/l1/s-1_a.b"), Ok(()));
        for path in [
            "",
            "/",
            "lakekeep",
            "lakekeep/",
            "/lakekeep/a",
            "lakekeep//a",
            "lakekeep/a/",
            "lakekeep/..",
            "lakekeep/a/../../system.slice",
            "lakekeep/.",
            "lakekeep/.hidden",
            "lakekeep/a b",
            "lakekeep/a\n",
            "lakekeep/a\0",
            "lakekeeper/a",
            "system.slice/lakekeep",
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
        assert!(check(&format!("lakekeep/{}", "x".repeat(256))).is_err());
    }

    #[test]
    fn a_group_has_one_directory_for_each_hierarchy() {
        let mounts = "\
32 31 0:29 / /sys/fs/cgroup/no-such-cpu rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/no-such-memory rw - cgroup cgroup rw,memory
";
        let own = "4:memory:/\n1:cpu,cpuacct:/\n";
        let hierarchy = Hierarchy::from_texts(mounts, own).unwrap();
        let group = Group::new(&hierarchy, "lakekeep/l/s").unwrap();
        let memory = Path::new("/sys/fs/cgroup/no-such-memory/lakekeep/l/s");
        assert_eq!(group.dir(Controller::Memory), Some(memory));
        assert_eq!(group.dir(Controller::Cpu), group.dir(Controller::Cpuacct));
        assert_eq!(group.dir(Controller::Pids), None);
        assert!(!group.exists());
    }

    #[test]
    fn without_a_hierarchy_there_is_no_group() {
        let hierarchy = Hierarchy::from_texts("", "").unwrap();
        let refused = Group::new(&hierarchy, "lakekeep/l");
        assert!(matches!(refused, Err(CgroupError::NotMounted)));
    }
}
