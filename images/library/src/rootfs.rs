//! From layers to one tree.

use std::os::fd::{AsFd, BorrowedFd};

use lakekeep_content::{Algorithm, ContentError, Digest, Folder, Store};
use lakekeep_oci::Config;
use lakekeep_unpack::{Limits, merge, unpack};

use crate::error::ImageError;
use crate::library::Image;

/// Before the diff IDs that a tree's key is made of; the number is that of the rules by which trees
/// are made. (Not OCI's chain ID: of one layer that is its diff ID, under which the layer itself is.)
const KEY: &str = "lakekeep image tree 1";

/// Under which digest an image's tree is filed.
pub fn key(config: &Config) -> Digest {
    let ids = config.diff_ids.iter().map(|id| format!("\n{id}"));
    let text: String = std::iter::once(KEY.to_owned()).chain(ids).collect();
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

/// The tree of an image, made of its layers if it is not there.
pub fn root(store: &Store, image: &Image, limits: Limits) -> Result<Folder, ImageError> {
    let key = key(&image.config);
    match store.folder(&key) {
        Err(ContentError::Absent { .. }) => {}
        found => return Ok(found?),
    }
    let layers = layers(store, image, limits)?;
    let layers: Vec<BorrowedFd<'_>> = layers.iter().map(Folder::root).collect();
    let staging = store.stage()?;
    merge(&layers, staging.root())?;
    Ok(staging.commit(&key)?)
}

/// The unpacked layers of an image, the lowest first; pinned.
pub fn layers(store: &Store, image: &Image, limits: Limits) -> Result<Vec<Folder>, ImageError> {
    let ids = image.config.diff_ids.iter().enumerate();
    ids.map(|(index, diff_id)| layer(store, image, index, diff_id, limits))
        .collect()
}

fn layer(
    store: &Store,
    image: &Image,
    index: usize,
    diff_id: &Digest,
    limits: Limits,
) -> Result<Folder, ImageError> {
    match store.folder(diff_id) {
        Err(ContentError::Absent { .. }) => {}
        found => return Ok(found?),
    }
    let Some(layer) = image.manifest.layers.get(index) else {
        return Err(ImageError::Layers {
            named: image.config.diff_ids.len(),
            listed: image.manifest.layers.len(),
        });
    };
    let blob = store.open_blob(&layer.digest)?;
    let staging = store.stage()?;
    unpack(blob, staging.root().as_fd(), diff_id, limits).map_err(|error| ImageError::Layer {
        number: index + 1,
        digest: layer.digest,
        error: Box::new(error),
    })?;
    Ok(staging.commit(diff_id)?)
}
