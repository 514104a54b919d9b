//! Media types of OCI's and of Docker's.

use crate::error::DocumentError;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// A list of manifests, one for each platform.
    Index,
    /// One image.
    Manifest,
    /// Its configuration.
    Config,
    /// A layer; how it is compressed tells its first bytes.
    Layer,
}

const KNOWN: [(&str, MediaType); 11] = [
    ("application/vnd.oci.image.index.v1+json", MediaType::Index),
    (
        "application/vnd.oci.image.manifest.v1+json",
        MediaType::Manifest,
    ),
    (
        "application/vnd.oci.image.config.v1+json",
        MediaType::Config,
    ),
    ("application/vnd.oci.image.layer.v1.tar", MediaType::Layer),
    (
        "application/vnd.oci.image.layer.v1.tar+gzip",
        MediaType::Layer,
    ),
    (
        "application/vnd.oci.image.layer.v1.tar+zstd",
        MediaType::Layer,
    ),
    (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        MediaType::Index,
    ),
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        MediaType::Manifest,
    ),
    (
        "application/vnd.docker.container.image.v1+json",
        MediaType::Config,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        MediaType::Layer,
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar",
        MediaType::Layer,
    ),
];

impl MediaType {
    /// Reads one.
    ///
    /// # Errors
    /// [`DocumentError::MediaType`], with what can be done.
    pub fn read(text: &str, what: &'static str) -> Result<MediaType, DocumentError> {
        if let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(*known);
        }
        let remedy = if text.contains("nondistributable") || text.contains("foreign") {
            "its layers are kept elsewhere: build it with distributable ones"
        } else if text.contains("manifest.v1") {
            "push it again with a builder that writes schema 2"
        } else if text.contains("encrypted") {
            "decrypt it first"
        } else {
            "it may be an artifact and no image"
        };
        Err(DocumentError::MediaType {
            what,
            found: text.chars().take(200).collect(),
            remedy,
        })
    }
}
