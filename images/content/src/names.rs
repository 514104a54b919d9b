//! Names that lead to digests.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use crate::beneath;
use crate::digest::{Algorithm, Digest};
use crate::draft::Draft;
use crate::error::{ContentError, Named};
use crate::store::Store;

/// Bytes that a name may have.
const LONGEST: usize = 1024;

/// Bytes of a name's file: a digest, a name, two ends of line.
const LONGEST_FILE: u64 = LONGEST as u64 + 128;

/// Names of one sort, such as `images`: 1 to 32 lower-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(&'static str);

impl Space {
    /// A sort of names; anything but 1 to 32 lower-case letters is no name of one.
    pub const fn new(name: &'static str) -> Option<Space> {
        let bytes = name.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            if !bytes[index].is_ascii_lowercase() {
                return None;
            }
            index += 1;
        }
        if bytes.is_empty() || bytes.len() > 32 {
            return None;
        }
        Some(Space(name))
    }
}

/// A name and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// What it leads to.
    pub digest: Digest,
    /// When it was last set or touched; to the second.
    pub used: SystemTime,
}

/// A text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 1024 bytes and no control characters")]
pub struct NotAName;

fn check(text: &str) -> Result<(), NotAName> {
    if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(NotAName);
    }
    Ok(())
}

/// A name's file: of the name only a digest reaches the file system.
fn file_name(text: &str) -> String {
    Digest::of(Algorithm::Blake3, text.as_bytes()).hex()
}

impl Store {
    /// Lets a name lead to `digest`, in one step, in place of what it led to.
    ///
    /// # Errors
    /// What the kernel says; `EINVAL` for what is no name ([`NotAName`]).
    pub fn set_name(&self, space: Space, text: &str, digest: &Digest) -> Result<(), ContentError> {
        if check(text).is_err() {
            return Err(Errno::INVAL).named("use the name", text);
        }
        let place = self.space(space)?;
        let draft = Draft::file(&self.drafts)?;
        let content = format!("{digest}\n{text}\n");
        let written =
            rustix::io::write(draft.as_file(), content.as_bytes()).named("write", text)?;
        if written != content.len() {
            return Err(Errno::NOSPC).named("write", text);
        }
        rustix::fs::fsync(draft.as_file()).named("sync", text)?;
        draft.replace(place, &file_name(text))
    }

    /// What a name leads to; `None`: nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn name(&self, space: Space, text: &str) -> Result<Option<Name>, ContentError> {
        let place = self.space(space)?;
        Ok(read(&place, &file_name(text))?.filter(|name| name.text == text))
    }

    /// Notes that a name is used now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn touch_name(&self, space: Space, text: &str) -> Result<(), ContentError> {
        let place = self.space(space)?;
        match beneath::open(&place, file_name(text), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => beneath::touch(&file).named("touch", text),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).named("open", text),
        }
    }

    /// Forgets a name; `false`: there was none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_name(&self, space: Space, text: &str) -> Result<bool, ContentError> {
        let place = self.space(space)?;
        match rustix::fs::unlinkat(&place, file_name(text), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno).named("remove", text),
        }
        rustix::fs::fsync(&place).named("sync the folder of", text)?;
        Ok(true)
    }

    /// All names of a sort, sorted. Files that hold none are left to [`Store::fsck`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn names(&self, space: Space) -> Result<Vec<Name>, ContentError> {
        let place = self.space(space)?;
        let mut found = Vec::new();
        for file in beneath::names(&place).named("list", space.0)? {
            found.extend(read(&place, &file.to_string_lossy())?);
        }
        found.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(found)
    }

    fn space(&self, space: Space) -> Result<OwnedFd, ContentError> {
        beneath::made_folder(&self.names, space.0).named("make the folder", space.0)
    }
}

/// `None`: nothing is there, or it is no name's file.
pub(crate) fn read(place: &OwnedFd, file: &str) -> Result<Option<Name>, ContentError> {
    let opened = match beneath::open(place, file, OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        opened => std::fs::File::from(opened.named("open", file)?),
    };
    let stat = rustix::fs::fstat(&opened).named("examine", file)?;
    let mut text = String::new();
    // A folder, or what is not text.
    if opened.take(LONGEST_FILE).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    let parsed = text
        .strip_suffix('\n')
        .and_then(|text| text.split_once('\n'));
    Ok(parsed.and_then(|(digest, text)| {
        let name = Name {
            text: text.to_owned(),
            digest: Digest::from_str(digest).ok()?,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(beneath::touched(&stat)),
        };
        (check(text).is_ok() && file_name(text) == file).then_some(name)
    }))
}
