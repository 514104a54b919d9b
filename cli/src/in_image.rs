//! `--image NAME`: an image of the store's under a sandbox.

use std::path::{Component, Path};

use lakekeep_content::Folder;
use lakekeep_images::{Image, ImageError};
use lakekeep_policy::PolicyDoc;

use crate::args::images::StoreArgs;
use crate::args::{PolicyArgs, Pull, SandboxArgs};
use crate::beside;
use crate::images::{ImagesError, library, place};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InImageError {
    #[error("the image store cannot be used")]
    Store(#[from] ImagesError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(
        "the image store's path cannot be followed, or is not UTF-8; name another with LAKEKEEP_STORE"
    )]
    Path,
    #[error("the image {name} was not pulled; --pull never uses the one of the store")]
    NotPulled { name: String },
    #[error("lakekeep-pull cannot be started; install it beside lakekeep")]
    NoPull(#[source] std::io::Error),
}

/// An image that stays in the store while this is alive.
#[derive(Debug)]
pub struct InImage {
    image: Image,
    /// The real path: the launcher follows no link.
    path: String,
    _folder: Folder,
}

/// Whether `--image` names an image, and not "host" or a folder.
pub fn is_name(image: &Path) -> bool {
    let first = image.components().next();
    let folder = matches!(
        first,
        Some(Component::RootDir | Component::CurDir | Component::ParentDir)
    );
    !folder && image != Path::new("host")
}

/// Whether the image that the flags name puts its entrypoint before the command, or has a command
/// of its own in its place.
pub fn has_say(arguments: &SandboxArgs) -> bool {
    !arguments.no_entrypoint && arguments.policy.image.as_deref().is_some_and(is_name)
}

/// Has the image fetched that the flags name, if `when` says so.
pub fn fetch(arguments: &PolicyArgs, when: Pull, json: bool) -> Result<(), InImageError> {
    let Some(named) = arguments.image.as_deref().filter(|image| is_name(image)) else {
        return Ok(());
    };
    let wanted = match when {
        Pull::Never => false,
        Pull::Always => true,
        Pull::Missing => is_missing(&named.to_string_lossy())?,
    };
    if !wanted {
        return Ok(());
    }
    match beside::pull_first(named.as_os_str(), json) {
        Ok(true) => Ok(()),
        Ok(false) => Err(InImageError::NotPulled {
            name: named.to_string_lossy().into_owned(),
        }),
        Err(error) => Err(InImageError::NoPull(error)),
    }
}

fn is_missing(name: &str) -> Result<bool, InImageError> {
    let stores = StoreArgs { store: None };
    if !place(stores.store.as_deref())?.exists() {
        return Ok(true);
    }
    match library(&stores)?.find(name) {
        Ok(_) => Ok(false),
        Err(ImageError::Unknown { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The image that the flags name; `None`: they name none of the store's.
pub fn asked(arguments: &PolicyArgs) -> Result<Option<InImage>, InImageError> {
    let Some(named) = arguments.image.as_deref().filter(|image| is_name(image)) else {
        return Ok(None);
    };
    let name = named.to_string_lossy();
    // To look for an image makes no store.
    if !place(None)?.exists() {
        return Err(ImageError::Unknown { name: name.into() }.into());
    }
    let library = library(&StoreArgs { store: None })?;
    let image = library.find(&name)?;
    let folder = library.root(&image)?;
    let path = std::fs::canonicalize(folder.path()).map_err(|_| InImageError::Path)?;
    let path = path.to_str().ok_or(InImageError::Path)?.to_owned();
    Ok(Some(InImage {
        image,
        path,
        _folder: folder,
    }))
}

impl InImage {
    /// The flags, with the image's tree as the folder.
    pub fn flags(&self, mut flags: PolicyDoc) -> PolicyDoc {
        flags.image = Some(self.path.clone());
        flags
    }

    /// What the image wishes for, where neither policy nor flags say anything.
    pub fn lay_under(&self, doc: &mut PolicyDoc) {
        self.image.lay_under(doc);
    }

    /// Where the image has its programs.
    pub fn search_path(&self) -> Option<&str> {
        self.image.search_path()
    }

    /// The entrypoint, and the command that is given, or else the image's own.
    pub fn words(&self, given: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        self.image.config.settings.startup.words(given)
    }

    /// What it wishes for and is not granted.
    pub fn note(&self) -> Option<String> {
        self.image.user_note()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_begin_with_a_slash_or_a_dot() {
        for name in [
            "python:3.12",
            "localhost:5000/a",
            "sha256:ab",
            "a/b",
            ".hidden",
        ] {
            assert!(is_name(Path::new(name)), "{name}");
        }
        for folder in ["host", "/srv/root", "./root", "../root", ".", ".."] {
            assert!(!is_name(Path::new(folder)), "{folder}");
        }
    }
}
