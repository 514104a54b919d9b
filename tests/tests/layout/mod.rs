//! Images as OCI layouts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Fields, Tar, diff_id};

/// The host's shell and what it is linked with, as a layer: a real image of one program.
pub fn shell() -> Vec<u8> {
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
    tar.file("data/lower", "lower")
        .file("data/removed", "x")
        .end()
}

/// An OCI layout with these layers, in a folder that is there.
pub fn layout(path: &Path, layers: &[Vec<u8>], settings: &Value) {
    fs::create_dir_all(path.join("blobs/sha256")).unwrap();
    let put = |kind: &str, content: &[u8]| {
        let digest = diff_id(content);
        fs::write(path.join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest.to_string(),
            "size": content.len(),
        })
    };
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| diff_id(layer).to_string())
        .collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": ids },
        "config": settings,
    });
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| put("layer.v1.tar", layer))
        .collect();
    let config = put("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = put("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
