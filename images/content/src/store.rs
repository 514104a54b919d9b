//! The store's folder, and who may change it at the moment.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::digest::{Algorithm, Digest};
use crate::draft;
use crate::error::{ContentError, Named};
use crate::listing::Kind;
use crate::partial::PARTIAL;

/// What a store's `format` file says.
const FORMAT: &str = "lakekeep-content 1\n";

/// A content-addressed store. Cheap to open; several processes may have one open.
///
/// ```text
/// format              the layout's version
/// lock                flock(2): shared by those who add, exclusive for who collects
/// blobs/ALG/HEX       files, mode 0400
/// folders/ALG/HEX/    root/ and its seal
/// names/SPACE/HEX     a digest and the name that leads to it
/// drafts/             unfinished; locked by who makes it, else nobody's
/// partial/ALG-HEX     beginnings of files; locked by who fetches the rest, else for the next who does
/// damaged/            what fsck set aside
/// ```
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    root: OwnedFd,
    blobs: [OwnedFd; 2],
    folders: [OwnedFd; 2],
    pub(crate) drafts: OwnedFd,
    pub(crate) partial: OwnedFd,
    pub(crate) names: OwnedFd,
    pub(crate) damaged: OwnedFd,
}

/// A right to add to a store, or to collect what is not used; ends when dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    _lock: OwnedFd,
}

impl Store {
    /// Opens the store in `path`; it is made if it is not there. Removes what processes that
    /// were killed left unfinished.
    ///
    /// # Errors
    /// [`ContentError::NotOurs`] if others own or may write the folder,
    /// [`ContentError::Format`] for another version's, else what the kernel says.
    pub fn open(path: &Path) -> Result<Store, ContentError> {
        let name = path.display().to_string();
        let root = open_root(path).named("open", &name)?;
        check_owner(path, &root)?;
        check_format(path, &root)?;
        let made = |folder: &OwnedFd, name: &str| {
            beneath::made_folder(folder, name).named("make the folder", name)
        };
        let by_algorithm = |kind: &str| {
            let folder = made(&root, kind)?;
            let [first, second] = Algorithm::ALL;
            Ok([made(&folder, first.name())?, made(&folder, second.name())?])
        };
        let store = Store {
            path: path.to_owned(),
            blobs: by_algorithm(Kind::Blob.folder())?,
            folders: by_algorithm(Kind::Folder.folder())?,
            drafts: made(&root, "drafts")?,
            partial: made(&root, PARTIAL)?,
            names: made(&root, "names")?,
            damaged: made(&root, "damaged")?,
            root,
        };
        draft::sweep(&store.drafts)?;
        Ok(store)
    }

    /// The store's folder, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a folder's tree, for mount(2) and the like. It says nothing about whether there is one.
    pub fn folder_path(&self, digest: &Digest) -> PathBuf {
        let kind = self.path.join(Kind::Folder.folder());
        let place = kind.join(digest.algorithm().name()).join(digest.hex());
        place.join(crate::folder::ROOT)
    }

    /// Keeps collectors away until what is being added has a name or a pin. Waits for one that runs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn share(&self) -> Result<Guard, ContentError> {
        let lock = self.lock_file()?;
        // Waiting may be interrupted by a signal (flock(2), EINTR).
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared))
            .named("lock", "lock")?;
        Ok(Guard { _lock: lock })
    }

    /// Keeps everybody else away who adds.
    ///
    /// # Errors
    /// [`ContentError::Busy`] while somebody adds or collects.
    pub fn collect(&self) -> Result<Guard, ContentError> {
        let lock = self.lock_file()?;
        match beneath::try_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(true) => Ok(Guard { _lock: lock }),
            Ok(false) => Err(ContentError::Busy {
                what: format!("the store {}", self.path.display()),
            }),
            Err(errno) => Err(errno).named("lock", "lock"),
        }
    }

    pub(crate) fn place(&self, kind: Kind, algorithm: Algorithm) -> &OwnedFd {
        let [sha256, blake3] = match kind {
            Kind::Blob => &self.blobs,
            Kind::Folder => &self.folders,
        };
        match algorithm {
            Algorithm::Sha256 => sha256,
            Algorithm::Blake3 => blake3,
        }
    }

    fn lock_file(&self) -> Result<OwnedFd, ContentError> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        beneath::create(&self.root, "lock", flags, Mode::RUSR | Mode::WUSR).named("open", "lock")
    }
}

/// The way to the store is the caller's business; its last part must be no link.
fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(path, flags, Mode::empty())
    };
    match open() {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let mut missing = vec![path];
    while let Some(parent) = missing.last().and_then(|path| path.parent()) {
        if parent.as_os_str().is_empty() || rustix::fs::stat(parent).is_ok() {
            break;
        }
        missing.push(parent);
    }
    for path in missing.iter().rev() {
        match rustix::fs::mkdir(*path, beneath::FOLDER) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    open()
}

/// Who can write to the folder could exchange what was proven.
fn check_owner(path: &Path, root: &OwnedFd) -> Result<(), ContentError> {
    let stat = rustix::fs::fstat(root).named("examine", &path.display().to_string())?;
    let user = rustix::process::geteuid().as_raw();
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid == user && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(ContentError::NotOurs {
        path: path.to_owned(),
        owner: stat.st_uid,
        mode,
        user,
    })
}

fn check_format(path: &Path, root: &OwnedFd) -> Result<(), ContentError> {
    let opened = beneath::open(root, "format", OFlags::RDONLY);
    let found = match opened {
        Ok(file) => read_short(&file).named("read", "format")?,
        Err(Errno::NOENT) => return write_format(root).named("write", "format"),
        Err(errno) => return Err(errno).named("open", "format"),
    };
    if found == FORMAT {
        return Ok(());
    }
    Err(ContentError::Format {
        path: path.to_owned(),
        found,
        known: FORMAT,
    })
}

fn read_short(file: &OwnedFd) -> Result<String, Errno> {
    let mut buffer = [0; 64];
    let count = rustix::io::read(file, &mut buffer)?;
    let read = buffer.get(..count).unwrap_or_default();
    Ok(String::from_utf8_lossy(read).into_owned())
}

/// Two processes that make the same store write the same file under names of their own.
fn write_format(root: &OwnedFd) -> Result<(), Errno> {
    let name = format!("format.{}", draft::random_name()?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = beneath::create(root, name.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&file, FORMAT.as_bytes())?;
    rustix::fs::fsync(&file)?;
    rustix::fs::renameat(root, name.as_str(), root, "format")?;
    rustix::fs::fsync(root)
}
