//! Which hierarchies are mounted, and where a group of ours would be in each.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::file::{self, LONG, SHORT};
use super::{CgroupError, Controller, Version};
use crate::mountinfo::{self, MountLine};

const MOUNTINFO: &str = "/proc/self/mountinfo";
const SELF_CGROUP: &str = "/proc/self/cgroup";
/// The conventional place: of two mounts of one hierarchy, the one below it is used.
const CONVENTIONAL: &str = "/sys/fs/cgroup";

/// How control groups are mounted on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Controllers on version 1, and a version 2 tree beside them.
    Hybrid,
    /// Not mounted.
    None,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its version.
    pub version: Version,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The controllers in it: all of a v1 hierarchy's, and on v2 those that the
    /// parent of our groups can pass on. Empty for a named v1 hierarchy.
    pub controllers: Vec<String>,
    /// The caller's own group below the mount; `None` if it lies outside of it.
    pub own: Option<PathBuf>,
    /// `major:minor` of the instance: the same hierarchy may be mounted twice.
    device: String,
}

/// All mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    mode: Mode,
    mounts: Vec<Mount>,
    parent: PathBuf,
}

impl Hierarchy {
    /// Reads what is mounted, and where the caller may make groups.
    ///
    /// # Errors
    /// If /proc is not mounted, or a file in it cannot be read.
    pub fn detect() -> Result<Self, CgroupError> {
        let mounts = file::require(Path::new(MOUNTINFO), LONG)?;
        let own = file::require(Path::new(SELF_CGROUP), SHORT)?;
        Self::from_texts(&mounts, &own)
    }

    /// The same from texts that were read before: mountinfo and /proc/self/cgroup.
    ///
    /// # Errors
    /// If the version 2 tree's list of controllers cannot be read.
    pub fn from_texts(mountinfo: &str, self_cgroup: &str) -> Result<Self, CgroupError> {
        let mut hierarchy = Self::parse(mountinfo, self_cgroup);
        hierarchy.parent = hierarchy.find_parent();
        hierarchy.read_v2_controllers()?;
        Ok(hierarchy)
    }

    /// How control groups are mounted.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Every mounted hierarchy.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The version 2 tree.
    #[must_use]
    pub fn unified(&self) -> Option<&Mount> {
        self.mounts.iter().find(|m| m.version == Version::V2)
    }

    /// The hierarchy that holds a controller.
    #[must_use]
    pub fn mount_of(&self, controller: Controller) -> Option<&Mount> {
        self.mounts
            .iter()
            .find(|mount| mount.controllers.iter().any(|c| c == controller.name()))
            .or_else(|| self.unified().filter(|_| controller.built_into_v2()))
    }

    /// Below each mount, the group in which `lakekeep/` is made: `/`, or on version 2
    /// the topmost group that was delegated to a caller without root.
    #[must_use]
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// The caller may make groups in this hierarchy, below [`Self::parent`].
    #[must_use]
    pub fn writable(&self, mount: &Mount) -> bool {
        let parent = self.base(mount);
        may_write(&parent)
            && (mount.version == Version::V1 || may_write(&parent.join("cgroup.subtree_control")))
    }

    /// The directory in which `lakekeep/` is, or would be.
    pub(super) fn base(&self, mount: &Mount) -> PathBuf {
        below(&mount.point, &self.parent)
    }

    fn parse(mountinfo: &str, self_cgroup: &str) -> Self {
        let mut mounts: Vec<Mount> = Vec::new();
        for line in mountinfo::lines(mountinfo) {
            let Some(mount) = cgroup_mount(&line, self_cgroup) else {
                continue;
            };
            match mounts.iter_mut().find(|known| known.device == mount.device) {
                None => mounts.push(mount),
                Some(known) if preferred(&mount, known) => *known = mount,
                Some(_) => {}
            }
        }
        Self {
            mode: mode(&mounts),
            mounts,
            parent: PathBuf::from("/"),
        }
    }

    /// The topmost group, from the caller's own upwards, that the caller may change.
    fn find_parent(&self) -> PathBuf {
        let root = PathBuf::from("/");
        let Some(mount) = self.unified() else {
            return root;
        };
        let Some(own) = mount.own.as_deref() else {
            return root;
        };
        if delegated(&mount.point) {
            return root;
        }
        own.ancestors()
            .take_while(|group| delegated(&below(&mount.point, group)))
            .last()
            .map_or(root, Path::to_owned)
    }

    fn read_v2_controllers(&mut self) -> Result<(), CgroupError> {
        let parent = self.parent.clone();
        for mount in &mut self.mounts {
            if mount.version == Version::V2 {
                let path = below(&mount.point, &parent).join("cgroup.controllers");
                let text = file::read(&path, SHORT)?.unwrap_or_default();
                mount.controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(())
    }
}

/// A group below a mount point, with the group written as an absolute path.
pub(super) fn below(mount: &Path, group: &Path) -> PathBuf {
    mount.join(group.strip_prefix("/").unwrap_or(group))
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// cgroups(7), delegation: the directory and both files must belong to the delegatee.
fn delegated(group: &Path) -> bool {
    may_write(group)
        && may_write(&group.join("cgroup.procs"))
        && may_write(&group.join("cgroup.subtree_control"))
}

fn mode(mounts: &[Mount]) -> Mode {
    let v2 = mounts.iter().any(|m| m.version == Version::V2);
    let v1 = mounts
        .iter()
        .any(|m| m.version == Version::V1 && !m.controllers.is_empty());
    match (v1, v2) {
        (true, true) => Mode::Hybrid,
        (true, false) => Mode::V1,
        (false, true) => Mode::V2,
        (false, false) => Mode::None,
    }
}

/// A later mount at the same place hides the earlier one.
fn preferred(new: &Mount, known: &Mount) -> bool {
    new.point.starts_with(CONVENTIONAL) && !known.point.starts_with(CONVENTIONAL)
}

fn cgroup_mount(line: &MountLine<'_>, self_cgroup: &str) -> Option<Mount> {
    let version = match line.fstype {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let controllers = match version {
        Version::V1 => v1_controllers(line.super_options, self_cgroup),
        Version::V2 => Vec::new(),
    };
    let own = own_line(self_cgroup, version, &controllers)
        .and_then(|group| below_root(group, &line.root));
    Some(Mount {
        version,
        point: PathBuf::from(line.point.as_ref()),
        controllers,
        own,
        device: line.device.to_owned(),
    })
}

/// The mount's options name its controllers, among other things; /proc/self/cgroup
/// says which of the words are controllers.
fn v1_controllers(super_options: &str, self_cgroup: &str) -> Vec<String> {
    let known: Vec<&str> = self_cgroup
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty() && !name.starts_with("name="))
        .collect();
    super_options
        .split(',')
        .filter(|option| known.contains(option))
        .map(str::to_owned)
        .collect()
}

/// cgroups(7): `hierarchy-id:controllers:path`, where version 2 has no controllers.
fn own_line<'a>(self_cgroup: &'a str, version: Version, controllers: &[String]) -> Option<&'a str> {
    self_cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let list = fields.next()?;
        let group = fields.next()?;
        let matches = match version {
            Version::V2 => list.is_empty(),
            Version::V1 => list
                .split(',')
                .any(|name| controllers.iter().any(|c| c == name)),
        };
        matches.then_some(group)
    })
}

/// A mount may show only a part of the hierarchy: then the group must lie in it.
fn below_root(group: &str, root: &str) -> Option<PathBuf> {
    let rest = Path::new(group).strip_prefix(root).ok()?;
    let plain = rest
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| Path::new("/").join(rest))
}

#[cfg(test)]
mod tests;
