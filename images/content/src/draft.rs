//! Files and folders that are being made: locked by their maker, and whoever finds
//! one that is not locked removes it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{ContentError, Named};
use crate::tree;

/// Bytes of chance in a name.
const RANDOM: usize = 16;

/// An unfinished file or folder; removed when dropped, by the next [`sweep`] when killed.
#[derive(Debug)]
pub(crate) struct Draft {
    drafts: OwnedFd,
    name: String,
    file: OwnedFd,
}

impl Draft {
    /// A file, open for writing and reading.
    pub(crate) fn file(drafts: impl AsFd) -> Result<Draft, ContentError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let drafts = drafts.as_fd();
        Draft::new(drafts, |name| {
            beneath::create(drafts, name, flags, Mode::RUSR)
        })
    }

    /// An empty folder.
    pub(crate) fn folder(drafts: impl AsFd) -> Result<Draft, ContentError> {
        let drafts = drafts.as_fd();
        Draft::new(drafts, |name| {
            rustix::fs::mkdirat(drafts, name, beneath::FOLDER)?;
            beneath::folder(drafts, name)
        })
    }

    fn new(
        drafts: impl AsFd,
        make: impl Fn(&str) -> Result<OwnedFd, Errno>,
    ) -> Result<Draft, ContentError> {
        loop {
            let name = random_name().named("draw a name for", "drafts")?;
            let file = match make(&name) {
                // Swept between mkdirat and open.
                Err(Errno::NOENT) => continue,
                made => made.named("make", "drafts")?,
            };
            // Between the call that makes it and the lock it is nobody's, and may be swept.
            let locked = beneath::try_lock(&file, FlockOperation::NonBlockingLockExclusive)
                .named("lock", "drafts")?;
            if locked && beneath::is_still(&drafts, &name, &file).named("examine", "drafts")? {
                let drafts = beneath::copy(&drafts).named("copy", "drafts")?.into();
                return Ok(Draft { drafts, name, file });
            }
        }
    }

    /// A file that was made and locked elsewhere, under `name` in `folder`.
    pub(crate) fn adopted(
        folder: impl AsFd,
        name: String,
        file: OwnedFd,
    ) -> Result<Draft, ContentError> {
        let drafts = beneath::copy(&folder).named("copy", "partial")?.into();
        Ok(Draft { drafts, name, file })
    }

    /// What is being made.
    pub(crate) fn as_file(&self) -> &OwnedFd {
        &self.file
    }

    /// Moves it, durable already, to where it belongs. `false`: something is there, and stays.
    pub(crate) fn place(self, folder: impl AsFd, name: &str) -> Result<bool, ContentError> {
        let moved = rustix::fs::renameat_with(
            &self.drafts,
            self.name.as_str(),
            &folder,
            name,
            RenameFlags::NOREPLACE,
        );
        match moved {
            Ok(()) => {}
            // A folder that is not empty: the same answer in other words (rename(2)).
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(false),
            Err(errno) => return Err(errno).named("rename", name),
        }
        rustix::fs::fsync(&folder).named("sync the folder of", name)?;
        Ok(true)
    }

    /// The same, in place of what may be there.
    pub(crate) fn replace(self, folder: impl AsFd, name: &str) -> Result<(), ContentError> {
        rustix::fs::renameat(&self.drafts, self.name.as_str(), &folder, name)
            .named("rename", name)?;
        rustix::fs::fsync(&folder).named("sync the folder of", name)
    }
}

impl Drop for Draft {
    /// Finished ones have another name by now. What cannot be removed is swept later.
    fn drop(&mut self) {
        if matches!(
            beneath::is_still(&self.drafts, &self.name, &self.file),
            Ok(true)
        ) {
            tree::remove_or_leave(&self.drafts, &self.name);
        }
    }
}

/// Removes what is nobody's: those who made it have died.
pub(crate) fn sweep(drafts: &OwnedFd) -> Result<(), ContentError> {
    for name in beneath::names(drafts).named("list", "drafts")? {
        let shown = name.to_string_lossy().into_owned();
        let open = beneath::open(drafts, &name, OFlags::RDONLY | OFlags::NONBLOCK);
        match open {
            Ok(file) => {
                let free = beneath::try_lock(&file, FlockOperation::NonBlockingLockExclusive);
                if free.named("lock", &shown)? {
                    tree::remove(drafts, &name)?;
                }
            }
            Err(Errno::NOENT) => {}
            // Nothing that is made here: a link, a device.
            Err(_) => match rustix::fs::unlinkat(drafts, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).named("remove", &shown),
            },
        }
    }
    Ok(())
}

/// A name that nobody has prepared.
pub(crate) fn random_name() -> Result<String, Errno> {
    use std::fmt::Write;
    let mut bytes = [0; RANDOM];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    }))
}
