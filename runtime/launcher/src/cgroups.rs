//! The cgroups of this launcher's sandboxes, around libcontainer's manager.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lakekeep_protocol::facts::{GroupUsageFacts, LimitFacts};
use lakekeep_protocol::launch::GroupLimits;
use lakekeep_sys::cgroup::{
    CgroupError, Controller, Group, Hierarchy, Limit, Limits, Mode, Version,
};
use lakekeep_sys::error::Context;
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::{Error, lock, userns};
use rustix::fs::{CWD, Mode as FileMode};
use rustix::process::Pid;

use crate::error::StartError;

/// The hierarchies in which limits are set or usage is read; no group is made in
/// others, at 30–75 µs each and as much to remove.
const USED: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

/// Besides, for sandboxes that last: what they use is watched, and they are frozen.
const USED_LASTING: [Controller; 5] = [
    Controller::Memory,
    Controller::Cpu,
    Controller::Pids,
    Controller::Cpuacct,
    Controller::Freezer,
];

/// Where every distribution mounts the hierarchies.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Where the used version 1 hierarchies are put, in this launcher's own mount table.
const ASIDE: &str = "/sys/fs";

/// Before the name of a hierarchy's usual mount point.
const USED_PREFIX: &str = "lakekeep-";

/// How long the last processes of a group may take to die.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where sandboxes' groups are made.
#[derive(Debug)]
pub struct Groups {
    hierarchy: Hierarchy,
    used: &'static [Controller],
    /// libcontainer is shown a version 2 tree, and joins nothing in it.
    aside: bool,
}

/// This launcher's own group, locked: what tells the living from the dead.
#[derive(Debug)]
pub struct Claim {
    /// Held for its lock; none where this caller cannot make groups.
    _lock: Option<File>,
}

/// The group of one sandbox; its end is the end of all its processes.
#[derive(Debug)]
pub struct SandboxGroup(Option<Group>);

impl Groups {
    /// Reads the hierarchies, and leaves mounted, in this launcher's own mount
    /// table, only those that are used.
    pub fn prepare(privileged: bool, lasting: bool) -> Result<Self, StartError> {
        let hierarchy = Hierarchy::detect()?;
        let used: &[Controller] = if lasting { &USED_LASTING } else { &USED };
        if privileged {
            // Also of launchers that last, whatever this one is: it sweeps what they left.
            let shown = set_aside(&hierarchy, &USED_LASTING)?;
            return Ok(Self {
                hierarchy: match shown {
                    Shown::AsFound => hierarchy,
                    Shown::Nothing | Shown::Unified => Hierarchy::detect()?,
                },
                used,
                aside: shown == Shown::Unified,
            });
        } else if hierarchy.mode() != Mode::V2 {
            // libcontainer treats a version 2 tree that it may not write as
            // something to do without, a version 1 tree as an error. Where there
            // is nothing to write, show it a version 2 tree.
            show_unified()?;
        }
        Ok(Self {
            hierarchy,
            used,
            aside: false,
        })
    }

    /// The cgroup of sandbox `id` of launcher `launcher`, as OCI wants it: an
    /// absolute path, for an empty one means the caller's own group.
    ///
    /// Where it is shown a tree to join nothing in, it is the launcher's own group, into which
    /// nothing can be moved ([`Groups::bar`]). Where this caller can make none, it is the
    /// launcher's own name at the top: a path that nobody makes or removes while
    /// libcontainer finds out that it may not.
    pub fn path(&self, launcher: &str, id: &str) -> PathBuf {
        let path = Path::new("/").join(self.hierarchy.parent());
        match self.makes_groups() {
            true if self.aside => path.join("lakekeep").join(launcher),
            true => path.join("lakekeep").join(launcher).join(id),
            false => path.join(launcher).join(id),
        }
    }

    /// Where libcontainer is shown a version 2 tree: makes the launcher's group in it, and
    /// covers the file by which libcontainer would move each init into it, which waits for
    /// an RCU grace period and limits nothing. `false` when another launcher, the last of
    /// its time, removed the folder of all launchers meanwhile.
    fn bar(&self, launcher: &str) -> Result<bool, StartError> {
        if !self.aside {
            return Ok(true);
        }
        let group = Path::new(CGROUP_ROOT).join("lakekeep").join(launcher);
        let object = group.display().to_string();
        match DirBuilder::new().recursive(true).mode(0o711).create(&group) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            made => made.map_err(|error| Error::io("mkdir", &object, &error))?,
        }
        let procs = group.join("cgroup.procs");
        let object = procs.display().to_string();
        let place = mount::host_place(&procs).context("open", &object)?;
        let cover =
            mount::clone_tree(CWD, Path::new("/dev/null")).context("open_tree", "/dev/null")?;
        mount::attach(&cover, &place).context("move_mount", object)?;
        Ok(true)
    }

    /// Makes the group of a sandbox with its limits; it is removed when this is
    /// dropped. Without limits there is none.
    ///
    /// libcontainer only joins it: its own manager sets limits of the devices
    /// controller, always, which a sandbox without device nodes does not need.
    pub fn sandbox(
        &self,
        launcher: &str,
        id: &str,
        limits: Option<&GroupLimits>,
    ) -> Result<SandboxGroup, CgroupError> {
        let Some(limits) = limits else {
            return Ok(SandboxGroup(None));
        };
        let group = Group::new(&self.hierarchy, &format!("lakekeep/{launcher}/{id}"))?;
        group.create(self.used)?;
        let group = SandboxGroup(Some(group));
        group.set(limits)?;
        Ok(group)
    }

    /// Makes the group of launcher `launcher` and locks it, in the one hierarchy
    /// where its limits are most often needed. The lock lasts as long as the
    /// launcher, whatever becomes of its state folder.
    ///
    /// `None` when a sweeper saw the new group before it was locked: that sweeper now
    /// removes the name from every hierarchy, and nothing may be made under it again.
    pub fn claim(&self, launcher: &str) -> Result<Option<Claim>, StartError> {
        let Some(path) = self.reference(launcher)? else {
            return Ok(Some(Claim { _lock: None }));
        };
        let object = path.display().to_string();
        // Listed by root alone: whoever may open it could lock it.
        let made = DirBuilder::new().recursive(true).mode(0o711).create(&path);
        match made.and_then(|()| File::open(&path)) {
            Ok(lock) if lock::try_lock(&lock).context("flock", &object)? && path.exists() => {
                let barred = self.bar(launcher)?;
                Ok(barred.then_some(Claim { _lock: Some(lock) }))
            }
            Ok(_) => Ok(None),
            // Or the folder of all launchers went, with the last of them.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("mkdir", object, &error).into()),
        }
    }

    fn makes_groups(&self) -> bool {
        let mount = self.hierarchy.mount_of(Controller::Memory);
        mount.is_some_and(|mount| self.hierarchy.writable(mount))
    }

    fn reference(&self, launcher: &str) -> Result<Option<PathBuf>, CgroupError> {
        if !self.makes_groups() {
            return Ok(None);
        }
        let group = Group::new(&self.hierarchy, &format!("lakekeep/{launcher}"))?;
        Ok(group.dir(Controller::Memory).map(Path::to_path_buf))
    }

    /// Ends and removes the groups of all launchers that died.
    pub fn sweep_dead(&self) -> Result<(), StartError> {
        // Where this caller can make none, none is its own; root's may not be listed.
        if !self.makes_groups() {
            return Ok(());
        }
        for name in self.hierarchy.launchers()? {
            // A name that no launcher of ours makes, or nothing that is ours to
            // remove.
            let Ok(Some(path)) = self.reference(&name) else {
                continue;
            };
            // Held while it is swept: who has just made the group, and has not locked it yet,
            // must not get the lock meanwhile.
            let _held = match File::open(&path) {
                Ok(file) => {
                    if !lock::try_lock(&file).context("flock", path.display().to_string())? {
                        continue;
                    }
                    Some(file)
                }
                // The hierarchy that is made first and removed last.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(_) => continue,
            };
            self.sweep(&name)?;
        }
        Ok(())
    }

    /// Removes everything of this launcher, and the folder of all launchers where
    /// it was the last.
    pub fn end(&self, launcher: &str) -> Result<(), CgroupError> {
        self.sweep(launcher)?;
        self.hierarchy.prune()
    }

    /// Removes the folder of all launchers where there is none.
    pub fn prune(&self) -> Result<(), CgroupError> {
        self.hierarchy.prune()
    }

    /// Ends and removes everything of a launcher.
    pub fn sweep(&self, launcher: &str) -> Result<(), CgroupError> {
        // A name that no launcher of ours makes has no group of ours, and where
        // nothing is mounted there is none at all.
        match self
            .hierarchy
            .sweep(&format!("lakekeep/{launcher}"), PATIENCE)
        {
            Err(CgroupError::RefusedPath { .. } | CgroupError::NotMounted) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl SandboxGroup {
    /// What this host cannot set is found by reading back: the manager compares.
    fn set(&self, limits: &GroupLimits) -> Result<(), CgroupError> {
        let Some(group) = &self.0 else {
            return Ok(());
        };
        let value = |limit: Option<u64>| limit.map(Limit::Value);
        let wanted = Limits {
            memory: value(limits.memory),
            swap: value(limits.swap),
            cpu_quota_us: value(limits.cpu_quota_us),
            cpu_period_us: Some(limits.cpu_period_us),
            pids: value(limits.pids),
            cpuset: None,
            oom_group: None,
        };
        group.write_limits(&wanted).map(drop)
    }

    /// How its init enters the group, where that needs no libcontainer.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let entrances = self.0.as_ref().map(Group::entrances);
        entrances.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// The ways into the group for processes that are not its first.
    pub fn doors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let doors = self.0.as_ref().map(Group::doors);
        doors.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Whether the kernel lists the process in the group, in every hierarchy where it was
    /// made: without root, libcontainer only logs that it could not put it there.
    pub fn holds(&self, pid: Pid) -> Result<bool, CgroupError> {
        match &self.0 {
            Some(group) => group.holds(pid),
            None => Ok(true),
        }
    }

    /// The limits as the kernel holds them.
    pub fn limits(&self) -> Result<LimitFacts, CgroupError> {
        let Some(group) = &self.0 else {
            return Ok(LimitFacts::default());
        };
        let limits = group.read_limits()?;
        Ok(LimitFacts {
            memory: bounded(limits.memory),
            swap: bounded(limits.swap),
            cpu_quota_us: bounded(limits.cpu_quota_us),
            cpu_period_us: limits.cpu_period_us,
            pids: bounded(limits.pids),
            cpuset: limits.cpuset,
        })
    }

    /// What was used so far.
    pub fn usage(&self) -> Result<GroupUsageFacts, CgroupError> {
        let Some(group) = &self.0 else {
            return Ok(GroupUsageFacts::default());
        };
        let usage = group.usage()?;
        Ok(GroupUsageFacts {
            memory_peak: usage.memory_peak,
            oom_kills: usage.oom_kills,
            pids_refused: usage.pids_max_events.unwrap_or(0),
            cpu_us: usage.cpu_usage_us,
            throttled_us: usage.cpu_throttled_us,
            memory: usage.memory_current,
            pids: usage.pids_current,
        })
    }

    /// Stops all processes where they are, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        match &self.0 {
            Some(group) => group.freeze(frozen, PATIENCE),
            None => Err(CgroupError::NotMounted),
        }
    }

    /// Ends what is left and removes the group.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        match self.0.take() {
            Some(group) => remove(&group),
            None => Ok(()),
        }
    }
}

impl Drop for SandboxGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0.take()
            && remove(&group).is_err()
        {
            // An undo after another failure, which is what is reported. The
            // launcher's end and the next one's sweep try again.
        }
    }
}

fn remove(group: &Group) -> Result<(), CgroupError> {
    group.kill_all(PATIENCE)?;
    group.remove(PATIENCE).map(drop)
}

fn bounded(limit: Option<Limit>) -> Option<u64> {
    match limit {
        Some(Limit::Value(value)) => Some(value),
        _ => None,
    }
}

/// What libcontainer is shown of the hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// What the host has.
    AsFound,
    /// None: the version 1 hierarchies are where it does not look.
    Nothing,
    /// A version 2 tree alone.
    Unified,
}

/// Shows libcontainer a version 2 tree in place of the version 1 hierarchies. It would
/// join every one of those that it finds, each an RCU grace period long, and reads the
/// mount table once for each controller that exists anywhere; the init enters the used
/// ones itself ([`Group::entrances`]), and they return under other names.
///
/// The tree is a copy of the host's own mount, for a new one waits for a grace period too
/// (`cgroup_favor_dynmods`, Linux 6.18). A host that has none mounted keeps libcontainer's
/// version 1 manager, which then finds nothing to join.
fn set_aside(hierarchy: &Hierarchy, wanted: &[Controller]) -> Result<Shown, StartError> {
    let place = Path::new(CGROUP_ROOT);
    let used = |point: &Path| {
        let held = |controller: &Controller| {
            hierarchy
                .mount_of(*controller)
                .is_some_and(|of| of.point == point)
        };
        wanted.iter().any(held)
    };
    let old = hierarchy
        .mounts()
        .iter()
        .filter(|mount| mount.version == Version::V1);
    let points: Vec<&Path> = old.map(|mount| mount.point.as_path()).collect();
    let all_old = wanted.iter().all(|controller| {
        let mount = hierarchy.mount_of(*controller);
        mount.is_none_or(|mount| mount.version == Version::V1)
    });
    // Elsewhere, or divided between the versions: left to libcontainer as it is.
    if points.is_empty() || !all_old || points.iter().any(|point| point.parent() != Some(place)) {
        return Ok(Shown::AsFound);
    }
    let copy = |point: &Path| {
        mount::clone_tree(CWD, point).context("open_tree", point.display().to_string())
    };
    let unified = hierarchy.unified().map(|mount| copy(&mount.point));
    let unified = unified.transpose()?;
    let mut kept = Vec::new();
    for point in points.into_iter().filter(|point| used(point)) {
        kept.push((point.file_name().unwrap_or_default(), copy(point)?));
    }
    // All at once, for every unmount waits for the kernel's readers.
    mount::detach(c"/sys/fs/cgroup").context("umount", CGROUP_ROOT)?;
    let options = [(c"size", c"64k"), (c"mode", c"0755")];
    let ground = mount::new_detached(c"tmpfs", &options, restricted());
    let ground = ground.context("mount tmpfs", ASIDE)?;
    mount::attach_at(&ground, c"/sys/fs").context("move_mount", ASIDE)?;
    make_place(place)?;
    if let Some(unified) = &unified {
        mount::restrict(unified, restricted(), None).context("mount_setattr", CGROUP_ROOT)?;
        place_at(unified, place)?;
    }
    for (name, tree) in kept {
        let mut aside = OsString::from(USED_PREFIX);
        aside.push(name);
        let point = Path::new(ASIDE).join(aside);
        make_place(&point)?;
        place_at(&tree, &point)?;
    }
    Ok(unified.map_or(Shown::Nothing, |_| Shown::Unified))
}

fn make_place(point: &Path) -> Result<(), StartError> {
    let made = rustix::fs::mkdir(point, FileMode::from_raw_mode(0o755));
    Ok(made.context("mkdir", point.display().to_string())?)
}

fn place_at(tree: &OwnedFd, point: &Path) -> Result<(), StartError> {
    let object = point.display().to_string();
    let place = mount::host_place(point).context("open", &object)?;
    Ok(mount::attach(tree, &place).context("move_mount", object)?)
}

fn restricted() -> Restrict {
    Restrict::NO_SUID
        .with(Restrict::NO_DEVICES)
        .with(Restrict::NO_EXEC)
}

fn show_unified() -> Result<(), StartError> {
    userns::unshare_cgroup().context("unshare", "cgroup namespace")?;
    let tree = mount::new_detached(c"cgroup2", &[], restricted()).context("mount", "cgroup2")?;
    mount::attach_at(&tree, c"/sys/fs/cgroup").context("move_mount", "/sys/fs/cgroup")?;
    Ok(())
}
