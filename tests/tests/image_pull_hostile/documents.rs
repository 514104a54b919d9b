//! Manifests, indexes, and how they are announced.

use serde_json::{Value, json};

use crate::case::{Case, HEX, case, is_manifest, refused};
use crate::common::diff_id;
use crate::naive;
use crate::pull::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Reply, architecture, manifest};

/// Whatever is asked for as a manifest, by HEAD and GET.
fn documents(name: &'static str, word: &'static str, kind: &'static str, document: Value) -> Case {
    raw_document(name, word, kind, document.to_string().into_bytes())
}

fn raw_document(
    name: &'static str,
    word: &'static str,
    kind: &'static str,
    document: Vec<u8>,
) -> Case {
    let digest = diff_id(&document).to_string();
    case(name, word, move |asked| {
        is_manifest(asked).then(|| manifest(kind, &digest, &document))
    })
}

pub fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": kind, "digest": digest, "size": size })
}

fn plain() -> Value {
    descriptor(OCI_LAYER, &format!("sha256:{HEX}"), 3)
}

fn manifest_with(layers: &[Value]) -> Value {
    let config = descriptor(OCI_CONFIG, &format!("sha256:{HEX}"), 3);
    json!({ "schemaVersion": 2, "config": config, "layers": layers })
}

#[test]
fn heads_of_manifests() {
    let sha512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
    let digest = |name, digest: &'static str| {
        case(name, "no SHA-256", move |asked| {
            let headers = [
                ("Content-Type", OCI_MANIFEST),
                ("Docker-Content-Digest", digest),
            ];
            is_manifest(asked).then(|| Reply::status(200, &headers, b"xx"))
        })
    };
    refused(
        "the clients at hand pass over this header, or refuse the answer too",
        vec![
            digest("a digest of another algorithm", sha512),
            digest("a weak digest", "md5:d41d8cd98f00b204e9800998ecf8427e"),
            digest("an algorithm that is not known", "sha256+b64:ba7816bf"),
            digest("a digest that is a path", "sha256:../../../../etc/passwd"),
            digest(
                "a digest in capitals",
                "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
            ),
            digest("an empty digest", ""),
            case(
                "another document than was announced",
                "64 bytes, and 2 were said",
                |asked| {
                    let digest = format!("sha256:{HEX}");
                    let body: &[u8] = if asked.method == "HEAD" {
                        b"xx"
                    } else {
                        &[b'x'; 64]
                    };
                    is_manifest(asked).then(|| manifest(OCI_MANIFEST, &digest, body))
                },
            )
            .harms(naive::is_told_otherwise),
            case("a length of 5 GiB", "more bytes", |asked| {
                (asked.method == "HEAD" && is_manifest(asked)).then(|| {
                let head = format!("HTTP/1.1 200 X\r\nContent-Type: {OCI_MANIFEST}\r\nDocker-Content-Digest: sha256:{HEX}\r\nContent-Length: 5368709120\r\n\r\n");
                Reply::bytes(head)
            })?
            }),
            case("no kind at all", "no Content-Type", |asked| {
                let document = br#"{"schemaVersion":2}"#;
                is_manifest(asked).then(|| Reply::status(200, &[], document))
            }),
            raw_document(
                "an artifact's kind",
                "not supported",
                "application/vnd.example.thing+json",
                b"{}".to_vec(),
            ),
            raw_document(
                "a web page",
                "not supported",
                "text/html",
                b"<html>".to_vec(),
            ),
            case("two kinds at once", "no Content-Type", |asked| {
                let headers = [("Content-Type", OCI_MANIFEST), ("Content-Type", OCI_INDEX)];
                is_manifest(asked).then(|| Reply::status(200, &headers, b"{}"))
            }),
        ],
    );
}

#[test]
fn manifests_and_indexes() {
    let many: Vec<Value> = (0..10_000)
        .map(|_| descriptor(OCI_MANIFEST, &format!("sha256:{HEX}"), 3))
        .collect();
    let deep = "[".repeat(200_000);
    let own = json!({ "mediaType": OCI_INDEX, "schemaVersion": 2, "manifests": [] });
    let both = json!({ "schemaVersion": 2, "config": plain(), "layers": [], "manifests": [] });
    let schema1 = json!({ "schemaVersion": 1, "fsLayers": [] });
    let alien = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": format!("sha256:{HEX}"), "size": 3,
        "platform": { "os": "windows", "architecture": architecture() } }] });
    refused(
        "what two readers would make of it depends on them, and skopeo(1) refuses most of it too",
        vec![
            documents(
                "ten thousand manifests",
                "1024",
                OCI_INDEX,
                json!({ "schemaVersion": 2, "manifests": many }),
            ),
            documents(
                "an index that is sent as a manifest",
                "says that it is",
                OCI_MANIFEST,
                own,
            ),
            documents(
                "two documents in one, as a manifest",
                "two things",
                OCI_MANIFEST,
                both.clone(),
            ),
            documents(
                "two documents in one, as an index",
                "two things",
                OCI_INDEX,
                both,
            ),
            documents("the old schema", "schemaVersion", OCI_MANIFEST, schema1),
            documents(
                "no version",
                "cannot be read",
                OCI_MANIFEST,
                json!({ "config": {} }),
            ),
            documents(
                "an index of nothing",
                "this machine runs",
                OCI_INDEX,
                json!({ "schemaVersion": 2, "manifests": [] }),
            ),
            documents("another system's", "this machine runs", OCI_INDEX, alien),
            raw_document("depth", "cannot be read", OCI_MANIFEST, deep.into_bytes())
                .harms(naive::is_too_deep),
            raw_document(
                "no JSON",
                "cannot be read",
                OCI_MANIFEST,
                b"\x00\xff\x1b[31m".to_vec(),
            ),
            raw_document("nothing", "cannot be read", OCI_MANIFEST, Vec::new()),
            raw_document(
                "more than 4 MiB",
                "more bytes",
                OCI_MANIFEST,
                vec![b' '; 5 << 20],
            ),
        ],
    );
}

#[test]
fn layers_in_manifests() {
    let layer_of = |descriptor| manifest_with(&[descriptor]);
    let digest = format!("sha256:{HEX}");
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    refused(
        "skopeo(1) refuses it too, or looks for what is not there",
        vec![
            documents(
                "128 layers",
                "127",
                OCI_MANIFEST,
                manifest_with(&vec![plain(); 128]),
            ),
            documents(
                "a layer by another algorithm",
                "no SHA-256",
                OCI_MANIFEST,
                layer_of(descriptor(OCI_LAYER, &digest.replace("256", "512"), 3)),
            ),
            documents(
                "a layer whose digest is a path",
                "no SHA-256",
                OCI_MANIFEST,
                layer_of(descriptor(OCI_LAYER, "sha256:../x", 3)),
            ),
            documents(
                "a layer that is kept elsewhere",
                "elsewhere",
                OCI_MANIFEST,
                layer_of(descriptor(foreign, &digest, 3)),
            ),
            documents(
                "a layer of no known kind",
                "not supported",
                OCI_MANIFEST,
                layer_of(descriptor("application/x-rar", &digest, 3)),
            ),
            raw_document(
                "a layer with fewer than no bytes",
                "cannot be read",
                OCI_MANIFEST,
                layer_of(plain())
                    .to_string()
                    .replace("\"size\":3", "\"size\":-3")
                    .into_bytes(),
            ),
            documents(
                "an artifact",
                "artifact",
                OCI_MANIFEST,
                json!({ "schemaVersion": 2, "layers": [], "config": descriptor(OCI_LAYER, &digest, 3) }),
            ),
            documents(
                "a configuration of 5 MiB",
                "longer than",
                OCI_MANIFEST,
                json!({ "schemaVersion": 2, "layers": [], "config": descriptor(OCI_CONFIG, &digest, 5 << 20) }),
            ),
        ],
    );
}
