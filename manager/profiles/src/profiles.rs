//! The profiles in force: replaced as a whole or not at all, and written by
//! their owners.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lakekeep_egress_rules::EgressDoc;

use crate::ceilings::Ceilings;
use crate::document::ProfileDoc;
use crate::fault::ProfileErrors;
use crate::names::ProfileName;
use crate::owned::{self, Etag, Writer};
use crate::owner_rules;
use crate::personal::{PersonalError, PersonalProfile};
use crate::profile::Profile;
use crate::set::{Diff, LoadError, ProfileSet, Stored};

/// The name of a text that came through the API, in errors.
const FROM_CLIENT: &str = "profile";

/// Why a profile was not written. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileWriteError {
    /// The text is no profile, or says what its writer may not.
    #[error("{0}")]
    Refused(ProfileErrors),
    /// An administrator's file declares the profile.
    #[error(
        "profile \"{name}\" is declared in {}; change it there", .path.display()
    )]
    Declared {
        /// The profile.
        name: ProfileName,
        /// The file.
        path: PathBuf,
    },
    /// There is no profile of this name.
    #[error("there is no profile \"{name}\"; list the profiles for their names")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The profile has changed since the writer read it.
    #[error(
        "profile \"{name}\" has changed meanwhile (its version is {current}); \
         read it again and repeat the change"
    )]
    Conflict {
        /// The profile.
        name: ProfileName,
        /// Its version now.
        current: Etag,
    },
    /// A new profile was to be made, and there is one.
    #[error("profile \"{name}\" exists; choose another name, or give its version to replace it")]
    Exists {
        /// The profile.
        name: ProfileName,
    },
    /// The writer is neither owner nor administrator.
    #[error("{user} does not own profile \"{name}\"; ask {owner}, who does")]
    NotOwner {
        /// The profile.
        name: ProfileName,
        /// The writer.
        user: String,
        /// The owner.
        owner: String,
    },
    /// Only administrators make profiles here.
    #[error("{user} may not make profiles; ask an administrator to make it, with you as owner")]
    MayNotCreate {
        /// The writer.
        user: String,
    },
    /// The writer owns as many as one may.
    #[error(
        "{user} owns {limit} profiles, which is all one may; delete one, or ask an administrator"
    )]
    TooMany {
        /// The writer.
        user: String,
        /// How many one may own.
        limit: u32,
    },
    /// The manager has no folder for such profiles.
    #[error("profiles are only declared in files here; ask an administrator to add one")]
    NoFolder,
    /// The disk failed.
    #[error("{operation} of profile \"{name}\" in {}; look at the disk", .folder.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// The profile.
        name: ProfileName,
        /// Where.
        folder: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

/// The profiles in force.
///
/// Readers take the whole set, and keep it for one request: a reload in between
/// shows them no half of it.
#[derive(Debug)]
pub struct Profiles {
    declared: PathBuf,
    owned: Option<PathBuf>,
    /// With the administrator's rules of egress, which change while they are in force.
    ceilings: RwLock<Arc<Ceilings>>,
    set: RwLock<Arc<ProfileSet>>,
    /// Held while one of the two is replaced, so that of two changes none is lost.
    changing: Mutex<()>,
}

impl Profiles {
    /// Reads the folders: the administrator's, and the one for profiles that
    /// are written through the API, if there is one. Both must exist.
    ///
    /// # Errors
    ///
    /// Every [`LoadError`].
    pub fn open(
        declared: &Path,
        owned: Option<&Path>,
        ceilings: Ceilings,
    ) -> Result<Profiles, Vec<LoadError>> {
        let set = ProfileSet::load(declared, owned, &ceilings)?;
        Ok(Profiles {
            declared: declared.to_owned(),
            owned: owned.map(Path::to_owned),
            ceilings: RwLock::new(Arc::new(ceilings)),
            set: RwLock::new(Arc::new(set)),
            changing: Mutex::new(()),
        })
    }

    /// The set in force now.
    pub fn current(&self) -> Arc<ProfileSet> {
        self.set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The administrator's bounds.
    pub fn ceilings(&self) -> Arc<Ceilings> {
        self.ceilings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The folders that the set is read from.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.declared.as_path()).chain(self.owned.as_deref())
    }

    /// Reads the folders again, and puts all of it in force, or nothing: after
    /// an error the old set stays.
    ///
    /// # Errors
    ///
    /// Every [`LoadError`].
    pub fn reload(&self) -> Result<Diff, Vec<LoadError>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = ProfileSet::load(&self.declared, self.owned.as_deref(), &self.ceilings())?;
        let diff = self.current().diff(&fresh);
        self.replace(fresh);
        Ok(diff)
    }

    /// Puts other rules of egress in force as the bound of every profile, as
    /// [`Ceilings::with_egress`] takes them. The profiles are those that are in force, and not
    /// read again: a file that is wrong in the folder is no reason to keep an old bound.
    ///
    /// # Errors
    ///
    /// What a profile says that the new bound does not let it say; the old one stays then.
    pub fn bound_egress(&self, egress: Option<EgressDoc>) -> Result<Diff, Vec<LoadError>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let ceilings = Ceilings::clone(&self.ceilings()).with_egress(egress);
        let current = self.current();
        let mut fresh = ProfileSet::default();
        for old in current.iter() {
            let (path, text) = (old.path.clone(), old.text.clone());
            let read = Stored::read(path, text, old.declared, &ceilings)
                .map_err(|faults| faults.into_iter().map(LoadError::Field).collect::<Vec<_>>())?;
            fresh.profiles.insert(read.profile.name().clone(), read);
        }
        let diff = current.diff(&fresh);
        *self
            .ceilings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(ceilings);
        self.replace(fresh);
        Ok(diff)
    }

    fn replace(&self, fresh: ProfileSet) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
    }

    /// Writes a profile: a new one if `expected` is `None`, else in place of
    /// the version `expected`. It is in force when this returns. Ask the
    /// [`Authorizer`](crate::Authorizer) first; that the writer owns what is
    /// written, and stays within the ceilings, is checked here once more.
    ///
    /// # Errors
    ///
    /// [`ProfileWriteError`]; nothing has changed then.
    pub fn put(
        &self,
        text: &str,
        writer: &Writer,
        expected: Option<&Etag>,
    ) -> Result<(ProfileName, Etag), ProfileWriteError> {
        let folder = self.owned.as_deref().ok_or(ProfileWriteError::NoFolder)?;
        let doc = ProfileDoc::from_toml(FROM_CLIENT, text).map_err(ProfileWriteError::Refused)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Profile::check(&doc, &self.ceilings()).map_err(ProfileWriteError::Refused)?;
        let name = new.name().clone();
        let current = self.current();
        let old = current.get(name.as_str());
        match (old, expected) {
            (Some(old), _) => changeable(old, &name, expected)?,
            (None, Some(_)) => {
                return Err(ProfileWriteError::Unknown {
                    name: name.to_string(),
                });
            }
            (None, None) => {}
        }
        if !writer.administrator {
            let old = old.map(Stored::profile);
            self.owner_may(writer, &current, (&doc, &new, old))?;
        }
        owned::write(folder, &name, text).map_err(|source| ProfileWriteError::Io {
            operation: "writing",
            name: name.clone(),
            folder: folder.to_owned(),
            source,
        })?;
        let etag = Etag::of(text);
        let stored = Stored {
            profile: new,
            path: owned::path(folder, &name),
            declared: false,
            etag: etag.clone(),
            text: text.to_owned(),
        };
        let mut fresh = ProfileSet::clone(&current);
        fresh.profiles.insert(name.clone(), stored);
        self.replace(fresh);
        Ok((name, etag))
    }

    fn owner_may(
        &self,
        writer: &Writer,
        current: &ProfileSet,
        (doc, new, old): (&ProfileDoc, &Profile, Option<&Profile>),
    ) -> Result<(), ProfileWriteError> {
        let user = writer.user.clone();
        let ceilings = self.ceilings();
        match old {
            Some(old) => owns(writer, old)?,
            None if !ceilings.users_may_create => {
                return Err(ProfileWriteError::MayNotCreate { user });
            }
            None => {
                owns(writer, new)?;
                let own = current
                    .iter()
                    .filter(|stored| stored.profile().owner() == user);
                if let Some(limit) = ceilings.profiles_per_user
                    && own.count() >= limit as usize
                {
                    return Err(ProfileWriteError::TooMany { user, limit });
                }
            }
        }
        let change = owner_rules::Change {
            doc,
            new,
            old,
            ceilings: &ceilings,
        };
        owner_rules::check(&change).map_err(ProfileWriteError::Refused)
    }

    /// Deletes the version `expected` of a profile. Its sandboxes are the
    /// caller's to end.
    ///
    /// # Errors
    ///
    /// [`ProfileWriteError`]; nothing has changed then.
    pub fn delete(
        &self,
        name: &str,
        writer: &Writer,
        expected: &Etag,
    ) -> Result<(), ProfileWriteError> {
        let folder = self.owned.as_deref().ok_or(ProfileWriteError::NoFolder)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        let old = current
            .get(name)
            .ok_or_else(|| ProfileWriteError::Unknown {
                name: name.to_owned(),
            })?;
        let name = old.profile().name().clone();
        changeable(old, &name, Some(expected))?;
        if !writer.administrator {
            owns(writer, old.profile())?;
        }
        owned::remove(folder, &name).map_err(|source| ProfileWriteError::Io {
            operation: "deletion",
            name: name.clone(),
            folder: folder.to_owned(),
            source,
        })?;
        let mut fresh = ProfileSet::clone(&current);
        fresh.profiles.remove(&name);
        self.replace(fresh);
        Ok(())
    }

    /// The user's personal profile: the one that exists, or a new one from the
    /// template. Call it at a login; it does nothing after the first.
    ///
    /// # Errors
    ///
    /// [`PersonalError`].
    pub fn personal(
        &self,
        template: &PersonalProfile,
        user: &str,
    ) -> Result<ProfileName, PersonalError> {
        let instance = template.instance(user, &self.current(), &self.ceilings())?;
        let Some(text) = instance.text else {
            return Ok(instance.name);
        };
        let writer = Writer {
            user: user.to_owned(),
            administrator: true,
        };
        match self.put(&text, &writer, None) {
            Ok((name, _)) => Ok(name),
            // Another login of the same user was faster.
            Err(ProfileWriteError::Exists { name })
                if self
                    .current()
                    .get(name.as_str())
                    .is_some_and(|stored| stored.profile().owner() == user) =>
            {
                Ok(name)
            }
            Err(source) => Err(PersonalError::Write {
                user: user.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    /// The user's personal profile, if it has been made; it is not made now.
    ///
    /// # Errors
    ///
    /// [`PersonalError`].
    pub fn personal_made(
        &self,
        template: &PersonalProfile,
        user: &str,
    ) -> Result<Option<ProfileName>, PersonalError> {
        let instance = template.instance(user, &self.current(), &self.ceilings())?;
        Ok(instance.text.is_none().then_some(instance.name))
    }
}

fn changeable(
    old: &Stored,
    name: &ProfileName,
    expected: Option<&Etag>,
) -> Result<(), ProfileWriteError> {
    let name = name.clone();
    if old.declared() {
        let path = old.path().to_owned();
        return Err(ProfileWriteError::Declared { name, path });
    }
    match expected {
        None => Err(ProfileWriteError::Exists { name }),
        Some(expected) if expected != old.etag() => {
            let current = old.etag().clone();
            Err(ProfileWriteError::Conflict { name, current })
        }
        Some(_) => Ok(()),
    }
}

fn owns(writer: &Writer, profile: &Profile) -> Result<(), ProfileWriteError> {
    if profile.owner() == writer.user {
        return Ok(());
    }
    Err(ProfileWriteError::NotOwner {
        name: profile.name().clone(),
        user: writer.user.clone(),
        owner: profile.owner().to_owned(),
    })
}
