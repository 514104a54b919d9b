//! Images by name.

use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use lakekeep_content::{Digest, Folder, Kind, Name, Space, Store};
use lakekeep_oci::{Config, MAX_DOCUMENT, Manifest, Reference};
use lakekeep_policy::PolicyDoc;
use lakekeep_unpack::Limits;

use crate::error::ImageError;
use crate::rootfs;

/// The store's names that are images'.
const IMAGES: Option<Space> = Space::new("images");

/// The images of one store.
#[derive(Debug)]
pub struct Library {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) images: Space,
}

/// One image, as its documents have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, in full; an image that was asked for by digest has none.
    pub name: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its layers.
    pub manifest: Manifest,
    /// What it is made of, and how it wants to be run.
    pub config: Config,
}

/// One name, and what is known of its image without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name, in full.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes of its layers' files, unpacked. Images share layers.
    pub bytes: u64,
    /// When it was last loaded or run; to the second.
    pub used: SystemTime,
}

/// Where commands run as: in every sandbox the same.
const USER: &str = "1000";

impl Image {
    /// Where it has its programs: its `PATH`.
    pub fn search_path(&self) -> Option<&str> {
        let path = self.config.settings.variables.get("PATH");
        path.map(String::as_str).filter(|path| !path.is_empty())
    }

    /// What the image wishes for, where a policy says nothing. It is checked as the policy is: an
    /// image can ask for nothing that a policy could not.
    pub fn lay_under(&self, doc: &mut PolicyDoc) {
        let settings = &self.config.settings;
        for (name, value) in &settings.variables {
            let variable = doc.env.0.entry(name.clone());
            variable.or_insert_with(|| value.clone());
        }
        let folder = settings.working_folder.trim_end_matches('/');
        if !folder.is_empty() && doc.workdir.is_none() {
            doc.workdir = Some(folder.to_owned());
        }
    }

    /// A user other than the one that commands run as is a wish that is not granted. That most
    /// images say nothing, and mean root, is not worth a word.
    pub fn user_note(&self) -> Option<String> {
        let user = self.config.settings.user.as_str();
        let plain = user.split(':').next().unwrap_or_default();
        let granted = plain.is_empty() || plain == USER || plain == "root" || plain == "0";
        (!granted).then(|| {
            format!("the image asks for the user {user:?}; commands run as user {USER}, who can read all of it")
        })
    }
}

impl Library {
    /// Opens the library in `path`; it is made if it is not there.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(path: &Path, limits: Limits) -> Result<Library, ImageError> {
        let store = Store::open(path)?;
        let Some(images) = IMAGES else {
            // A constant, and tested.
            return Err(ImageError::Unknown {
                name: "images".to_owned(),
            });
        };
        Ok(Library {
            store,
            limits,
            images,
        })
    }

    /// Where everything is.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All images that have a name, sorted.
    ///
    /// # Errors
    /// What the store says; an image that cannot be read counts 0 bytes.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let listed = |name: Name| {
            let image = self.read(Some(name.text.clone()), &name.digest);
            Listed {
                bytes: image.map_or(0, |image| self.bytes(&image)),
                name: name.text,
                digest: name.digest,
                used: name.used,
            }
        };
        Ok(self
            .store
            .names(self.images)?
            .into_iter()
            .map(listed)
            .collect())
    }

    /// The image that a name, or the digest of a manifest, leads to.
    ///
    /// # Errors
    /// [`ImageError::Name`], [`ImageError::Unknown`], or what is wrong with its documents.
    pub fn find(&self, text: &str) -> Result<Image, ImageError> {
        let unknown = || ImageError::Unknown {
            name: text.to_owned(),
        };
        if let Ok(digest) = Digest::from_str(text) {
            if !self.store.contains_blob(&digest)? {
                return Err(unknown());
            }
            let named = self.store.names(self.images)?;
            let name = named.into_iter().find(|name| name.digest == digest);
            return self.read(name.map(|name| name.text), &digest);
        }
        let name = reference(text)?.to_string();
        match self.store.name(self.images, &name)? {
            Some(found) => self.read(Some(name), &found.digest),
            None => Err(unknown()),
        }
    }

    /// The tree of an image, made if it is not there (any more). It counts as used now, and stays
    /// while the answer is alive.
    ///
    /// # Errors
    /// What is wrong with a layer, or what the store says.
    pub fn root(&self, image: &Image) -> Result<Folder, ImageError> {
        // Between what is found and what is pinned nobody may collect.
        let _adding = self.store.share()?;
        let folder = rootfs::root(&self.store, image, self.limits)?;
        if let Some(name) = &image.name {
            self.store.touch_name(self.images, name)?;
        }
        Ok(folder)
    }

    /// Forgets a name. What nothing leads to any more is removed by the next [`Library::collect`].
    ///
    /// # Errors
    /// [`ImageError::Unknown`]; [`ImageError::InUse`] while a sandbox runs on the image.
    pub fn remove(&self, text: &str) -> Result<String, ImageError> {
        let name = reference(text)?.to_string();
        let Some(found) = self.store.name(self.images, &name)? else {
            return Err(ImageError::Unknown { name });
        };
        // One that cannot be read is not in use, and may go.
        if let Ok(image) = self.read(None, &found.digest)
            && self
                .store
                .is_pinned(Kind::Folder, &rootfs::key(&image.config))?
        {
            return Err(ImageError::InUse { name });
        }
        self.store.remove_name(self.images, &name)?;
        Ok(name)
    }

    pub(crate) fn read(&self, name: Option<String>, digest: &Digest) -> Result<Image, ImageError> {
        let manifest = Manifest::read(&self.store.read_blob(digest, MAX_DOCUMENT)?)?;
        let config = Config::read(
            &self
                .store
                .read_blob(&manifest.config.digest, MAX_DOCUMENT)?,
        )?;
        Ok(Image {
            name,
            digest: *digest,
            manifest,
            config,
        })
    }

    /// Of the layers' folders; one that is not there counts nothing.
    pub(crate) fn bytes(&self, image: &Image) -> u64 {
        let layers = image.config.diff_ids.iter();
        let bytes = layers.map(|layer| self.store.seal(layer).map_or(0, |seal| seal.bytes));
        bytes.sum()
    }
}

/// Reads an image's name.
pub(crate) fn reference(text: &str) -> Result<Reference, ImageError> {
    text.parse().map_err(|source| ImageError::Name {
        text: text.to_owned(),
        source,
    })
}
