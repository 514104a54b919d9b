//! Exact versions: from the lock, or resolved.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use lakekeep_build::{Asker, BuildError, Lock, MAX_LOCK_BYTES};
use lakekeep_environment::Digest;

use super::inside::Room;
use super::{EnvironmentError, Wanted};

/// A lock for what is wanted.
pub struct Found {
    pub lock: Lock,
    /// As it is written.
    pub text: String,
    /// Whether it was resolved now.
    pub resolved: bool,
    /// Where it is to be written, if it is.
    to: Option<PathBuf>,
}

/// The lock that is there, if it fits; else what uv resolves.
pub fn find(
    wanted: &Wanted<'_>,
    room: &Room<'_>,
    asker: &Asker<'_>,
) -> Result<Found, EnvironmentError> {
    let base = &wanted.base;
    let python = format!("{} {} {}", base.soabi, base.version, base.libc);
    let key = wanted.spec.key(&wanted.choice, &python, &wanted.indexes);
    let named = wanted.arguments.lock.clone();
    let place = named.or_else(|| wanted.spec.lock_beside());
    let known = match &place {
        Some(path) => known(path, &key, wanted)?,
        None => None,
    };
    if let Some(lock) = known {
        return Ok(Found {
            text: lock.to_text(wanted.spec.name(), &key),
            lock,
            resolved: false,
            to: None,
        });
    }
    let said = room.run(&asker.resolve())?;
    let lock = Lock::parse("what uv resolved", &said)?;
    Ok(Found {
        text: lock.to_text(wanted.spec.name(), &key),
        lock,
        resolved: true,
        to: place,
    })
}

/// `None`: there is none that fits, and one may be made.
fn known(path: &Path, key: &Digest, wanted: &Wanted<'_>) -> Result<Option<Lock>, EnvironmentError> {
    let unfit = |why| BuildError::Unfit {
        path: path.to_owned(),
        why,
    };
    let is_lock = wanted.spec.lock_beside().is_none();
    // What a uv.lock says is taken as it is: nothing is resolved.
    let locked = wanted.arguments.locked && !is_lock;
    let Some(text) = read(path)? else {
        return match locked {
            true => Err(unfit("it is not there").into()),
            false => Ok(None),
        };
    };
    let Some(there) = Lock::key_of(&text) else {
        return Err(BuildError::Foreign {
            path: path.to_owned(),
        }
        .into());
    };
    match (there == *key, locked) {
        (true, _) if !wanted.arguments.upgrade => {
            Ok(Some(Lock::parse(&path.display().to_string(), &text)?))
        }
        (false, true) => Err(unfit(
            "the list, its choice, the indexes or the interpreter have changed since it was made",
        )
        .into()),
        _ => Ok(None),
    }
}

fn read(path: &Path) -> Result<Option<String>, BuildError> {
    let unreadable = |error| BuildError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    let mut text = String::new();
    // One byte more than there may be: the parser then refuses it.
    file.take(MAX_LOCK_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(Some(text))
}

impl Found {
    /// Writes it, in one step, where it is to be; gives that place.
    pub fn write(&self) -> Result<Option<PathBuf>, BuildError> {
        let Some(path) = &self.to else {
            return Ok(None);
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(self.text.as_bytes())?;
            readable(file.as_file())?;
            file.persist(path)?;
            Ok(())
        });
        match written {
            Ok(()) => Ok(Some(path.clone())),
            Err(error) => Err(BuildError::Unwritable {
                path: path.clone(),
                error,
            }),
        }
    }
}

/// It goes into a repository, beside the list: for all to read.
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}
