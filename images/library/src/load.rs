//! Images into a library.

use std::fs::File;
use std::path::Path;

use lakekeep_content::{ContentError, Digest, Store};
use lakekeep_oci::{Config, Descriptor, Index, MAX_DOCUMENT, Manifest, MediaType, Platform};
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::ImageError;
use crate::library::{Image, Library, reference};
use crate::{archive, layout, rootfs};

/// Indexes within indexes.
const DEEPEST: usize = 3;

/// An image that is in the library now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its name, in full.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
}

/// A layer of an image, and what it is when it is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'image> {
    /// Its file.
    pub file: &'image Descriptor,
    /// The digest of its archive, decompressed: under which its tree is stored.
    pub diff_id: &'image Digest,
}

/// Where images come from.
pub trait Source {
    /// What there is to choose from.
    fn index(&self) -> &Index;

    /// Puts the layers' files into the store, if they are not there. Who answers over a network may leave out
    /// those whose trees are stored.
    fn fetch_layers(
        &self,
        store: &Store,
        layers: &[Layer<'_>],
        most: u64,
    ) -> Result<(), ImageError> {
        let missing = |layer: &&Layer<'_>| match store.contains_blob(&layer.file.digest) {
            Ok(there) => !there,
            // Found again, and told, by who fetches.
            Err(_) => true,
        };
        let mut layers = layers.iter().filter(missing);
        layers.try_for_each(|layer| self.fetch(store, layer.file, most))
    }

    /// Puts what a descriptor leads to into the store. It may have `most` bytes.
    fn fetch(&self, store: &Store, wanted: &Descriptor, most: u64) -> Result<(), ImageError>;
}

impl Library {
    /// Loads all images of an OCI layout folder, of such a folder in an archive, or of an archive
    /// that `docker save` wrote; of images for several platforms the one for this machine.
    ///
    /// Names come with the images; `name` gives another to a single one.
    ///
    /// # Errors
    /// The first thing that is wrong. Images before it are in the library then.
    pub fn load(&self, path: &Path, name: Option<&str>) -> Result<Vec<Loaded>, ImageError> {
        let _adding = self.store.share()?;
        let shown = path.display().to_string();
        let given = name.map(reference).transpose()?;
        let source = self.source(path)?;
        let found = &source.index().manifests;
        if found.is_empty() {
            return Err(ImageError::NotImages {
                path: shown,
                why: "holds no image".to_owned(),
            });
        }
        if given.is_some() && found.len() > 1 {
            return Err(ImageError::Several {
                path: shown,
                count: found.len(),
            });
        }
        let mut loaded = Vec::new();
        for descriptor in found {
            let name = match &given {
                Some(name) => name.to_string(),
                None => own_name(path, descriptor)?,
            };
            loaded.push(self.take(source.as_ref(), descriptor, name)?);
        }
        Ok(loaded)
    }

    /// Takes one image from elsewhere: proves its documents and layers, unpacks it, and only then gives it its name.
    /// Nobody collects meanwhile.
    ///
    /// # Errors
    /// The first thing that is wrong; there is no such name then, or it leads where it led.
    pub fn take_from(
        &self,
        source: &dyn Source,
        descriptor: &Descriptor,
        name: &str,
    ) -> Result<Loaded, ImageError> {
        let _adding = self.store.share()?;
        self.take(source, descriptor, reference(name)?.to_string())
    }

    fn source(&self, path: &Path) -> Result<Box<dyn Source>, ImageError> {
        let open = |errno| ImageError::Open {
            path: path.display().to_string(),
            errno,
        };
        // NONBLOCK: to open a pipe must not wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(open)?;
        let stat = rustix::fs::fstat(&file).map_err(open)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Box::new(layout::Layout::open(path, file)?)),
            FileType::RegularFile => Ok(Box::new(archive::read(
                &self.store,
                path,
                File::from(file),
            )?)),
            _ => Err(ImageError::NotImages {
                path: path.display().to_string(),
                why: "is neither a folder nor a file".to_owned(),
            }),
        }
    }

    /// Fetches one image, unpacks it, and only then gives it its name.
    fn take(
        &self,
        source: &dyn Source,
        descriptor: &Descriptor,
        name: String,
    ) -> Result<Loaded, ImageError> {
        let chosen = self.choose(source, descriptor, 0)?;
        self.fetch(source, &chosen, MAX_DOCUMENT)?;
        let manifest = Manifest::read(&self.store.read_blob(&chosen.digest, MAX_DOCUMENT)?)?;
        self.fetch(source, &manifest.config, MAX_DOCUMENT)?;
        let config = self
            .store
            .read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
        let config = Config::read(&config)?;
        check(&manifest, &config)?;
        let layers = manifest.layers.iter().zip(&config.diff_ids);
        let layers: Vec<Layer<'_>> = layers
            .map(|(file, diff_id)| Layer { file, diff_id })
            .collect();
        source.fetch_layers(&self.store, &layers, self.limits.bytes)?;
        for layer in layers {
            self.check_layer(&layer)?;
        }
        let image = Image {
            name: Some(name.clone()),
            digest: chosen.digest,
            manifest,
            config,
        };
        drop(rootfs::root(&self.store, &image, self.limits)?);
        self.store.set_name(self.images, &name, &image.digest)?;
        Ok(Loaded {
            name,
            digest: image.digest,
            layers: image.manifest.layers.len(),
        })
    }

    /// Of an index the manifest for this machine.
    fn choose(
        &self,
        source: &dyn Source,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<Descriptor, ImageError> {
        if descriptor.media_type == MediaType::Manifest {
            return Ok(descriptor.clone());
        }
        let here = Platform::here();
        let nothing = |found: &Index| ImageError::Platform {
            found: platforms(found),
            wanted: shown(&here),
        };
        self.fetch(source, descriptor, MAX_DOCUMENT)?;
        let index = Index::read(&self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)?)?;
        match index.for_platform(&here).first() {
            Some(_) if depth >= DEEPEST => Err(ImageError::Nested { most: DEEPEST }),
            Some(chosen) => self.choose(source, chosen, depth + 1),
            None => Err(nothing(&index)),
        }
    }

    fn fetch(&self, source: &dyn Source, wanted: &Descriptor, most: u64) -> Result<(), ImageError> {
        if !self.store.contains_blob(&wanted.digest)? {
            source.fetch(&self.store, wanted, most)?;
        }
        self.check_size(wanted)
    }

    fn check_size(&self, wanted: &Descriptor) -> Result<(), ImageError> {
        let found = self.store.open_blob(&wanted.digest)?.bytes();
        if found == wanted.size {
            return Ok(());
        }
        Err(ImageError::Size {
            digest: wanted.digest,
            wanted: wanted.size,
            found,
        })
    }

    /// Of a layer whose tree is stored the file may be missing.
    fn check_layer(&self, layer: &Layer<'_>) -> Result<(), ImageError> {
        match self.check_size(layer.file) {
            Err(ImageError::Content(ContentError::Absent { .. })) => {
                drop(self.store.folder(layer.diff_id)?);
                Ok(())
            }
            checked => checked,
        }
    }
}

fn check(manifest: &Manifest, config: &Config) -> Result<(), ImageError> {
    let (named, listed) = (config.diff_ids.len(), manifest.layers.len());
    if named != listed {
        return Err(ImageError::Layers { named, listed });
    }
    let here = Platform::here();
    if here.runs(&config.platform) {
        return Ok(());
    }
    Err(ImageError::Platform {
        found: shown(&config.platform),
        wanted: shown(&here),
    })
}

/// The name that came with an image. Of a tag alone, the folder or file is the repository:
/// `skopeo copy … oci:python:3.12` writes the folder `python` with the tag `3.12`.
fn own_name(path: &Path, descriptor: &Descriptor) -> Result<String, ImageError> {
    let said = descriptor.name.as_deref();
    if let Some(full) = said.filter(|name| name.contains([':', '/'])) {
        return Ok(reference(full)?.to_string());
    }
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = [".tar", ".tar.gz", ".tgz", ".tar.zst"]
        .iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(file);
    let text = format!("{stem}:{}", said.unwrap_or("latest"));
    match reference(&text) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(ImageError::NoName {
            path: path.display().to_string(),
        }),
    }
}

fn shown(platform: &Platform) -> String {
    format!("{}/{}", platform.os, platform.architecture)
}

fn platforms(index: &Index) -> String {
    let known = index
        .manifests
        .iter()
        .filter_map(|one| one.platform.as_ref());
    let mut names: Vec<String> = known.take(20).map(shown).collect();
    names.dedup();
    names.join(", ")
}
