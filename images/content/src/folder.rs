//! Trees under a digest of their maker's choice, with a seal of their content.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::digest::Digest;
use crate::draft::Draft;
use crate::error::{ContentError, Named};
use crate::listing::Kind;
use crate::pin::Pin;
use crate::seal::Seal;
use crate::store::Store;

/// The tree itself, in a stored folder.
pub(crate) const ROOT: &str = "root";

/// The file beside it that holds its seal.
const SEAL: &str = "seal";

/// Permissions of a tree's root: others can pass, once it is mounted somewhere. The store's own
/// folder keeps them out.
const ROOT_MODE: Mode = Mode::from_raw_mode(0o755);

/// A tree that is being made; gone when dropped before [`Staging::commit`], or when killed.
#[derive(Debug)]
pub struct Staging<'store> {
    store: &'store Store,
    draft: Draft,
    root: OwnedFd,
}

/// A stored tree. It stays while this is alive.
#[derive(Debug)]
pub struct Folder {
    pin: Pin,
    root: OwnedFd,
    path: PathBuf,
}

impl Staging<'_> {
    /// The tree's root, empty at first.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Seals the tree, makes it durable, and files it under `digest`. A tree that is there already
    /// stays, and this one is dropped.
    ///
    /// # Errors
    /// [`ContentError::Unkept`] for anything but files, folders and links, [`ContentError::TooDeep`],
    /// or what the kernel says.
    pub fn commit(self, digest: &Digest) -> Result<Folder, ContentError> {
        let outer = self.draft.as_file();
        let (early, seal) = std::thread::scope(|scope| {
            // Most of it goes to the disk while it is read once more.
            let early = scope.spawn(|| rustix::fs::syncfs(outer));
            let seal = Seal::of(&self.root);
            (early.join().unwrap_or(Err(Errno::IO)), seal)
        });
        // Each failure of the disk is told once.
        early.named("sync", &digest.to_string())?;
        let seal = seal?;
        write_seal(outer, &seal).named("write the seal of", &digest.to_string())?;
        // One call for the tree's thousands of files, in place of one for each; what is left of them
        // now is little.
        rustix::fs::syncfs(outer).named("sync", &digest.to_string())?;
        let place = self.store.place(Kind::Folder, digest.algorithm());
        self.draft.place(place, &digest.hex())?;
        self.store.folder(digest)
    }
}

impl Folder {
    /// The tree's root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where it is on the host, for mount(2) and the like.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Under which digest it is filed.
    pub fn digest(&self) -> &Digest {
        self.pin.digest()
    }

    /// The lock that keeps it.
    pub fn into_pin(self) -> Pin {
        self.pin
    }
}

impl Store {
    /// Begins a tree.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stage(&self) -> Result<Staging<'_>, ContentError> {
        let draft = Draft::folder(&self.drafts)?;
        let root = make_root(draft.as_file()).named("make", "drafts")?;
        Ok(Staging {
            store: self,
            draft,
            root,
        })
    }

    /// Opens and pins a stored tree; it counts as used now.
    ///
    /// # Errors
    /// [`ContentError::Absent`], or what the kernel says.
    pub fn folder(&self, digest: &Digest) -> Result<Folder, ContentError> {
        self.pinned(self.pin(Kind::Folder, digest)?)
    }

    /// The same, but to look at it is no use of it.
    ///
    /// # Errors
    /// As [`Store::folder`].
    pub fn look_at_folder(&self, digest: &Digest) -> Result<Folder, ContentError> {
        self.pinned(self.pin_unused(Kind::Folder, digest)?)
    }

    fn pinned(&self, pin: Pin) -> Result<Folder, ContentError> {
        let digest = *pin.digest();
        let root = beneath::folder(&pin.file, ROOT).named("open", &digest.to_string())?;
        let path = self.folder_path(&digest);
        Ok(Folder { pin, root, path })
    }

    /// The seal that a stored tree got when it was filed.
    ///
    /// # Errors
    /// [`ContentError::Absent`], [`ContentError::Damaged`] if it cannot be read as one.
    pub fn seal(&self, digest: &Digest) -> Result<Seal, ContentError> {
        let outer = self.folder_file(digest)?;
        let damaged = ContentError::Damaged { digest: *digest };
        match beneath::open(&outer, SEAL, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => {
                let mut text = [0; 256];
                let count = rustix::io::read(&file, &mut text)
                    .named("read the seal of", &digest.to_string())?;
                let text = text.get(..count).unwrap_or_default();
                Seal::parse(&String::from_utf8_lossy(text)).ok_or(damaged)
            }
            Err(Errno::NOENT | Errno::LOOP) => Err(damaged),
            Err(errno) => Err(errno).named("open the seal of", &digest.to_string()),
        }
    }

    pub(crate) fn folder_file(&self, digest: &Digest) -> Result<OwnedFd, ContentError> {
        let place = self.place(Kind::Folder, digest.algorithm());
        match beneath::folder(place, digest.hex()) {
            Err(Errno::NOENT) => Err(ContentError::Absent { digest: *digest }),
            opened => opened.named("open", &digest.to_string()),
        }
    }
}

fn make_root(outer: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(outer, ROOT, beneath::FOLDER)?;
    let root = beneath::folder(outer, ROOT)?;
    // Not by mkdirat, which heeds the umask.
    rustix::fs::fchmod(&root, ROOT_MODE)?;
    Ok(root)
}

fn write_seal(outer: &OwnedFd, seal: &Seal) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = beneath::create(outer, SEAL, flags, Mode::RUSR)?;
    rustix::io::write(&file, seal.to_string().as_bytes())?;
    Ok(())
}
