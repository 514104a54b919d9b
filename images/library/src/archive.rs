//! Archives of images: what `docker save` writes, and OCI layouts in a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use lakekeep_content::{Algorithm, ContentError, Digest, Expected, Store};
use lakekeep_oci::{Descriptor, Index, MAX_DOCUMENT};
use lakekeep_unpack::archive::{Archive, EntryKind};
use lakekeep_unpack::{Decompressed, Limits, UnpackError};
use serde::Deserialize;
use serde_json::json;

use crate::error::ImageError;
use crate::layout;
use crate::load::Source;

/// Whole archives: several images, with large layers.
const LIMITS: Limits = Limits {
    bytes: 64 << 30,
    file_bytes: 16 << 30,
    entries: 10_000,
    ratio: 250,
    depth: 8,
    attribute_bytes: 64 << 10,
};

/// Images of one archive.
const MAX_IMAGES: usize = 1024;

/// What an archive held. Its files are in the store already, under their digests.
struct Taken {
    path: String,
    index: Index,
}

/// An entry of Docker's `manifest.json` (image-spec of Docker 1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Source for Taken {
    fn index(&self) -> &Index {
        &self.index
    }

    fn fetch(&self, _: &Store, wanted: &Descriptor, _: u64) -> Result<(), ImageError> {
        Err(ImageError::NotImages {
            path: self.path.clone(),
            why: format!("does not hold {}, which it names", wanted.digest),
        })
    }
}

/// Puts all files of an archive into the store, front to back, and reads what images they make.
/// What turns out to be none of an image's goes with the next collection.
pub fn read(store: &Store, path: &Path, file: File) -> Result<impl Source + use<>, ImageError> {
    let shown = path.display().to_string();
    let files = files(store, &shown, file)?;
    let not_images = |why: &str| ImageError::NotImages {
        path: shown.clone(),
        why: why.to_owned(),
    };
    let document = |name: &str| match files.get(Path::new(name)) {
        Some(digest) => Ok(Some(store.read_blob(digest, MAX_DOCUMENT)?)),
        None => Ok::<_, ImageError>(None),
    };
    let index = match (document("oci-layout")?, document("index.json")?) {
        (Some(marker), Some(index)) if layout::is_marker(&marker) => Index::read(&index)?,
        _ => match document("manifest.json")? {
            Some(manifest) => saved(store, &shown, &manifest, &files)?,
            None => return Err(not_images("has neither index.json nor manifest.json")),
        },
    };
    Ok(Taken { path: shown, index })
}

/// Name and digest of each file.
fn files(store: &Store, path: &str, file: File) -> Result<BTreeMap<PathBuf, Digest>, ImageError> {
    let refused = |error| ImageError::Archive {
        path: path.to_owned(),
        error: Box::new(error),
    };
    let source = Decompressed::new(file, LIMITS).map_err(refused)?;
    let mut archive = Archive::new(source, LIMITS);
    let mut files = BTreeMap::new();
    let mut links = Vec::new();
    while let Some(entry) = archive.next_entry().map_err(refused)? {
        let name = entry.path.as_path().to_owned();
        match entry.kind {
            EntryKind::File { size } => {
                let put = store.put(&mut archive, Expected::Any(Algorithm::Sha256), size);
                let digest = put.map_err(|error| match error {
                    ContentError::Source(error) => refused(unwrapped(error)),
                    error => ImageError::Content(error),
                })?;
                files.insert(name, digest);
            }
            // Docker up to 24 links a layer that is there already: `../ID/layer.tar`.
            EntryKind::SymbolicLink(target) => links.push((name, target)),
            _ => {}
        }
    }
    for (name, target) in links {
        let target = String::from_utf8_lossy(&target).into_owned();
        if let Some(digest) = lexical(&name, &target).and_then(|path| files.get(&path).copied()) {
            files.insert(name, digest);
        }
    }
    Ok(files)
}

fn unwrapped(error: std::io::Error) -> UnpackError {
    match error.downcast::<UnpackError>() {
        Ok(ours) => ours,
        Err(error) => UnpackError::Source(error),
    }
}

/// Where a link leads by words alone: to another name of the archive, or nowhere.
fn lexical(link: &Path, target: &str) -> Option<PathBuf> {
    let mut path = link.parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

/// Makes of Docker's own list an index of manifests, which go into the store.
fn saved(
    store: &Store,
    path: &str,
    content: &[u8],
    files: &BTreeMap<PathBuf, Digest>,
) -> Result<Index, ImageError> {
    let wrong = |why: String| ImageError::NotImages {
        path: path.to_owned(),
        why,
    };
    let images: Vec<Saved> = serde_json::from_slice(content)
        .map_err(|error| wrong(format!("has a manifest.json that cannot be read ({error})")))?;
    if images.len() > MAX_IMAGES {
        return Err(wrong("holds more than 1024 images".to_owned()));
    }
    let described = |name: &String, kind: &str| {
        let digest = files.get(Path::new(name)).ok_or_else(|| {
            wrong(format!(
                "does not hold {name:?}, which its manifest.json names"
            ))
        })?;
        let size = store.open_blob(digest)?.bytes();
        Ok::<_, ImageError>(
            json!({ "mediaType": kind, "digest": digest.to_string(), "size": size }),
        )
    };
    let mut entries = Vec::new();
    for image in &images {
        const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
        let layers = image.layers.iter().map(|name| described(name, LAYER));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(&image.config, "application/vnd.oci.image.config.v1+json")?,
            "layers": layers.collect::<Result<Vec<_>, _>>()?,
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = store.put_bytes(&bytes, Algorithm::Sha256)?.to_string();
        let entry = |name: Option<&String>| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": bytes.len(),
                "annotations": name.map(|name| json!({ "io.containerd.image.name": name })),
            })
        };
        match image.repo_tags.as_deref() {
            None | Some([]) => entries.push(entry(None)),
            Some(tags) => entries.extend(tags.iter().map(|tag| entry(Some(tag)))),
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    Ok(Index::read(index.to_string().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_an_archive_stay_in_it() {
        let link = Path::new("b/layer.tar");
        assert_eq!(
            lexical(link, "../a/layer.tar"),
            Some(PathBuf::from("a/layer.tar"))
        );
        assert_eq!(lexical(link, "../../etc/passwd"), None);
        assert_eq!(lexical(link, "/etc/passwd"), None);
    }
}
