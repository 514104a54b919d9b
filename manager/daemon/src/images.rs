//! Images of the manager's own store, which an administrator fills:
//! `lakekeep image pull --store STATE/images NAME`, as the manager's account.
//!
//! Which of them a sandbox may have is the profile's to say, and is decided before the store is
//! looked at. What a name leads to is asked once for each sandbox: its record and its trust key
//! have the digest.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lakekeep_api::Reason;
use lakekeep_content::Pin;
use lakekeep_images::{Image, ImageError, Library};
use lakekeep_oci::Reference;
use lakekeep_policy::PolicyDoc;
use lakekeep_sandbox::chain;
use lakekeep_unpack::Limits;

use crate::fault::Fault;
use crate::meta::StoredImage;
use crate::sandbox::lock;

/// The name of the host's own system folders.
const HOST: &str = "host";

/// The store.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    open: Mutex<Option<Arc<Library>>>,
}

/// An image for one sandbox. It stays in the store while somebody has its pin.
#[derive(Debug)]
pub struct Taken {
    /// What is written down of it.
    pub stored: StoredImage,
    /// Keeps it.
    pub pin: Arc<Pin>,
    image: Image,
    /// Its tree's real path: the launcher follows no link.
    folder: String,
}

/// An image's name in full, where a request names one of the store's, and not `host` or a folder.
pub fn full_name(image: &str) -> Option<String> {
    if image == HOST || image.starts_with('/') {
        return None;
    }
    let name: Reference = image.parse().ok()?;
    Some(name.to_string())
}

impl Images {
    /// Those in `folder`, which is not made here.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    /// The image of this name, in full. It blocks: a tree that is not there is made of its layers.
    ///
    /// # Errors
    /// `NotFound`; `Internal` for one that is damaged.
    pub fn take(&self, name: &str) -> Result<Taken, Fault> {
        let library = self.library()?.ok_or_else(|| self.absent(name))?;
        let refused = |error: ImageError| match error {
            ImageError::Unknown { .. } => self.absent(name),
            other => Fault::new(Reason::Internal, chain(&other)),
        };
        let image = library.find(name).map_err(refused)?;
        let tree = library.root(&image).map_err(refused)?;
        let folder = std::fs::canonicalize(tree.path());
        let folder = folder.map_err(|error| Fault::internal("find an image's tree", &error))?;
        let folder = folder.into_os_string().into_string().map_err(|_| {
            Fault::new(Reason::Internal, "the path of the image store is not UTF-8")
        })?;
        Ok(Taken {
            stored: StoredImage {
                name: name.to_owned(),
                digest: image.digest.to_string(),
                programs: image.search_path().map(str::to_owned),
                note: image.user_note(),
                startup: image.config.settings.startup.clone(),
            },
            pin: Arc::new(tree.into_pin()),
            image,
            folder,
        })
    }

    /// One that a sandbox has already. It blocks.
    ///
    /// # Errors
    /// As [`Images::take`].
    pub fn again(&self, stored: &StoredImage) -> Result<Taken, Fault> {
        // By digest: its name may lead elsewhere by now.
        self.take(&stored.digest)
    }

    fn library(&self) -> Result<Option<Arc<Library>>, Fault> {
        let mut open = lock(&self.open);
        if open.is_none() && self.folder.is_dir() {
            let library = Library::open(&self.folder, Limits::default());
            let library =
                library.map_err(|error| Fault::internal("open the image store", &error))?;
            *open = Some(Arc::new(library));
        }
        Ok(open.clone())
    }

    fn absent(&self, name: &str) -> Fault {
        Fault::new(
            Reason::NotFound,
            format!(
                "image {name} is allowed and is not in this manager's store; an administrator gets it, as the manager's account: lakekeep image pull --store {} {name}",
                self.folder.display()
            ),
        )
    }
}

impl Taken {
    /// Has a policy use it, with what it wishes for where the policy says nothing.
    pub fn lay_under(&self, doc: &mut PolicyDoc) {
        self.image.lay_under(doc);
        doc.image = Some(self.folder.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_in_full_and_a_folder_is_no_name() {
        let full = |text| full_name(text).unwrap();
        assert_eq!(full("python:3.12"), "docker.io/library/python:3.12");
        assert_eq!(full("ghcr.io/a/b"), "ghcr.io/a/b:latest");
        for other in ["host", "/srv/image", "../up", "a//b", "UPPER"] {
            assert_eq!(full_name(other), None, "{other}");
        }
    }

    #[test]
    fn where_there_is_no_store_nothing_is_made_and_the_command_is_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("images");
        let fault = Images::new(folder.clone())
            .take("docker.io/library/a:b")
            .unwrap_err();
        assert_eq!(fault.reason(), Reason::NotFound);
        assert!(
            fault.to_string().contains("lakekeep image pull --store"),
            "{fault}"
        );
        assert!(!folder.exists());
    }
}
