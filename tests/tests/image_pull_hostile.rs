//! Registries that are made to harm: each is refused for its own reason, and nothing has a name, nothing is left
//! over, nothing outside of the store is touched. Each begins with an honest registry's image, which is taken
//! (`image_pull.rs`), and does one thing otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[allow(dead_code, reason = "the rest is for other tests")]
mod pull;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Tar, diff_id};
use lakekeep_tests::{Place, Privilege};
use pull::{Asked, Content, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Puller, Quirk};
use pull::{Registry, Reply, architecture, config, manifest, noise, said, tree};
use serde_json::{Value, json};

/// How long a refusal may take: all pauses and silences are bounded.
const PATIENCE: Duration = Duration::from_secs(60);

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// What it is called, what the registry has, what it does, and a word of the refusal.
struct Case {
    name: &'static str,
    content: Content,
    quirk: Quirk,
    word: &'static str,
}

fn case(
    name: &'static str,
    word: &'static str,
    quirk: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> Case {
    Case {
        name,
        content: Content::image(&[layer()]),
        quirk: Arc::new(quirk),
        word,
    }
}

/// An honest registry with content that is not.
fn holds(name: &'static str, word: &'static str, content: Content) -> Case {
    Case {
        name,
        content,
        quirk: Arc::new(|_| None),
        word,
    }
}

fn layer() -> Vec<u8> {
    noise(1, 64 << 10)
}

fn layer_digest() -> String {
    diff_id(&layer()).to_string()
}

/// Pulls from each, and holds the refusal and what is left against what they should be.
fn refused(cases: Vec<Case>) {
    for case in cases {
        let place = Place::new();
        let canary = place.file("canary", Privilege::User, "the host's own");
        let puller = Puller::new(&place, Privilege::User);
        assert_eq!(puller.names(), "");
        let outside = || {
            let all = tree(place.path());
            let lines = all.lines().filter(|line| !line.contains("home"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = outside();
        let registry = Registry::new(case.content, case.quirk);
        let begun = Instant::now();
        let pulled = puller.pull(
            &registry.name("latest"),
            &["--plain-http", "--timeout", "20s"],
        );
        let told = said(&pulled);
        println!("{}: {told}", case.name);
        assert_eq!(pulled.status.code(), Some(125), "{}: {told}", case.name);
        assert!(told.contains(case.word), "{}: {told}", case.name);
        let plain = |letter: char| letter == '\n' || !letter.is_control();
        assert!(told.chars().all(plain), "{}: {told:?}", case.name);
        assert!(begun.elapsed() < PATIENCE, "{}", case.name);
        assert_eq!(puller.names(), "", "{}", case.name);
        puller.assert_sound();
        assert_eq!(outside(), before, "{}", case.name);
        assert_eq!(std::fs::read(&canary).unwrap(), b"the host's own");
    }
}

fn is_manifest(asked: &Asked) -> bool {
    asked.what().0 == "manifests"
}

fn is_layer(asked: &Asked) -> bool {
    asked.what() == ("blobs", &layer_digest())
}

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

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
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
    refused(vec![
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
        ),
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
    ]);
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
    refused(vec![
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
        raw_document("depth", "cannot be read", OCI_MANIFEST, deep.into_bytes()),
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
    ]);
}

#[test]
fn layers_in_manifests() {
    let layer_of = |descriptor| manifest_with(&[descriptor]);
    let digest = format!("sha256:{HEX}");
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    refused(vec![
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
    ]);
}

/// An index that leads to an index, without an end.
fn nested() -> Content {
    let mut content = Content::image(&[layer()]);
    let (mut kind, mut digest) = content.tags["latest"].clone();
    for _ in 0..20 {
        let size = content.blobs[&digest].len() as u64;
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(&kind, &digest, size)] });
        digest = content.tag("latest", OCI_INDEX, index.to_string().as_bytes());
        kind = OCI_INDEX.to_owned();
    }
    content
}

/// The image with another configuration, or another layer list.
fn with_config(change: impl FnOnce(&mut Value)) -> Content {
    let mut content = Content::default();
    let described = content.blob(OCI_LAYER, &layer());
    let mut config = config(&[layer()]);
    change(&mut config);
    let document = content.manifest_of(&config, &[described]);
    content.tag("latest", OCI_MANIFEST, &document);
    content
}

/// An image of this one file as a layer, which unpacks to `diff_id`.
fn with_layer(file: &[u8], unpacked: &[u8], change: impl FnOnce(&mut Value)) -> Content {
    let mut content = Content::default();
    let mut described = content.blob(OCI_LAYER, file);
    change(&mut described);
    let document = content.manifest_of(&config(&[unpacked.to_vec()]), &[described]);
    content.tag("latest", OCI_MANIFEST, &document);
    content
}

#[test]
fn contents_that_lie() {
    let index_size = |size: u64| {
        let mut content = Content::image(&[layer()]);
        let digest = content.tags["latest"].1.clone();
        let index =
            json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, &digest, size)] });
        content.tag("latest", OCI_INDEX, index.to_string().as_bytes());
        content
    };
    refused(vec![
        holds("indexes without an end", "leads to an index", nested()),
        holds(
            "a manifest shorter than its index says",
            "were said",
            index_size(4000),
        ),
        holds(
            "a manifest longer than its index says",
            "were said",
            index_size(20),
        ),
        holds(
            "another machine's",
            "this machine runs",
            with_config(|config| config["architecture"] = json!("s390x")),
        ),
        holds(
            "fewer layers in the configuration",
            "names 0 layers",
            with_config(|config| config["rootfs"]["diff_ids"] = json!([])),
        ),
        holds(
            "a weak diff ID",
            "no SHA-256",
            with_config(|config| config["rootfs"]["diff_ids"] = json!(["md5:00"])),
        ),
        holds(
            "variables that are none",
            "NAME=VALUE",
            with_config(|config| config["config"]["Env"] = json!(["=x"])),
        ),
    ]);
}

#[test]
fn layers_that_lie() {
    let bomb = vec![0; 200 << 20];
    let packed = gzip(&bomb);
    assert!(packed.len() < 1 << 20);
    let evil = Tar::default().file("../../evil", "x").end();
    let link = Tar::default().symlink("a", "/").file("a/evil", "x").end();
    let layer = layer();
    refused(vec![
        holds(
            "a layer that unpacks to something else",
            "layer 1",
            with_layer(&layer, b"x", |_| ()),
        ),
        holds(
            "a layer that grows without bound",
            "250",
            with_layer(&packed, &bomb, |_| ()),
        ),
        holds(
            "a layer that climbs out",
            "upwards",
            with_layer(&evil, &evil, |_| ()),
        ),
        holds(
            "a layer that writes through a link",
            "not a folder",
            with_layer(&link, &link, |_| ()),
        ),
        holds(
            "a layer of exabytes",
            "raise --max-size",
            with_layer(&layer, &layer, |found| found["size"] = json!(u64::MAX)),
        ),
        holds(
            "a layer longer than it says",
            "were said",
            with_layer(&layer, &layer, |found| {
                found["size"] = json!(layer.len() - 1)
            }),
        ),
        holds(
            "a layer shorter than it says",
            "were said",
            with_layer(&layer, &layer, |found| {
                found["size"] = json!(layer.len() + 1)
            }),
        ),
    ]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, bytes).unwrap();
    let packed = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&file)
        .output();
    packed.unwrap().stdout
}

/// A layer's answer, byte by byte.
fn layer_raw(name: &'static str, word: &'static str, head: &'static str, body: Vec<u8>) -> Case {
    case(name, word, move |asked| {
        let head = format!("HTTP/1.1 {head}\r\n\r\n");
        is_layer(asked).then(|| Reply::bytes([head.as_bytes(), &body].concat()))?
    })
}

/// Writes the same for ever, or until nobody listens.
fn endless(stream: &mut TcpStream, head: &str, piece: &[u8]) {
    let mut sent = stream.write_all(head.as_bytes());
    while sent.is_ok() {
        sent = stream.write_all(piece);
    }
}

fn chunk() -> Vec<u8> {
    [&b"1000\r\n"[..], &[7; 4096], b"\r\n"].concat()
}

/// Half of the layer first, then an answer to the question for the rest.
fn after_half(
    name: &'static str,
    word: &'static str,
    rest: impl Fn() -> Reply + Send + Sync + 'static,
) -> Case {
    case(name, word, move |asked| {
        if !is_layer(asked) {
            return None;
        }
        if asked.header("range").is_empty() {
            let all = layer();
            let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", all.len());
            return Reply::bytes([head.as_bytes(), &all[..all.len() / 2]].concat());
        }
        Some(rest())
    })
}

#[test]
fn layers_on_the_way() {
    let size = layer().len();
    let other = vec![9; size];
    refused(vec![
        case("other bytes", "has the digest", move |asked| {
            is_layer(asked).then(|| Reply::status(200, &[], &other))
        }),
        case("more bytes", "were said", |asked| {
            is_layer(asked).then(|| Reply::status(200, &[], &[layer(), layer()].concat()))
        }),
        case("fewer bytes", "were said", |asked| {
            is_layer(asked).then(|| Reply::status(200, &[], &layer()[1..]))
        }),
        case("no bytes", "were said", |asked| {
            is_layer(asked).then(|| Reply::status(200, &[], b""))
        }),
        layer_raw(
            "chunks without an end that is told",
            "connection broke",
            "200 X\r\nTransfer-Encoding: chunked",
            b"5\r\nabcde\r\n".to_vec(),
        ),
        case("chunks without an end", "sends more bytes", |asked| {
            is_layer(asked).then(|| {
                Reply::raw(|stream| {
                    endless(
                        stream,
                        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                        &chunk(),
                    )
                })
            })?
        }),
        case(
            "bytes until the connection ends, without an end",
            "sends more bytes",
            |asked| {
                is_layer(asked).then(|| {
                    Reply::raw(|stream| endless(stream, "HTTP/1.1 200 X\r\n\r\n", &[7; 4096]))
                })?
            },
        ),
        case(
            "always broken off at once",
            "connection broke",
            move |asked| {
                let head = format!("HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n");
                is_layer(asked).then(|| Reply::bytes(head))?
            },
        ),
        case(
            "broken off after one byte more each time",
            "connection broke",
            move |asked| {
                let from = asked
                    .header("range")
                    .trim_start_matches("bytes=")
                    .trim_end_matches('-')
                    .parse::<usize>();
                let from = from.unwrap_or(0);
                let head = match from {
                    0 => format!("HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n"),
                    from => format!(
                        "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{size}\r\n\r\n",
                        size - from,
                        size - 1
                    ),
                };
                is_layer(asked)
                    .then(|| Reply::bytes([head.as_bytes(), &layer()[from..=from]].concat()))?
            },
        ),
        case("an encoding that was not asked for", "encoded", |asked| {
            is_layer(asked)
                .then(|| Reply::status(200, &[("Content-Encoding", "gzip")], &gzip(&layer())))
        }),
    ]);
}

#[test]
fn parts_of_layers() {
    let size = layer().len();
    let part = move |range: &'static str| {
        move || Reply::status(206, &[("Content-Range", range)], &layer()[size / 2..])
    };
    refused(vec![
        case(
            "a part that was not asked for",
            "all was asked for",
            move |asked| {
                is_layer(asked)
                    .then(|| Reply::status(206, &[("Content-Range", "bytes 0-9/10")], &layer()))
            },
        ),
        after_half(
            "a part from elsewhere",
            "were asked for",
            part("bytes 0-32767/67072"),
        ),
        after_half(
            "a part of something longer",
            "were asked for",
            part("bytes 33536-67071/99999999"),
        ),
        after_half(
            "a part beyond the end",
            "were asked for",
            part("bytes 33536-99999998/99999999"),
        ),
        after_half(
            "a part that goes backwards",
            "were asked for",
            part("bytes 33536-1/67072"),
        ),
        after_half("a part without a range", "were asked for", || {
            Reply::status(206, &[], b"x")
        }),
        after_half("a part that is more than the rest", "were said", || {
            let size = layer().len();
            let range = format!("bytes {}-{}/{size}", size / 2, size - 1);
            Reply::status(206, &[("Content-Range", &range)], &layer())
        }),
        case("a range that can never be had", "416", |asked| {
            is_layer(asked).then(|| Reply::status(416, &[], b""))
        }),
        layer_raw(
            "a length that is none",
            "not taken",
            "200 X\r\nContent-Length: -5",
            Vec::new(),
        ),
        layer_raw(
            "two lengths",
            "not taken",
            "200 X\r\nContent-Length: 5\r\nContent-Length: 6",
            b"abcdef".to_vec(),
        ),
        layer_raw(
            "a chunk of exabytes",
            "",
            "200 X\r\nTransfer-Encoding: chunked",
            b"fffffffffffffffff\r\nx".to_vec(),
        ),
    ]);
}

/// Sends whoever asks for the layer elsewhere.
fn sends(name: &'static str, word: &'static str, to: &str) -> Case {
    let to = to.to_owned();
    case(name, word, move |asked| {
        is_layer(asked).then(|| Reply::status(307, &[("Location", &to)], b""))
    })
}

#[test]
fn redirects() {
    refused(vec![
        sends(
            "in a circle",
            "more than 5 times",
            &format!("/v2/app/blobs/{}", layer_digest()),
        ),
        sends("to a file", "no address", "file:///etc/passwd"),
        sends("to a directory service", "no address", "ldap://127.0.0.1/x"),
        sends(
            "to a host without a scheme",
            "no address",
            "//127.0.0.1:1/x",
        ),
        sends(
            "to a name with a password",
            "user name",
            "http://a:b@127.0.0.1:1/x",
        ),
        sends(
            "to another host without TLS",
            "everybody on the way",
            "http://192.0.2.1/x",
        ),
        sends(
            "to the cloud's own",
            "everybody on the way",
            "http://169.254.169.254/latest/meta-data/",
        ),
        sends("nowhere", "no address", ""),
        sends(
            "to a port that is none",
            "no address",
            "http://127.0.0.1:99999/x",
        ),
        sends(
            "very far",
            "no address",
            &format!("http://127.0.0.1/{}", "x".repeat(10_000)),
        ),
        sends(
            "where nobody answers",
            "cannot be reached",
            "http://127.0.0.1:1/x",
        ),
        case("without a place", "does not say where", |asked| {
            is_layer(asked).then(|| Reply::status(302, &[], b""))
        }),
        case("to two places", "does not say where", |asked| {
            is_layer(asked)
                .then(|| Reply::status(302, &[("Location", "/a"), ("Location", "/b")], b""))
        }),
        case("on and on", "more than 5 times", |asked| {
            let count = asked.path.len();
            let to = format!("/{}", "x".repeat(count));
            Some(Reply::status(301, &[("Location", &to)], b""))
        }),
        case("a manifest from a file", "no address", |asked| {
            is_manifest(asked)
                .then(|| Reply::status(308, &[("Location", "file:///etc/passwd")], b""))
        }),
    ]);
}

/// Wants a token from there.
fn realm(
    name: &'static str,
    word: &'static str,
    realm: &'static str,
    token: fn() -> Reply,
) -> Case {
    case(name, word, move |asked| {
        if asked.path.starts_with("/token") {
            return Some(token());
        }
        let realm = realm.replace("HOST", asked.header("host"));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        Some(Reply::status(401, &[("WWW-Authenticate", &challenge)], b""))
    })
}

fn no_token() -> Reply {
    Reply::status(200, &[], b"{}")
}

#[test]
fn questions_for_credentials() {
    let asks = |name, word, challenge: &'static str| {
        case(name, word, move |_| {
            Some(Reply::status(401, &[("WWW-Authenticate", challenge)], b""))
        })
    };
    refused(vec![
        case("without saying how", "in a way that is not known", |_| {
            Some(Reply::status(401, &[], b""))
        }),
        asks("in an unknown way", "Negotiate", "Negotiate YII="),
        asks(
            "by a password that is not there",
            "docker login",
            "Basic realm=\"r\"",
        ),
        asks(
            "with two realms",
            "in a way that is not known",
            "Bearer realm=\"http://127.0.0.1/a\",realm=\"http://127.0.0.1/b\"",
        ),
        asks(
            "with a text without an end",
            "in a way that is not known",
            "Bearer realm=\"http://127.0.0.1/a",
        ),
        realm(
            "to another host without TLS",
            "everybody on the way",
            "http://192.0.2.1/token",
            no_token,
        ),
        realm("to a file", "no address", "file:///etc/passwd", no_token),
        realm(
            "to a name with a password",
            "user name",
            "http://a:b@HOST/token",
            no_token,
        ),
    ]);
}

#[test]
fn realms_that_give_nothing() {
    refused(vec![
        realm(
            "where there is no token",
            "holds none",
            "http://HOST/token",
            no_token,
        ),
        realm(
            "where there is no JSON",
            "holds none",
            "http://HOST/token",
            || Reply::status(200, &[], b"<html>"),
        ),
        realm(
            "where the token is two headers",
            "holds none",
            "http://HOST/token",
            || Reply::status(200, &[], br#"{"token":"a\r\nX-Y: z"}"#),
        ),
        realm(
            "where the token is very long",
            "256 KiB",
            "http://HOST/token",
            || Reply::status(200, &[], &vec![b'x'; 1 << 20]),
        ),
        realm(
            "where the token is of no use",
            "refuses",
            "http://HOST/token",
            || Reply::status(200, &[], br#"{"token":"t"}"#),
        ),
        realm(
            "that sends elsewhere",
            "sends elsewhere",
            "http://HOST/token",
            || Reply::status(307, &[("Location", "http://127.0.0.1:1/")], b""),
        ),
        realm("that refuses", "docker login", "http://HOST/token", || {
            Reply::status(401, &[], b"")
        }),
        realm("that breaks", "answers 500", "http://HOST/token", || {
            Reply::status(500, &[], b"")
        }),
    ]);
}

/// Whatever is asked, this is what comes.
fn answers(name: &'static str, word: &'static str, bytes: Vec<u8>) -> Case {
    case(name, word, move |_| Reply::bytes(bytes.clone()))
}

#[test]
fn answers_that_are_none() {
    let large = format!("HTTP/1.1 200 X\r\nX: {}\r\n\r\n", "y".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 X\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let folded = "HTTP/1.1 200 X\r\nA: b\r\n c\r\n\u{0}: x\r\n\r\n";
    let escapes = br#"{"errors":[{"code":"DENIED","message":"\u001b]0;evil\u0007\u202ex\n\nlakekeep: all is well"}]}"#;
    let more = || -> Vec<Case> {
        vec![
            case("silence", "no answer came", |_| Reply::raw(wait)),
            case("silence within a layer", "no more of its answer", |asked| {
                is_layer(asked).then(|| {
                    Reply::raw(|stream| {
                        stream
                            .write_all(b"HTTP/1.1 200 X\r\nContent-Length: 67072\r\n\r\nx")
                            .ok();
                        wait(stream);
                    })
                })?
            }),
            case("a few bytes at a time", "a few bytes at a time", |asked| {
                is_layer(asked).then(|| {
                    Reply::raw(|stream| {
                        drip(stream, b"HTTP/1.1 200 X\r\nContent-Length: 67072\r\n\r\n")
                    })
                })?
            }),
            case("a head a few bytes at a time", "no answer came", |_| {
                Reply::raw(|stream| drip(stream, b"HTTP/1.1 200 X\r\nX: "))
            }),
            case("interim answers without an end", "", |_| {
                Reply::raw(|stream| endless(stream, "", b"HTTP/1.1 100 Continue\r\n\r\n"))
            }),
        ]
    };
    let mut cases = vec![
        answers("a large header", "not taken", large.into_bytes()),
        answers("many headers", "not taken", many.into_bytes()),
        answers("a NUL in a header", "not taken", folded.as_bytes().to_vec()),
        answers("no HTTP", "not taken", b"SSH-2.0-OpenSSH\r\n".to_vec()),
        answers("noise", "not taken", noise(9, 4096)),
        answers(
            "a version that is none",
            "not taken",
            b"HTTP/9.9 200 X\r\n\r\n".to_vec(),
        ),
        answers(
            "a status that is none",
            "not taken",
            b"HTTP/1.1 2000000 X\r\n\r\n".to_vec(),
        ),
        answers("nothing", "", Vec::new()),
        case("a switch of protocols", "", |_| {
            Some(Reply::status(101, &[("Upgrade", "x")], b""))
        }),
        case("later, in an hour", "429", |_| {
            Some(Reply::status(429, &[("Retry-After", "3600")], b""))
        }),
        case("later, never", "503", |_| {
            Some(Reply::status(
                503,
                &[("Retry-After", "99999999999999999999")],
                b"",
            ))
        }),
        case("no", "403 (DENIED", move |asked| {
            // The answer to HEAD has no words.
            let code = if asked.method == "HEAD" { 405 } else { 403 };
            Some(Reply::status(code, &[], escapes))
        }),
        case("not there", "check the name and the tag", |_| {
            Some(Reply::status(404, &[], b""))
        }),
        case("a teapot", "418", |_| Some(Reply::status(418, &[], b""))),
    ];
    cases.extend(more());
    refused(cases);
}

/// Says nothing until the other side has gone.
fn wait(stream: &mut TcpStream) {
    std::io::Read::read(stream, &mut [0; 1]).ok();
}

/// A byte every 100 ms: more often than silence is counted.
fn drip(stream: &mut TcpStream, head: &[u8]) {
    stream.write_all(head).ok();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while stream.write_all(b"x").is_ok() {
        // The other side says nothing more; what it does in the end is close.
        if let Ok(0) = std::io::Read::read(stream, &mut [0; 1]) {
            return;
        }
    }
}

#[test]
fn names_that_are_none() {
    let place = Place::new();
    let puller = Puller::new(&place, Privilege::User);
    let registry = Registry::honest(Content::image(&[layer()]));
    let host = registry.address.to_string();
    let names = [
        "app:../../x",
        "app/../../etc:x",
        "app:%2e%2e",
        "app:a/b",
        "APP",
        "app:x\n",
        "app:",
        "../app",
        "a b",
        "user:pass@app",
        "app@sha256:12",
        "app@sha512:00",
        "app?x=y",
        "app#x",
        "app:x&y",
    ];
    for name in names {
        let pulled = puller.pull(&format!("{host}/{name}"), &["--plain-http"]);
        assert_eq!(pulled.status.code(), Some(125), "{name}: {}", said(&pulled));
        assert!(
            said(&pulled).contains("not an image's name"),
            "{name}: {}",
            said(&pulled)
        );
    }
    for mirror in [
        "ftp://x",
        "https://a:b@x",
        "http://m.example",
        "https://x/../y",
        "",
    ] {
        let pulled = puller.pull(&registry.name("latest"), &["--mirror", mirror]);
        assert_eq!(
            pulled.status.code(),
            Some(125),
            "{mirror}: {}",
            said(&pulled)
        );
        assert!(
            said(&pulled).contains("no address of a registry"),
            "{mirror}: {}",
            said(&pulled)
        );
    }
    assert_eq!(registry.asked().len(), 0);
}
