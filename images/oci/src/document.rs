//! Indexes and manifests.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::MAX_DOCUMENT;
use crate::descriptor::{Descriptor, Platform, RawDescriptor};
use crate::error::DocumentError;
use crate::media::MediaType;

const INDEX: &str = "image index";
const MANIFEST: &str = "image manifest";

/// Manifests of an index.
const MAX_MANIFESTS: usize = 1024;

/// Layers of an image; Docker takes 127.
const MAX_LAYERS: usize = 127;

/// A list of images, one for each platform or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Manifests and further indexes; of other things (attestations, artifacts) there may be
    /// manifests too.
    pub manifests: Vec<Descriptor>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// All fields by which a document can be told to be an index or a manifest.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

fn read(content: &[u8], what: &'static str, kind: MediaType) -> Result<Raw, DocumentError> {
    if content.len() as u64 > MAX_DOCUMENT {
        return Err(DocumentError::TooLarge {
            what,
            most: MAX_DOCUMENT,
        });
    }
    let raw: Raw =
        serde_json::from_slice(content).map_err(|error| DocumentError::Json { what, error })?;
    if raw.schema_version != 2 || raw.fs_layers.is_some() {
        let why = "is not 2; push the image again with a present builder";
        return Err(DocumentError::rule(what, "schemaVersion", why));
    }
    if let Some(said) = &raw.media_type
        && MediaType::read(said, what)? != kind
    {
        return Err(DocumentError::rule(
            what,
            "mediaType",
            "is that of another document",
        ));
    }
    Ok(raw)
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// What is wrong with it, field by field.
    pub fn read(content: &[u8]) -> Result<Index, DocumentError> {
        let raw = read(content, INDEX, MediaType::Index)?;
        if raw.config.is_some() || raw.layers.is_some() {
            let why = "is a manifest's: it could be read as two things";
            return Err(DocumentError::rule(INDEX, "config or layers", why));
        }
        let Some(manifests) = raw.manifests else {
            return Err(DocumentError::rule(INDEX, "manifests", "is missing"));
        };
        if manifests.len() > MAX_MANIFESTS {
            return Err(DocumentError::rule(
                INDEX,
                "manifests",
                "has more than 1024",
            ));
        }
        let checked = manifests
            .into_iter()
            .filter_map(|raw| match raw.check(INDEX) {
                // An artifact beside the images.
                Err(DocumentError::MediaType { .. }) => None,
                checked => Some(checked),
            });
        let manifests: Vec<Descriptor> = checked.collect::<Result<_, _>>()?;
        if manifests.iter().any(|one| !is_document(one.media_type)) {
            let why = "holds something that is neither a manifest nor an index";
            return Err(DocumentError::rule(INDEX, "manifests", why));
        }
        Ok(Index { manifests })
    }

    /// Those that run on `platform`, or say nothing about where they run.
    pub fn for_platform(&self, platform: &Platform) -> Vec<&Descriptor> {
        let runs = |one: &&Descriptor| match &one.platform {
            Some(found) => platform.runs(found),
            None => true,
        };
        self.manifests.iter().filter(runs).collect()
    }
}

fn is_document(kind: MediaType) -> bool {
    matches!(kind, MediaType::Index | MediaType::Manifest)
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong with it, field by field.
    pub fn read(content: &[u8]) -> Result<Manifest, DocumentError> {
        let raw = read(content, MANIFEST, MediaType::Manifest)?;
        if raw.manifests.is_some() {
            let why = "is an index's: it could be read as two things";
            return Err(DocumentError::rule(MANIFEST, "manifests", why));
        }
        let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
            return Err(DocumentError::rule(
                MANIFEST,
                "config or layers",
                "is missing",
            ));
        };
        if layers.len() > MAX_LAYERS {
            return Err(DocumentError::rule(MANIFEST, "layers", "has more than 127"));
        }
        let config = config.check(MANIFEST)?;
        if config.media_type != MediaType::Config {
            let why = "is no image configuration: it is an artifact";
            return Err(DocumentError::rule(MANIFEST, "config", why));
        }
        let layers = layers.into_iter().map(|raw| raw.check(MANIFEST));
        let layers: Vec<Descriptor> = layers.collect::<Result<_, _>>()?;
        if layers
            .iter()
            .any(|layer| layer.media_type != MediaType::Layer)
        {
            let why = "holds something that is no layer";
            return Err(DocumentError::rule(MANIFEST, "layers", why));
        }
        Ok(Manifest { config, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn descriptor(kind: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"sha256:{HEX}","size":3}}"#
        )
    }

    fn manifest(layers: usize) -> String {
        let layers = vec![descriptor("layer.v1.tar+gzip"); layers].join(",");
        let config = descriptor("config.v1+json");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],"unknown":1}}"#)
    }

    #[test]
    fn a_manifest_is_read() {
        let read = Manifest::read(manifest(2).as_bytes()).unwrap();
        assert_eq!((read.layers.len(), read.config.size), (2, 3));
    }

    #[test]
    fn manifests_that_are_wrong_are_refused() {
        let good = manifest(1);
        let index = descriptor("manifest.v1+json");
        for (bad, word) in [
            (String::new(), "cannot be read"),
            ("[".repeat(100_000), "cannot be read"),
            (manifest(128), "127"),
            (good.replace(":2,", ":1,"), "schemaVersion"),
            (good.replace("sha256:", "sha512:"), "digest"),
            (good.replace(HEX, "../../etc/passwd"), "digest"),
            (good.replace("\"size\":3", "\"size\":-3"), "cannot be read"),
            (good.replace("tar+gzip", "tar+rar"), "not supported"),
            (
                good.replace("layer.v1", "layer.nondistributable.v1"),
                "elsewhere",
            ),
            (good.replace("config.v1", "index.v1"), "artifact"),
            (
                good.replace("layer.v1.tar+gzip", "config.v1+json"),
                "no layer",
            ),
            (
                good.replace("\"unknown\":1", &format!("\"manifests\":[{index}]")),
                "two things",
            ),
            (
                good.replace("\"unknown\":1", "\"fsLayers\":[]"),
                "schemaVersion",
            ),
            (
                good.replace("\"unknown\":1", "\"schemaVersion\":2"),
                "cannot be read",
            ),
            (
                good.replace(
                    "\"unknown\":1",
                    "\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
                ),
                "another document",
            ),
            (" ".repeat(5 << 20), "more than"),
        ] {
            let error = Manifest::read(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn an_index_is_read_for_a_platform() {
        let on = |architecture: &str| {
            let end = format!(
                r#","platform":{{"os":"linux","architecture":"{architecture}"}},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}"#
            );
            descriptor("manifest.v1+json").replace('}', &end)
        };
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
            on("riscv64"),
            on(&Platform::here().architecture)
        );
        let index = Index::read(text.as_bytes()).unwrap();
        let found = index.for_platform(&Platform::here());
        assert_eq!((index.manifests.len(), found.len()), (2, 1));
        assert_eq!(found[0].name.as_deref(), Some("latest"));
        let two = text.replace("\"manifests\"", "\"layers\":[],\"manifests\"");
        assert!(
            Index::read(two.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("two things")
        );
    }
}
