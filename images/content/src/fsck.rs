//! Proving everything that is stored, and setting aside what is not what it says.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::beneath;
use crate::digest::{Algorithm, Digest};
use crate::draft::random_name;
use crate::error::{ContentError, Named};
use crate::listing::Kind;
use crate::names;
use crate::seal::Seal;
use crate::store::Store;

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Files that were read through.
    pub blobs: u64,
    /// Trees that were read through.
    pub folders: u64,
    /// Names that were read.
    pub names: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is not as it should be, and was set aside.
    pub damage: Vec<Damage>,
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it was, such as `blobs/sha256/…`.
    pub what: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// Its name in the store's folder `damaged` now.
    pub aside: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; now damaged/{}", self.what, self.why, self.aside)
    }
}

const CONTENT: &str = "its content is not what its digest says";
const TREE: &str = "its tree is not what its seal says";
const STRANGE: &str = "the store puts nothing of this kind or name here";
const NOWHERE: &str = "it leads to nothing that is stored";

impl Store {
    /// Reads everything through. What is damaged is moved to the store's folder `damaged`, where
    /// nothing uses it; what it was can then be got again.
    ///
    /// # Errors
    /// What the kernel says, which is not about content.
    pub fn fsck(&self) -> Result<FsckReport, ContentError> {
        let mut report = FsckReport::default();
        for kind in [Kind::Blob, Kind::Folder] {
            for algorithm in Algorithm::ALL {
                self.check_place(kind, algorithm, &mut report)?;
            }
        }
        self.check_names(&mut report)?;
        Ok(report)
    }

    fn check_place(
        &self,
        kind: Kind,
        algorithm: Algorithm,
        report: &mut FsckReport,
    ) -> Result<(), ContentError> {
        let place = self.place(kind, algorithm);
        for name in beneath::names(place).named("list", kind.folder())? {
            let what = format!(
                "{}/{}/{}",
                kind.folder(),
                algorithm.name(),
                name.to_string_lossy()
            );
            let digest = Digest::from_hex(algorithm, &name.to_string_lossy()).ok();
            let fault = match digest.filter(|_| is_of(kind, place, &name)) {
                None => Some(STRANGE),
                Some(digest) => match kind {
                    Kind::Blob => self.check_blob(&digest, report)?,
                    Kind::Folder => self.check_folder(&digest, report)?,
                },
            };
            if let Some(why) = fault {
                report
                    .damage
                    .extend(self.set_aside(place, &name, &what, why)?);
            }
        }
        Ok(())
    }

    fn check_blob(
        &self,
        digest: &Digest,
        report: &mut FsckReport,
    ) -> Result<Option<&'static str>, ContentError> {
        let blob = match self.open_unused(digest) {
            // Removed meanwhile.
            Err(ContentError::Absent { .. }) => return Ok(None),
            opened => opened?,
        };
        report.blobs += 1;
        report.bytes += blob.bytes();
        match blob.verified() {
            Ok(_) => Ok(None),
            Err(ContentError::Damaged { .. }) => Ok(Some(CONTENT)),
            // The disk's own word for the same.
            Err(ContentError::Kernel {
                errno: Errno::IO, ..
            }) => Ok(Some(CONTENT)),
            Err(error) => Err(error),
        }
    }

    fn check_folder(
        &self,
        digest: &Digest,
        report: &mut FsckReport,
    ) -> Result<Option<&'static str>, ContentError> {
        let said = match self.seal(digest) {
            Err(ContentError::Absent { .. }) => return Ok(None),
            Err(ContentError::Damaged { .. }) => return Ok(Some(TREE)),
            said => said?,
        };
        let outer = self.folder_file(digest)?;
        let root = match beneath::folder(&outer, crate::folder::ROOT) {
            Ok(root) => root,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Some(TREE)),
            Err(errno) => return Err(errno).named("open", &digest.to_string()),
        };
        report.folders += 1;
        let found = match Seal::of(&root) {
            Ok(found) => found,
            Err(ContentError::Unkept { .. } | ContentError::TooDeep { .. }) => {
                return Ok(Some(TREE));
            }
            Err(ContentError::Kernel {
                errno: Errno::IO | Errno::ACCESS | Errno::NOENT,
                ..
            }) => return Ok(Some(TREE)),
            Err(error) => return Err(error),
        };
        report.bytes += found.bytes;
        Ok((found != said).then_some(TREE))
    }

    fn check_names(&self, report: &mut FsckReport) -> Result<(), ContentError> {
        for space in beneath::names(&self.names).named("list", "names")? {
            let shown = space.to_string_lossy().into_owned();
            let place = match beneath::folder(&self.names, &space) {
                Ok(place) => place,
                Err(_) => {
                    let what = format!("names/{shown}");
                    let aside = self.set_aside(&self.names, &space, &what, STRANGE)?;
                    report.damage.extend(aside);
                    continue;
                }
            };
            for file in beneath::names(&place).named("list", &shown)? {
                let name = names::read(&place, &file.to_string_lossy())?;
                report.names += 1;
                let what = match &name {
                    Some(name) => format!("name {} of {shown}", name.text),
                    None => format!("names/{shown}/{}", file.to_string_lossy()),
                };
                let why = match name {
                    None => STRANGE,
                    Some(name) if self.leads_nowhere(&name.digest)? => NOWHERE,
                    Some(_) => continue,
                };
                report
                    .damage
                    .extend(self.set_aside(&place, &file, &what, why)?);
            }
        }
        Ok(())
    }

    fn leads_nowhere(&self, digest: &Digest) -> Result<bool, ContentError> {
        Ok(self.stored(Kind::Blob, *digest)?.is_none()
            && self.stored(Kind::Folder, *digest)?.is_none())
    }

    /// `None`: it is gone already.
    fn set_aside(
        &self,
        place: &OwnedFd,
        name: &OsStr,
        what: &str,
        why: &'static str,
    ) -> Result<Option<Damage>, ContentError> {
        let aside = random_name().named("draw a name for", what)?;
        match rustix::fs::renameat(place, name, &self.damaged, aside.as_str()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).named("set aside", what),
        }
        rustix::fs::fsync(&self.damaged).named("sync", "damaged")?;
        Ok(Some(Damage {
            what: what.to_owned(),
            why,
            aside,
        }))
    }
}

/// Whether what is there is what the store puts there.
fn is_of(kind: Kind, place: &OwnedFd, name: &OsStr) -> bool {
    let wanted = match kind {
        Kind::Blob => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
    };
    rustix::fs::statat(place, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == wanted)
}
