//! A task's writable directories and its secrets: file systems in memory, made before
//! the clone.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use lakekeep_protocol::task::{MAX_SECRETS, SECRETS_DIRECTORY, Scratch, TaskSpec};
use lakekeep_sys::Errno;
use lakekeep_sys::mount::{self, Restrict};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};

use crate::prepare::{SCRATCH_MOUNT, c_string, number};

/// The largest page of a kernel that we run on, of aarch64: a file on a tmpfs takes whole ones.
const LARGEST_PAGE: u64 = 64 << 10;

/// A scratch file system.
#[derive(Debug)]
pub struct Made {
    /// Its root.
    pub root: OwnedFd,
    /// What appears at each place.
    pub parts: Vec<OwnedFd>,
    /// Mounts below those places, which stay in sight: where they are, and the place
    /// on the scratch file system where they shall be.
    pub kept: Vec<(CString, OwnedFd)>,
}

/// The scratch file system of all tasks that share one, mounted in the init's own
/// table at [`SCRATCH_MOUNT`], where every task's copy of the table has it.
#[derive(Debug)]
pub struct Shared {
    made: Made,
    of: Scratch,
}

/// A task's part in a scratch file system.
#[derive(Debug)]
pub struct Part {
    /// For its free space.
    pub root: OwnedFd,
    /// For the rule set.
    pub parts: Vec<OwnedFd>,
    /// What the task has to mount itself; `None` where it is mounted.
    pub mount: Option<Vec<(CString, OwnedFd)>>,
}

impl Part {
    /// Makes a scratch file system for one task, or takes part in the shared one.
    ///
    /// # Errors
    /// `EINVAL` when the shared one is not as this task wants it.
    pub fn new(spec: &TaskSpec, shared: &mut Option<Shared>) -> Result<Self, Errno> {
        if !spec.scratch.shared {
            let made = Made::new(spec)?;
            return Ok(Self {
                root: made.root,
                parts: made.parts,
                mount: Some(made.kept),
            });
        }
        let shared = match shared {
            Some(shared) => shared,
            none => none.insert(Shared::new(spec)?),
        };
        if shared.of != spec.scratch {
            return Err(Errno::INVAL);
        }
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0);
        Ok(Self {
            root: copy(&shared.made.root)?,
            parts: shared
                .made
                .parts
                .iter()
                .map(copy)
                .collect::<Result<_, _>>()?,
            mount: None,
        })
    }
}

impl Shared {
    fn new(spec: &TaskSpec) -> Result<Self, Errno> {
        let mut made = Made::new(spec)?;
        let place = c_string(SCRATCH_MOUNT)?;
        mount::attach_at(&made.root, &place)?;
        for (path, place) in std::mem::take(&mut made.kept) {
            let path = path.to_str().map_err(|_| Errno::INVAL)?;
            let tree = mount::clone_tree(CWD, Path::new(path))?;
            mount::attach(tree, place)?;
        }
        Ok(Self {
            made,
            of: spec.scratch.clone(),
        })
    }
}

/// A file system with the task's secrets, if it has any.
///
/// # Errors
/// `EINVAL` for a name that is no file's; `E2BIG` for more than [`MAX_SECRETS`].
pub fn secrets(spec: &TaskSpec) -> Result<Option<OwnedFd>, Errno> {
    if spec.secrets.is_empty() {
        return Ok(None);
    }
    let total: usize = spec.secrets.iter().map(|(_, value)| value.len()).sum();
    if u64::try_from(total).map_or(true, |total| total > MAX_SECRETS) {
        return Err(Errno::TOOBIG);
    }
    // A page more for each, whose rest is empty, and one for their directory.
    let pages = u64::try_from(spec.secrets.len()).map_or(u64::MAX, |count| count + 1);
    let size = number(MAX_SECRETS.saturating_add(pages.saturating_mul(LARGEST_PAGE)))?;
    let options = [(c"size", size.as_c_str()), (c"mode", c"0700")];
    let restrict = Restrict::NO_SUID
        .with(Restrict::NO_DEVICES)
        .with(Restrict::NO_EXEC);
    let root = mount::new_detached(c"tmpfs", &options, restrict)?;
    for (name, value) in &spec.secrets {
        let plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
        if !plain {
            return Err(Errno::INVAL);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&root, name.as_str(), flags, Mode::from_raw_mode(0o400))?;
        let mut rest = value.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        give_away(&file, 0o400, spec)?;
    }
    // The mount's own descriptor names a place and opens nothing.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&root, ".", flags, Mode::empty())?;
    give_away(&directory, 0o500, spec)?;
    mount::restrict_one(&root, Restrict::READ_ONLY)?;
    Ok(Some(root))
}

/// Where the secrets are mounted, if there are any.
///
/// # Errors
/// None: the path is a constant.
pub fn secrets_place() -> Result<CString, Errno> {
    c_string(SECRETS_DIRECTORY)
}

impl Made {
    fn new(spec: &TaskSpec) -> Result<Self, Errno> {
        let root = scratch_root(spec)?;
        let mut parts = Vec::new();
        for index in 0..spec.scratch.directories.len() {
            parts.push(scratch_part(&root, &index.to_string())?);
        }
        let kept = kept_places(spec, &parts)?;
        for ((_, mode), part) in spec.scratch.directories.iter().zip(&parts) {
            give_away(part, *mode, spec)?;
        }
        Ok(Self { root, parts, kept })
    }
}

fn scratch_root(spec: &TaskSpec) -> Result<OwnedFd, Errno> {
    let size = number(spec.scratch.size)?;
    let inodes = number(spec.scratch.inodes)?;
    let options = [
        (c"size", size.as_c_str()),
        (c"nr_inodes", inodes.as_c_str()),
        (c"mode", c"0711"),
    ];
    let mut restrict = Restrict::NO_SUID.with(Restrict::NO_DEVICES);
    if !spec.scratch.executable {
        restrict = restrict.with(Restrict::NO_EXEC);
    }
    mount::new_detached(c"tmpfs", &options, restrict)
}

/// Opens a place for each mount that stays in sight, while the init may still
/// search every part.
fn kept_places(spec: &TaskSpec, parts: &[OwnedFd]) -> Result<Vec<(CString, OwnedFd)>, Errno> {
    let mut kept = Vec::new();
    for (target, directory) in &spec.scratch.kept {
        for ((place, _), part) in spec.scratch.directories.iter().zip(parts) {
            let below = target
                .strip_prefix(place.as_str())
                .and_then(|rest| rest.strip_prefix('/'));
            if let Some(relative) = below {
                let relative = Path::new(relative);
                mount_point(part, relative, *directory)?;
                kept.push((c_string(target)?, mount::beneath(part, relative)?));
            }
        }
    }
    Ok(kept)
}

/// Makes an empty place at `relative`.
fn mount_point(part: &OwnedFd, relative: &Path, directory: bool) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    let mut above: Vec<&Path> = relative.ancestors().skip(1).collect();
    above.retain(|path| !path.as_os_str().is_empty());
    for path in above.into_iter().rev() {
        existing(rustix::fs::mkdirat(part, path, mode))?;
    }
    if directory {
        return existing(rustix::fs::mkdirat(part, relative, mode));
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(part, relative, flags, mode).map(drop)
}

fn existing(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn scratch_part(root: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(root, name, flags, Mode::empty())
}

/// Makes a part the user's. Last, and mode before owner: the init has neither
/// CAP_DAC_OVERRIDE nor CAP_FOWNER.
fn give_away(part: &OwnedFd, mode: u32, spec: &TaskSpec) -> Result<(), Errno> {
    rustix::fs::fchmod(part, Mode::from_raw_mode(mode))?;
    let (user, group) = (Uid::from_raw(spec.user), Gid::from_raw(spec.group));
    rustix::fs::chownat(part, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)
}

/// Where each part is, and where it shall appear.
///
/// # Errors
/// `EINVAL` for a path with a NUL.
pub fn scratch_places(spec: &TaskSpec) -> Result<Vec<(CString, CString)>, Errno> {
    let places = spec.scratch.directories.iter().enumerate();
    places
        .map(|(index, (target, _))| {
            Ok((
                c_string(&format!("{SCRATCH_MOUNT}/{index}"))?,
                c_string(target)?,
            ))
        })
        .collect()
}
