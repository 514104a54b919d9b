//! Descriptors: media type, digest, size.

use lakekeep_content::{Algorithm, Digest};
use serde::Deserialize;

use crate::error::DocumentError;
use crate::media::MediaType;

/// Where a manifest of an index runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Such as `amd64` (GOARCH).
    #[serde(default)]
    pub architecture: String,
    /// Such as `linux` (GOOS).
    #[serde(default)]
    pub os: String,
    /// Such as `v8`.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// What runs on this machine.
    pub fn here() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: String::new(),
        }
    }

    /// Whether what is built for `other` runs here. A variant is a matter of 32-bit ARM.
    pub fn runs(&self, other: &Platform) -> bool {
        self.architecture == other.architecture && self.os == other.os
    }
}

/// What one document says of another, or of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: MediaType,
    /// Under which digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where it runs, if it says so.
    pub platform: Option<Platform>,
    /// Its name, where an index gives one (`io.containerd.image.name`, else
    /// `org.opencontainers.image.ref.name`).
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "io.containerd.image.name")]
    containerd: Option<String>,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    oci: Option<String>,
}

impl RawDescriptor {
    pub(crate) fn check(self, what: &'static str) -> Result<Descriptor, DocumentError> {
        let digest: Digest = self
            .digest
            .parse()
            .map_err(|_| DocumentError::rule(what, "digest", "is no SHA-256 digest"))?;
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(DocumentError::rule(what, "digest", "is no SHA-256 digest"));
        }
        let names = self.annotations.map(|found| (found.containerd, found.oci));
        Ok(Descriptor {
            media_type: MediaType::read(&self.media_type, what)?,
            digest,
            size: self.size,
            platform: self.platform,
            name: names.and_then(|(containerd, oci)| containerd.or(oci)),
        })
    }
}
