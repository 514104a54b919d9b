//! A set of profiles, read from folders as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::ceilings::Ceilings;
use crate::document::{MAX_DOCUMENT_BYTES, ProfileDoc};
use crate::fault::Fault;
use crate::folder::{Bounds, FolderFault, read_folder};
use crate::names::ProfileName;
use crate::owned::Etag;
use crate::profile::Profile;

/// Most files of one folder.
const MOST_FILES: usize = 10_000;

const FILES: Bounds = Bounds {
    suffix: ".toml",
    files: MOST_FILES,
    bytes: MAX_DOCUMENT_BYTES as u64,
};

/// A profile, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub(crate) profile: Profile,
    pub(crate) path: PathBuf,
    pub(crate) declared: bool,
    pub(crate) etag: Etag,
    pub(crate) text: String,
}

impl Stored {
    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file of the administrator's declares it: it then cannot be
    /// changed through the API.
    pub fn declared(&self) -> bool {
        self.declared
    }

    /// The version, for [`Profiles::put`](crate::Profiles::put).
    pub fn etag(&self) -> &Etag {
        &self.etag
    }

    /// The document's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why a set was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A folder or a file could not be read, or must not be.
    #[error("{}: {why}; {remedy}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A field of a document.
    #[error("{0}")]
    Field(Fault),
    /// Two files have profiles of the same name.
    #[error(
        "{}: profile \"{name}\" is in {} already; give one of the two another name",
        .path.display(), .first.display()
    )]
    Duplicate {
        /// The name.
        name: ProfileName,
        /// The file that was read first.
        first: PathBuf,
        /// The other.
        path: PathBuf,
    },
    /// A file of the API's is not named for its profile.
    #[error("{}: holds profile \"{name}\"; name the file {name}.toml", .path.display())]
    Misnamed {
        /// The profile.
        name: ProfileName,
        /// The file.
        path: PathBuf,
    },
}

impl From<FolderFault> for LoadError {
    fn from(fault: FolderFault) -> LoadError {
        LoadError::File {
            why: fault.why(),
            remedy: fault.remedy().to_owned(),
            path: fault.path,
        }
    }
}

/// Profiles by name.
#[derive(Clone, Debug, Default)]
pub struct ProfileSet {
    pub(crate) profiles: BTreeMap<ProfileName, Stored>,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Profiles that were not there before.
    pub added: Vec<ProfileName>,
    /// Profiles that say something else now.
    pub changed: Vec<ProfileName>,
    /// Profiles that are gone.
    pub removed: Vec<ProfileName>,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[ProfileName]| {
            let names: Vec<&str> = names.iter().map(ProfileName::as_str).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let (added, changed) = (list(&self.added), list(&self.changed));
        write!(
            f,
            "added: {added}; changed: {changed}; removed: {}",
            list(&self.removed)
        )
    }
}

impl ProfileSet {
    /// Reads the `*.toml` files of `declared`, the administrator's folder, and
    /// of `owned`, the API's, in the order of their names. Links are not
    /// followed, and other files passed over.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn load(
        declared: &Path,
        owned: Option<&Path>,
        ceilings: &Ceilings,
    ) -> Result<ProfileSet, Vec<LoadError>> {
        let mut set = ProfileSet::default();
        let mut errors = Vec::new();
        set.add_folder(declared, true, ceilings, &mut errors);
        if let Some(owned) = owned {
            set.add_folder(owned, false, ceilings, &mut errors);
        }
        if errors.is_empty() {
            Ok(set)
        } else {
            Err(errors)
        }
    }

    fn add_folder(
        &mut self,
        folder: &Path,
        declared: bool,
        ceilings: &Ceilings,
        errors: &mut Vec<LoadError>,
    ) {
        let (files, faults) = read_folder(folder, FILES);
        errors.extend(faults.into_iter().map(LoadError::from));
        for (path, text) in files {
            match Stored::read(path, text, declared, ceilings) {
                Ok(stored) => errors.extend(self.add(stored)),
                Err(found) => errors.extend(found.into_iter().map(LoadError::Field)),
            }
        }
    }

    fn add(&mut self, stored: Stored) -> Option<LoadError> {
        let name = stored.profile.name().clone();
        let expected = format!("{name}.toml");
        let path = stored.path.clone();
        if !stored.declared && path.file_name() != Some(expected.as_ref()) {
            return Some(LoadError::Misnamed { name, path });
        }
        if let Some(first) = self.profiles.get(&name) {
            let first = first.path.clone();
            return Some(LoadError::Duplicate { name, first, path });
        }
        self.profiles.insert(name, stored);
        None
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.profiles.get(name)
    }

    /// All profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.profiles.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// What is different in `newer`. Other ceilings change a profile too.
    pub fn diff(&self, newer: &ProfileSet) -> Diff {
        let missing_in = |set: &ProfileSet, from: &ProfileSet| {
            let names = from.profiles.keys();
            names
                .filter(|name| !set.profiles.contains_key(*name))
                .cloned()
                .collect()
        };
        let changed = newer.profiles.iter().filter(|(name, stored)| {
            self.profiles.get(*name).is_some_and(|old| {
                old.etag != stored.etag
                    || old.declared != stored.declared
                    || old.profile != stored.profile
            })
        });
        Diff {
            added: missing_in(self, newer),
            changed: changed.map(|(name, _)| name.clone()).collect(),
            removed: missing_in(newer, self),
        }
    }
}

impl Stored {
    pub(crate) fn read(
        path: PathBuf,
        text: String,
        declared: bool,
        ceilings: &Ceilings,
    ) -> Result<Stored, Vec<Fault>> {
        let name = path.display().to_string();
        let profile = ProfileDoc::from_toml(&name, &text)
            .and_then(|doc| Profile::check(&doc, ceilings))
            .map_err(crate::fault::ProfileErrors::into_faults)?;
        let etag = Etag::of(&text);
        Ok(Stored {
            profile,
            path,
            declared,
            etag,
            text,
        })
    }
}
