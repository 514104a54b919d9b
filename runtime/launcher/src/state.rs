//! The state folder, and the sweep of what dead launchers left.
//!
//! A launcher's whole trace on the host is a folder, a cgroup of the same name
//! and byte locks. The folder is locked while its launcher lives; one that can
//! be locked by another is a dead launcher's, and everything of that name goes.
//! There is no journal to replay: the lock is the journal, written by the
//! kernel. All files of a sandbox lie on a tmpfs in the launcher's own mount
//! table and end with it.

use std::fs::File;
use std::path::{Path, PathBuf};

use lakekeep_sys::error::Context;
use lakekeep_sys::{Errno, Error, lock, mount};
use rustix::fs::{Mode, OFlags};

use crate::cgroups::{Claim, Groups};
use crate::error::StartError;
use crate::folder;

/// Bytes of a launcher's tmpfs: bundles, skeletons, generated files.
const FILES_SIZE: &std::ffi::CStr = c"256m";

/// Losing the race for a new folder this often in a row means that it is none.
const CLAIM_TRIES: u32 = 8;

/// The folder of one launcher.
#[derive(Debug)]
pub struct State {
    /// The folder of all launchers.
    root: PathBuf,
    name: String,
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
    /// This launcher's cgroup.
    cgroup: Option<Claim>,
}

impl State {
    /// Makes this launcher's folder below `root`, after removing what launchers
    /// that no longer live left there.
    ///
    /// Without privilege the folders were made before this process entered its
    /// user namespace, by the user that they belong to.
    pub fn open(root: &Path, groups: &Groups, privileged: bool) -> Result<Self, StartError> {
        let launchers = root.join("launchers");
        if privileged {
            folder::make_private(root)?;
            folder::make_private(&launchers)?;
        }
        let state = Self::claim_both(root, &launchers, groups)?;
        sweep(&launchers, &state.name, groups)?;
        groups.sweep_dead()?;
        let options = [(c"size", FILES_SIZE), (c"mode", c"0711")];
        let restrict = mount::Restrict::NO_SUID.with(mount::Restrict::NO_DEVICES);
        let files = mount::new_detached(c"tmpfs", &options, restrict)
            .context("mount tmpfs", state.path.display().to_string())?;
        let place =
            mount::host_place(&state.path).context("open", state.path.display().to_string())?;
        mount::attach(&files, &place).context("move_mount", state.path.display().to_string())?;
        Ok(state)
    }

    /// A folder and a cgroup of the same name, both locked. A name for which one of them
    /// was lost to a sweeper is given up.
    fn claim_both(root: &Path, launchers: &Path, groups: &Groups) -> Result<Self, StartError> {
        for _ in 0..CLAIM_TRIES {
            let mut state = Self::claim(root, launchers)?;
            state.cgroup = groups.claim(&state.name)?;
            if state.cgroup.is_some() {
                return Ok(state);
            }
            // Its folder, unlocked from here on, is the next sweeper's.
        }
        Err(Error::new("flock", "a launcher's cgroup", Errno::BUSY).into())
    }

    /// A folder of a name that no living or dead launcher has, locked. A sweeper
    /// that lists the folders right now may find the new one before it is locked,
    /// and removes it: then another is made.
    fn claim(root: &Path, launchers: &Path) -> Result<Self, Error> {
        for _ in 0..CLAIM_TRIES {
            let name = name()?;
            let path = launchers.join(&name);
            let object = path.display().to_string();
            rustix::fs::mkdir(&path, Mode::from_raw_mode(0o711)).context("mkdir", &object)?;
            let lock = match directory(&path) {
                Err(error) if error.errno == Errno::NOENT => continue,
                other => other?,
            };
            if lock::try_lock(&lock).context("flock", &object)? && path.exists() {
                return Ok(Self {
                    root: root.to_path_buf(),
                    name,
                    path,
                    _lock: lock,
                    cgroup: None,
                });
            }
        }
        Err(Error::new(
            "flock",
            launchers.display().to_string(),
            Errno::BUSY,
        ))
    }

    /// Removes what dead launchers left since this one started.
    pub fn sweep(&self, groups: &Groups) -> Result<(), StartError> {
        sweep(&self.root.join("launchers"), &self.name, groups)?;
        groups.sweep_dead()
    }

    /// The folder of all launchers' state.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// This launcher's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This launcher's name: also that of its cgroup.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // The mount ends with this process's mount table; the folder below it can
        // go only once nothing is mounted on it here.
        let Ok(path) = std::ffi::CString::new(self.path.as_os_str().as_encoded_bytes()) else {
            return;
        };
        // INVAL: it failed to open, and nothing was mounted yet.
        let free = matches!(mount::detach(&path), Ok(()) | Err(Errno::INVAL));
        if free && std::fs::remove_dir(&self.path).is_err() {
            // The next launcher's sweep takes it.
        }
    }
}

/// Removes what dead launchers left, and makes nothing.
pub fn sweep_all(root: &Path, groups: &Groups, privileged: bool) -> Result<(), StartError> {
    let launchers = root.join("launchers");
    if privileged && !launchers.is_dir() {
        return groups.sweep_dead();
    }
    sweep(&launchers, "", groups)?;
    groups.sweep_dead()?;
    Ok(groups.prune()?)
}

fn name() -> Result<String, Error> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("getrandom", "launcher name")?;
    Ok(format!("l{:016x}", u64::from_le_bytes(bytes)))
}

fn directory(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .context("open", path.display().to_string())
}

fn sweep(launchers: &Path, own: &str, groups: &Groups) -> Result<(), StartError> {
    let object = launchers.display().to_string();
    for entry in std::fs::read_dir(launchers).context("opendir", &object)? {
        let name = entry.context("readdir", &object)?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != own) else {
            continue;
        };
        sweep_one(&launchers.join(name), name, groups)?;
    }
    Ok(())
}

fn sweep_one(path: &Path, name: &str, groups: &Groups) -> Result<(), StartError> {
    // Gone meanwhile, or somebody else's file: not a launcher's.
    let Ok(folder) = directory(path) else {
        return Ok(());
    };
    if !lock::try_lock(&folder).context("flock", path.display().to_string())? {
        return Ok(());
    }
    groups.sweep(name)?;
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("rmdir", path.display().to_string(), &error).into())
        }
        _ => Ok(()),
    }
}
