//! Assembles a sandbox's root file system: by descriptor, beneath its own root,
//! in the launcher's own mount table.
//!
//! libcontainer is given the finished tree, so that no path of an image or of a
//! user is ever looked up by it (GHSA of the class of CVE-2026-41579,
//! CVE-2021-30465). Sources are opened by the launcher, which may read what the
//! sandbox's ids may not reach; the sandbox sees only the mount.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lakekeep_protocol::launch::{LaunchStep, RootfsStep};
use lakekeep_sys::mount::{self, Restrict};
use lakekeep_sys::userns::{self, IdRange};
use lakekeep_sys::{Errno, Error};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::error::Failed;

/// Directories that libcontainer mounts on or makes files in: each must be a
/// real directory of the finished root.
const MOUNTED_ON: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A root file system being assembled.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// Where it is, and will be for libcontainer.
    place: &'a Path,
    /// The folder in which the skeleton is made.
    skeleton: PathBuf,
    /// What later steps are placed beneath: the skeleton, then the whole.
    root: OwnedFd,
    /// First host id of the sandbox, for owners to be shown as its users.
    first_id: u32,
    /// Steps whose owners could not be mapped.
    unmapped: Vec<u16>,
}

/// Where a sandbox's root is assembled.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// An empty directory: the finished root's mount point.
    pub place: &'a Path,
    /// An empty directory on the launcher's tmpfs.
    pub skeleton: &'a Path,
    /// First host id of the sandbox.
    pub first_id: u32,
}

/// Takes all `steps`, and returns the indexes of mounts whose owners could not
/// be mapped.
pub fn assemble(ground: &Ground<'_>, steps: &[RootfsStep]) -> Result<Vec<u16>, Failed> {
    let failed = |step: usize| {
        let step = LaunchStep::Rootfs(u16::try_from(step).unwrap_or(u16::MAX));
        move |errno| Failed::errno(step, errno)
    };
    let mut assembly = Assembly::new(ground).map_err(failed(0))?;
    let mut made_whole = false;
    for (index, step) in steps.iter().enumerate() {
        match step {
            RootfsStep::Image { folder } => {
                assembly.lay_image(folder).map_err(failed(index))?;
                made_whole = true;
            }
            RootfsStep::Bind { .. } => {
                if !made_whole {
                    assembly.lay_bare().map_err(failed(index))?;
                    made_whole = true;
                }
                assembly.bind(index, step)?;
            }
            made => make(&assembly.root, made).map_err(failed(index))?,
        }
    }
    if !made_whole {
        assembly.lay_bare().map_err(failed(steps.len()))?;
    }
    assembly.check_mount_points()?;
    Ok(assembly.unmapped)
}

impl<'a> Assembly<'a> {
    fn new(ground: &Ground<'a>) -> Result<Self, Errno> {
        Ok(Self {
            place: ground.place,
            skeleton: ground.skeleton.to_path_buf(),
            root: mount::host_place(ground.skeleton)?,
            first_id: ground.first_id,
            unmapped: Vec::new(),
        })
    }

    /// The skeleton alone is the root: read-only from here on.
    fn lay_bare(&mut self) -> Result<(), Errno> {
        let tree = mount::clone_tree(CWD, &self.skeleton)?;
        mount::restrict(&tree, sealed().with(Restrict::NO_EXEC), None)?;
        self.lay(&tree)
    }

    /// A folder of the host below the skeleton: a read-only overlay of two
    /// layers, in which a directory of the skeleton hides whatever is of that
    /// name in the image, links above all.
    fn lay_image(&mut self, folder: &str) -> Result<(), Errno> {
        let image = mount::host_place(Path::new(folder))?;
        if !is(&image, FileType::Directory)? {
            return Err(Errno::NOTDIR);
        }
        // By descriptor: a colon in a path would divide it. Where it is mounted, not a
        // detached copy: Linux 6.1's overlayfs takes layers of this mount table only,
        // and makes private copies itself.
        let layers = format!(
            "/proc/self/fd/{}:/proc/self/fd/{}",
            self.root.as_raw_fd(),
            image.as_raw_fd()
        );
        let layers = CString::new(layers).map_err(|_| Errno::INVAL)?;
        // Mounted in another user namespace's name later on: the setuid bits of
        // the image mean nothing, its devices cannot be opened.
        let tree = mount::new_detached(c"overlay", &[(c"lowerdir", &layers)], sealed())?;
        self.lay(&tree)
    }

    fn lay(&mut self, tree: &OwnedFd) -> Result<(), Errno> {
        let place = mount::host_place(self.place)?;
        mount::attach(tree, &place)?;
        self.root = mount::host_place(self.place)?;
        Ok(())
    }

    /// A file or folder of the host, mounted by descriptor on a target that is
    /// opened beneath the root through no link.
    fn bind(&mut self, index: usize, step: &RootfsStep) -> Result<(), Failed> {
        let RootfsStep::Bind { target, .. } = step else {
            return Ok(());
        };
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let failed = |errno| Failed::errno(LaunchStep::Rootfs(number), errno);
        let Some((tree, mapped)) = tree(self.first_id, number, step)? else {
            return Ok(());
        };
        if !mapped {
            // The receipt says so.
            self.unmapped.push(number);
        }
        let target = mount::beneath(&self.root, Path::new(target)).map_err(failed)?;
        mount::attach(&tree, &target).map_err(failed)
    }

    fn check_mount_points(&self) -> Result<(), Failed> {
        for path in MOUNTED_ON {
            let found = mount::beneath(&self.root, Path::new(path));
            let real = found.and_then(|place| is(&place, FileType::Directory));
            if !matches!(real, Ok(true)) {
                let detail = format!("{path} of the root file system is not a real directory");
                return Err(Failed::refused(LaunchStep::Check, detail));
            }
        }
        Ok(())
    }
}

/// Makes a directory, link or file of a skeleton.
fn make(skeleton: &OwnedFd, step: &RootfsStep) -> Result<(), Errno> {
    match step {
        RootfsStep::Directory { path, mode } => {
            let (parent, name) = parent(skeleton, path)?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(*mode))
        }
        RootfsStep::Symlink { path, target } => {
            let (parent, name) = parent(skeleton, path)?;
            rustix::fs::symlinkat(target, parent, name)
        }
        RootfsStep::File {
            path,
            contents,
            mode,
        } => {
            let (parent, name) = parent(skeleton, path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(*mode))?;
            write_all(file.as_fd(), contents)
        }
        RootfsStep::Image { .. } | RootfsStep::Bind { .. } => Err(Errno::INVAL),
    }
}

fn parent<'p>(skeleton: &OwnedFd, path: &'p str) -> Result<(OwnedFd, &'p OsStr), Errno> {
    let path = Path::new(path);
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = mount::beneath(skeleton, path.parent().ok_or(Errno::INVAL)?)?;
    Ok((parent, name))
}

/// Makes what of `steps` is not there yet in the skeleton of a sandbox that runs, which shows
/// at once in all its mount tables, and the trees of those that are mounts.
pub fn extend(
    first_id: u32,
    skeleton: &OwnedFd,
    steps: &[RootfsStep],
) -> Result<Vec<OwnedFd>, Failed> {
    let mut trees = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        match tree(first_id, number, step)? {
            Some((tree, _)) => trees.push(tree),
            None => match make(skeleton, step) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Failed::errno(LaunchStep::Rootfs(number), errno)),
            },
        }
    }
    Ok(trees)
}

/// The tree of a [`RootfsStep::Bind`], restricted and mapped while it is mounted
/// nowhere, and whether its owners could be mapped; `None` for any other step. Files of
/// a file system that cannot be id-mapped belong to nobody inside.
pub fn tree(
    first_id: u32,
    number: u16,
    step: &RootfsStep,
) -> Result<Option<(OwnedFd, bool)>, Failed> {
    let RootfsStep::Bind {
        source,
        read_only,
        executable,
        owner,
        disk,
        ..
    } = step
    else {
        return Ok(None);
    };
    let failed = |errno| Failed::errno(LaunchStep::Rootfs(number), errno);
    let place = mount::host_place(Path::new(source)).map_err(failed)?;
    let tree = mount::clone_tree(&place, Path::new("")).map_err(failed)?;
    let mut what = Restrict::NO_SUID.with(Restrict::NO_DEVICES);
    if *read_only {
        what = what.with(Restrict::READ_ONLY);
    }
    if !*executable {
        what = what.with(Restrict::NO_EXEC);
    }
    let map = owner.map(|owner| owner_map(first_id, &place, owner, *disk));
    let map = map
        .transpose()
        .map_err(Failed::kernel(LaunchStep::Rootfs(number)))?;
    match mount::restrict(&tree, what, map.as_ref().map(AsFd::as_fd)) {
        Err(Errno::INVAL | Errno::PERM) if map.is_some() => {
            mount::restrict(&tree, what, None).map_err(failed)?;
            Ok(Some((tree, false)))
        }
        other => other.map(|()| Some((tree, true))).map_err(failed),
    }
}

/// A user namespace that shows one owner's files, the source's own if no other is
/// named, as a user of the sandbox. Nobody else's files are mapped: they belong to
/// nobody inside.
fn owner_map(
    first_id: u32,
    source: &OwnedFd,
    (user, group): (u32, u32),
    disk: Option<(u32, u32)>,
) -> Result<OwnedFd, Error> {
    let (disk_user, disk_group) = match disk {
        Some(ids) => ids,
        None => {
            let stat = rustix::fs::fstat(source)
                .map_err(|errno| Error::new("fstat", "mount source", errno))?;
            (stat.st_uid, stat.st_gid)
        }
    };
    let map = |inside, id: u32| IdRange {
        inside,
        outside: first_id + id,
        count: 1,
    };
    userns::with_maps(&[map(disk_user, user)], &[map(disk_group, group)])
}

fn sealed() -> Restrict {
    Restrict::READ_ONLY
        .with(Restrict::NO_SUID)
        .with(Restrict::NO_DEVICES)
}

fn is(place: &OwnedFd, kind: FileType) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(place)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == kind)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::write(file, bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}
