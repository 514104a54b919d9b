//! One sandbox: its steps, and the undo of each.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lakekeep_plan::oci::Placement;
use lakekeep_protocol::facts::{GroupUsageFacts, LimitFacts};
use lakekeep_protocol::launch::{Created, IdSource, LaunchStep, RootfsStep, SandboxSpec};
use lakekeep_protocol::zygote::ZygoteSpec;
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::net::{self, Captured};
use lakekeep_sys::socket;
use rustix::fs::Mode;
use rustix::process::Pid;

use crate::cgroups::{Groups, SandboxGroup};
use crate::container::{self, Folders, Inherited, InitProcess};
use crate::error::Failed;
use crate::ids::{Lease, Leases};
use crate::nursery::{Nest, Nursery, Place};
use crate::rootfs::{self, Ground};
use crate::rootless;
use crate::state::State;

/// A live sandbox. Fields are dropped in this order, each undoing its step:
/// processes first, what they ran in after, their ids last, so that no id is
/// free while a process or a file of it is left.
#[derive(Debug)]
pub struct Sandbox {
    /// Its zygote goes first: it is in the sandbox, but not in its pid namespace.
    nursery: Option<Nursery>,
    init: InitProcess,
    group: SandboxGroup,
    folder: Folder,
    lease: Option<Rc<Lease>>,
    /// As read back when it was made.
    created: Created,
    /// Where what it sends arrives, until its manager has it.
    captured: Option<Captured>,
    /// What a manager left for a later one.
    kept: BTreeMap<String, Vec<OwnedFd>>,
    frozen: bool,
}

/// What sandboxes are made with.
#[derive(Debug, Clone, Copy)]
pub struct Workshop<'a> {
    pub state: &'a State,
    pub groups: &'a Groups,
    pub program: &'a Rc<OwnedFd>,
    /// The inits that live already.
    pub inits: &'a [Pid],
}

/// What a new sandbox takes over.
#[derive(Debug)]
pub struct Given {
    /// The init's end of its socket to the manager.
    pub channel: OwnedFd,
    /// A network namespace, if one is ready.
    pub network: Option<OwnedFd>,
    /// Of a sandbox that has a zygote: what that one's sandbox gave.
    pub nest: Option<Nest>,
}

/// Whose host ids a sandbox's users are.
#[derive(Debug)]
struct Ids {
    lease: Option<Rc<Lease>>,
    first: u32,
    /// First inside, and how many.
    ranges: Vec<(u32, u32)>,
    /// The user namespace, where libcontainer does not make it.
    namespace: Option<OwnedFd>,
    nursery: Option<Nursery>,
}

impl Ids {
    fn take(
        spec: &SandboxSpec,
        nest: Option<(Rc<Lease>, OwnedFd)>,
        leases: &mut Leases,
    ) -> Result<Self, Failed> {
        let count = match spec.ids {
            IdSource::Lease { count } => count,
            IdSource::Own { count } => {
                return Ok(Self {
                    lease: None,
                    first: 0,
                    ranges: rootless::own_ranges(count),
                    namespace: None,
                    nursery: None,
                });
            }
        };
        let (lease, mut namespace) = match nest {
            Some((lease, namespace)) => (lease, Some(namespace)),
            None => (Rc::new(leases.take()?), None),
        };
        let nursery = match spec.nursery {
            0 => None,
            many => {
                let nursery = Nursery::make(&lease, many, leases)?;
                let copy = rustix::io::fcntl_dupfd_cloexec(nursery.namespace(), 3)
                    .map_err(|errno| Failed::errno(LaunchStep::Zygote, errno))?;
                namespace = Some(copy);
                Some(nursery)
            }
        };
        Ok(Self {
            first: lease.first(),
            lease: Some(lease),
            ranges: vec![(0, count)],
            namespace,
            nursery,
        })
    }

    /// Where libcontainer finds the user namespace.
    fn path(&self) -> Option<PathBuf> {
        let number = self.namespace.as_ref().map(AsRawFd::as_raw_fd);
        number.map(|number| PathBuf::from(format!("/proc/self/fd/{number}")))
    }
}

impl Sandbox {
    /// Makes a sandbox, in this order:
    ///
    /// 1. ids: everything after is done for them;
    /// 2. a folder on the launcher's tmpfs: all files of the sandbox are in it;
    /// 3. the root file system, before any process could look at it;
    /// 4. the routes and sockets that catch what it sends, before there is who sends;
    /// 5. the container, its seal read back, its init started;
    /// 6. the limits, read back;
    /// 7. the root file system leaves this mount table: the init has copied it into its
    ///    own. Every mount that stayed here would be copied and listed again for each
    ///    later sandbox.
    ///
    /// A failure anywhere drops what was made so far, which undoes it.
    pub fn create(
        workshop: &Workshop<'_>,
        leases: &mut Leases,
        spec: &SandboxSpec,
        given: Given,
    ) -> Result<Self, Failed> {
        let (nest, network, connection) = match given.nest {
            None => (None, given.network, None),
            Some(nest) => (
                Some((nest.lease, nest.nested.user)),
                // Its owner is the sandbox's user namespace, as that of what is forked
                // outside and enters it: nobody in the sandbox has a capability there. What it
                // sends is caught there as in any other; that nothing leaves by another way does
                // not depend on routes or rules, for there is none.
                Some(nest.nested.network),
                Some(nest.connection),
            ),
        };
        let ids = Ids::take(spec, nest, leases)?;
        let first_id = ids.first;
        let mut folder = Folder::make(workshop.state.path(), &spec.id)?;
        let ground = Ground {
            place: &folder.path.join("root"),
            skeleton: &folder.path.join("skeleton"),
            first_id,
        };
        let unmapped_mounts = rootfs::assemble(&ground, &spec.rootfs)?;
        folder.keep_skeleton(&spec.rootfs)?;
        let (network, captured) = catch(spec, network)?;
        let launcher = workshop.state.name();
        let group = workshop
            .groups
            .sandbox(launcher, &spec.id, spec.limits.as_ref());
        let failed = |error| Failed::other(LaunchStep::Container, &error);
        let group = group.map_err(failed)?;
        let user_namespace = ids.path();
        let placement = Placement {
            rootfs: ground.place,
            first_id,
            ids: &ids.ranges,
            cgroup: &workshop.groups.path(launcher, &spec.id),
            user_namespace: user_namespace.as_deref(),
        };
        let folders = Folders {
            bundle: &folder.path,
            state: &folder.path.join("state"),
        };
        let inherited = Inherited {
            inits: workshop.inits,
            program: Rc::clone(workshop.program),
            channel: given.channel,
            network,
            entrances: group.entrances().map_err(failed)?,
            zygote: connection
                .map(|connection| leave(&connection, &group))
                .transpose()?,
        };
        let (init, facts) = container::create(spec, &placement, &folders, inherited)?;
        let limits = limits_of(&group, init.pid())?;
        folder.unmount()?;
        let created = Created {
            init: facts,
            id_range: (first_id, ids.ranges.iter().map(|(_, count)| count).sum()),
            limits,
            unmapped_mounts,
        };
        Ok(Self {
            nursery: ids.nursery,
            init,
            group,
            folder,
            lease: ids.lease,
            created,
            captured,
            kept: BTreeMap::new(),
            frozen: false,
        })
    }

    /// The init, in the launcher's pid namespace.
    pub fn pid(&self) -> Pid {
        self.init.pid()
    }

    /// The init's pidfd.
    pub fn pidfd(&self) -> &OwnedFd {
        self.init.pidfd()
    }

    /// What was read back when it was made.
    pub fn created(&self) -> &Created {
        &self.created
    }

    /// Where what it sends arrives: the first time, and never again.
    pub fn captured(&mut self) -> Option<Captured> {
        self.captured.take()
    }

    /// What the next sandbox of its zygote gets.
    pub fn nest(&mut self) -> Result<Nest, Failed> {
        self.nursery.as_mut().ok_or_else(no_nursery)?.nest()
    }

    /// Starts its zygote.
    pub fn start_zygote(
        &mut self,
        program: &OwnedFd,
        spec: &ZygoteSpec,
        output: &OwnedFd,
    ) -> Result<(), Failed> {
        let failed = |error| Failed::other(LaunchStep::Zygote, &error);
        let place = Place {
            init: self.init.pidfd(),
            first_id: self.created.id_range.0,
            doors: self.group.doors().map_err(failed)?,
            program,
        };
        let nursery = self.nursery.as_mut().ok_or_else(no_nursery)?;
        nursery.start(&place, spec, output)
    }

    /// Descriptors held for a later manager, by slot.
    pub fn kept(&mut self) -> &mut BTreeMap<String, Vec<OwnedFd>> {
        &mut self.kept
    }

    /// Whether it outlives its manager.
    pub fn is_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The names of what is kept.
    pub fn slots(&self) -> Vec<String> {
        self.kept.keys().cloned().collect()
    }

    /// What it uses now.
    pub fn usage(&self) -> Result<GroupUsageFacts, Failed> {
        let failed = |error| Failed::other(LaunchStep::Usage, &error);
        self.group.usage().map_err(failed)
    }

    /// Stops all its processes where they are, or lets them go on.
    pub fn freeze(&mut self, frozen: bool) -> Result<(), Failed> {
        let failed = |error| Failed::other(LaunchStep::Freeze, &error);
        self.group.freeze(frozen).map_err(failed)?;
        self.frozen = frozen;
        Ok(())
    }

    /// The tree of one more mount, its owners mapped for this sandbox.
    pub fn volume(&self, step: &RootfsStep) -> Result<OwnedFd, Failed> {
        let first_id = self.created.id_range.0;
        match rootfs::tree(first_id, 0, step)? {
            Some((tree, true)) => Ok(tree),
            // Shown as nobody's it would be of no use, and nobody would know why.
            Some((_, false)) => Err(Failed::refused(
                LaunchStep::Rootfs(0),
                "owners of this file system cannot be mapped",
            )),
            None => Err(Failed::refused(LaunchStep::Check, "not a mount")),
        }
    }

    /// The trees of more mounts, and places for them in its root.
    pub fn extend(&self, steps: &[RootfsStep]) -> Result<Vec<OwnedFd>, Failed> {
        let skeleton = self.folder.skeleton.as_ref().ok_or_else(|| {
            Failed::refused(LaunchStep::Check, "the root of this sandbox is an image's")
        })?;
        rootfs::extend(self.created.id_range.0, skeleton, steps)
    }

    /// Before its end: on version 1 a frozen process does not die of SIGKILL.
    pub fn thaw(&mut self) -> Result<(), Failed> {
        match self.frozen {
            true => self.freeze(false),
            false => Ok(()),
        }
    }

    /// Ends the sandbox and says what it used. Usage is read once all processes
    /// are gone and before the group is.
    pub fn destroy(mut self) -> Result<GroupUsageFacts, Failed> {
        let failed = |errno| Failed::errno(LaunchStep::Destroy, errno);
        let other = |error| Failed::other(LaunchStep::Destroy, &error);
        self.thaw()?;
        drop(self.nursery);
        self.init.end().map_err(failed)?;
        let usage = self.group.usage().map_err(other)?;
        self.group.remove().map_err(other)?;
        self.folder.remove()?;
        drop(self.lease);
        Ok(usage)
    }
}

/// The limits of a group that has the init in it.
fn limits_of(group: &SandboxGroup, init: Pid) -> Result<LimitFacts, Failed> {
    let failed = |error| Failed::other(LaunchStep::ReadBack, &error);
    if !group.holds(init).map_err(failed)? {
        return Err(Failed::refused(
            LaunchStep::ReadBack,
            "the init is not in its cgroup",
        ));
    }
    group.limits().map_err(failed)
}

/// Has what a sandbox sends arrive at sockets of ours, if it is to leave at all.
fn catch(
    spec: &SandboxSpec,
    ready: Option<OwnedFd>,
) -> Result<(Option<OwnedFd>, Option<Captured>), Failed> {
    if !spec.egress {
        return Ok((ready, None));
    }
    let made = ready.map_or_else(net::make, Ok);
    let network = made.map_err(|errno| Failed::errno(LaunchStep::Network, errno))?;
    let captured = net::capture(&network).map_err(Failed::kernel(LaunchStep::Egress))?;
    Ok((Some(network), Some(captured)))
}

fn no_nursery() -> Failed {
    Failed::refused(LaunchStep::Zygote, "the sandbox sets no ids aside")
}

/// Leaves for an init its connection to the zygote, and the doors through which its stubs
/// take what the zygote forks into the sandbox's cgroups.
fn leave(connection: &OwnedFd, group: &SandboxGroup) -> Result<OwnedFd, Failed> {
    let failed = |errno| Failed::errno(LaunchStep::Zygote, errno);
    let doors = group.doors();
    let doors = doors.map_err(|error| Failed::other(LaunchStep::Zygote, &error))?;
    let mut all = vec![connection.as_fd()];
    all.extend(doors.iter().map(AsFd::as_fd));
    let (give, take) = socket::pair().map_err(failed)?;
    socket::send(&give, &[1], &all).map_err(failed)?;
    Ok(take)
}

/// Bytes of one sandbox's files: its bundle, its skeleton, generated files.
const FILES_SIZE: &std::ffi::CStr = c"16m";

/// A sandbox's folder below the launcher's.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// What the sandbox's root shows, where no image is below it: more can be made in it while
    /// the sandbox runs.
    skeleton: Option<OwnedFd>,
    mounted: bool,
    removed: bool,
}

impl Folder {
    fn make(launcher: &Path, id: &str) -> Result<Self, Failed> {
        let path = launcher.join(id);
        let failed = |errno| Failed::errno(LaunchStep::StateDirectory, errno);
        // Searched by the sandbox's root, whose ids are nobody's here; listed by
        // nobody but the launcher.
        let searchable = Mode::from_raw_mode(0o711);
        rustix::fs::mkdir(&path, searchable).map_err(failed)?;
        let mut folder = Self {
            path,
            skeleton: None,
            mounted: false,
            removed: false,
        };
        // A file system of its own, so that its end is one unmount and not a walk.
        let options = [(c"size", FILES_SIZE), (c"mode", c"0711")];
        let restrict = Restrict::NO_SUID.with(Restrict::NO_DEVICES);
        let files = mount::new_detached(c"tmpfs", &options, restrict).map_err(failed)?;
        let place = mount::host_place(&folder.path).map_err(failed)?;
        mount::attach(&files, &place).map_err(failed)?;
        folder.mounted = true;
        for name in ["root", "skeleton", "state"] {
            rustix::fs::mkdir(folder.path.join(name), Mode::from_raw_mode(0o755))
                .map_err(failed)?;
        }
        Ok(folder)
    }

    /// Holds on to the skeleton, past the unmount. Nothing may be changed in a layer of an
    /// overlay that is mounted (the kernel's overlayfs.rst).
    fn keep_skeleton(&mut self, steps: &[RootfsStep]) -> Result<(), Failed> {
        let image = |step: &RootfsStep| matches!(step, RootfsStep::Image { .. });
        if !steps.iter().any(image) {
            let place = mount::host_place(&self.path.join("skeleton"));
            let failed = |errno| Failed::errno(LaunchStep::StateDirectory, errno);
            self.skeleton = Some(place.map_err(failed)?);
        }
        Ok(())
    }

    /// Unmounts it with all that is mounted in it, at once.
    fn unmount(&mut self) -> Result<(), Failed> {
        if std::mem::take(&mut self.mounted) {
            let failed = |errno| Failed::errno(LaunchStep::StateDirectory, errno);
            let object = std::ffi::CString::new(self.path.as_os_str().as_encoded_bytes());
            let object = object.map_err(|_| failed(rustix::io::Errno::INVAL))?;
            mount::detach(&object).map_err(failed)?;
        }
        Ok(())
    }

    fn remove(mut self) -> Result<(), Failed> {
        self.removed = true;
        self.unmount()?;
        rmdir(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed && self.unmount().and_then(|()| rmdir(&self.path)).is_err() {
            // The undo of another failure; the launcher's end takes the tmpfs.
        }
    }
}

fn rmdir(path: &Path) -> Result<(), Failed> {
    let failed = |errno| Failed::errno(LaunchStep::Destroy, errno);
    rustix::fs::rmdir(path).map_err(failed)
}
