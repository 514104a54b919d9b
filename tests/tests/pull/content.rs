//! Images of a test's own: layers, documents, and how they are laid out in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Fields, Tar, diff_id};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The host's shell and what it is linked with: a real image of one program.
pub fn shell() -> Tar {
    let linked = Command::new("ldd").arg("/bin/sh").output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let mut tar = Tar::default();
    for path in libraries.chain(["/bin/sh"]) {
        let content = fs::read(path).unwrap();
        let fields = Fields {
            name: path.trim_start_matches('/').as_bytes(),
            mode: 0o755,
            size: content.len() as u64,
            ..Fields::default()
        };
        tar = tar.entry(&fields, &content);
    }
    tar
}

/// A layer that compresses badly: one file of noise, the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut content);
    let name = format!("noise-{seed}");
    Tar::default().kind(b'0', &name, &content).end()
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    }
}

/// Content under digests, and one manifest under tags.
#[derive(Clone, Default)]
pub struct Content {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Kind and digest.
    pub tags: BTreeMap<String, (String, String)>,
    /// Kind of each manifest and index.
    pub kinds: BTreeMap<String, String>,
}

impl Content {
    /// An image of these layers under the tag `latest`.
    pub fn image(layers: &[Vec<u8>]) -> Content {
        Content::with_settings(layers, &json!({ "Env": ["PATH=/bin"] }))
    }

    /// The same, which wishes to be run like this.
    pub fn with_settings(layers: &[Vec<u8>], settings: &Value) -> Content {
        let mut content = Content::default();
        let described = layers.iter().map(|layer| content.blob(OCI_LAYER, layer));
        let described: Vec<Value> = described.collect();
        let mut config = config(layers);
        config["config"] = settings.clone();
        let manifest = content.manifest_of(&config, &described);
        content.tag("latest", OCI_MANIFEST, &manifest);
        content
    }

    /// The descriptor of a blob.
    pub fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = diff_id(bytes).to_string();
        self.blobs.insert(digest.clone(), bytes.to_vec());
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    pub fn manifest_of(&mut self, config: &Value, layers: &[Value]) -> Vec<u8> {
        let config = self.blob(OCI_CONFIG, config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    /// Puts a manifest or an index under a tag, and gives its digest.
    pub fn tag(&mut self, tag: &str, kind: &str, document: &[u8]) -> String {
        let digest = diff_id(document).to_string();
        self.blobs.insert(digest.clone(), document.to_vec());
        self.kinds.insert(digest.clone(), kind.to_owned());
        self.tags
            .insert(tag.to_owned(), (kind.to_owned(), digest.clone()));
        digest
    }

    /// Writes it down as an OCI layout (image-layout.md) of the image under the tag `latest`.
    pub fn layout(&self, path: &Path) {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, content) in &self.blobs {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), content).unwrap();
        }
        let (kind, digest) = &self.tags["latest"];
        let size = self.blobs[digest].len();
        let manifest = json!({ "mediaType": kind, "digest": digest, "size": size });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub fn config(layers: &[Vec<u8>]) -> Value {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| diff_id(layer).to_string())
        .collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": ids },
        "config": { "Env": ["PATH=/bin"] },
    })
}
