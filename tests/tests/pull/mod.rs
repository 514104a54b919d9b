//! Images, and registries of a test's own that serve them: honest where nothing else is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use lakekeep_tests::{Place, Privilege, lakekeep};
use serde_json::{Value, json};

use crate::common::{Fields, Tar, diff_id};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

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
    tar.end()
}

/// A layer that compresses badly: one file of noise, the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut content = Vec::with_capacity(bytes);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
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
        let mut content = Content::default();
        let described = layers.iter().map(|layer| content.blob(OCI_LAYER, layer));
        let described: Vec<Value> = described.collect();
        let config = config(layers);
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

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    /// Such as `manifests` or `blobs`, and what of it.
    pub fn what(&self) -> (&str, &str) {
        let mut parts = self.path.rsplitn(3, '/');
        let name = parts.next().unwrap_or_default();
        (parts.next().unwrap_or_default(), name)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a registry answers.
pub enum Reply {
    /// Status, headers, body. `Content-Length` is added.
    Plain(u16, Vec<(String, String)>, Vec<u8>),
    /// Whatever is written to the connection, which ends then.
    Raw(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

impl Reply {
    pub fn status(code: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Reply::Plain(code, headers.collect(), body.to_vec())
    }

    pub fn raw(write: impl FnOnce(&mut TcpStream) + Send + 'static) -> Option<Reply> {
        Some(Reply::Raw(Box::new(write)))
    }

    /// These bytes and no more.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Option<Reply> {
        let bytes = bytes.into();
        Reply::raw(move |stream| {
            // The other side may have had enough.
            stream.write_all(&bytes).ok();
        })
    }
}

/// What a registry does otherwise than an honest one.
pub type Quirk = Arc<dyn Fn(&Asked) -> Option<Reply> + Send + Sync>;

/// A registry on loopback, without TLS; ends when dropped.
pub struct Registry {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    pub fn new(content: Content, quirk: Quirk) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (seen, ends) = (asked.clone(), over.clone());
        let content = Arc::new(content);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (content, quirk, seen) = (content.clone(), quirk.clone(), seen.clone());
                std::thread::spawn(move || talk(&stream.unwrap(), &content, &quirk, &seen));
            }
        });
        Registry {
            address,
            asked,
            over,
            thread: Some(thread),
        }
    }

    pub fn honest(content: Content) -> Registry {
        Registry::new(content, Arc::new(|_| None))
    }

    /// The name of an image of its.
    pub fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a path with this in it was asked for with GET.
    pub fn gets(&self, part: &str) -> usize {
        let asked = self.asked();
        let gets = asked.iter().filter(|asked| asked.method == "GET");
        gets.filter(|asked| asked.path.contains(part)).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok();
        self.thread.take().map(JoinHandle::join);
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    // What is no text is a client that speaks TLS.
    reader
        .read_line(&mut line)
        .ok()
        .filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        headers: BTreeMap::new(),
    };
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        asked
            .headers
            .insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = asked.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(asked)
}

fn talk(stream: &TcpStream, content: &Content, quirk: &Quirk, seen: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read_request(&mut reader) {
        seen.lock().unwrap().push(asked.clone());
        let reply = quirk(&asked).unwrap_or_else(|| honest(content, &asked));
        let mut stream = stream;
        match reply {
            Reply::Raw(write) => {
                let mut own = stream.try_clone().unwrap();
                write(&mut own);
                own.shutdown(std::net::Shutdown::Both).ok();
                return;
            }
            Reply::Plain(code, headers, body) => {
                let mut head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    write!(head, "{name}: {value}\r\n").unwrap();
                }
                head.push_str("\r\n");
                let body = if asked.method == "HEAD" {
                    &[]
                } else {
                    &body[..]
                };
                if stream.write_all(&[head.as_bytes(), body].concat()).is_err() {
                    return;
                }
            }
        }
    }
}

/// As the distribution-spec has it.
pub fn honest(content: &Content, asked: &Asked) -> Reply {
    let missing = || Reply::status(404, &[], br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
    match asked.what() {
        ("manifests", name) => {
            let tagged = content.tags.get(name).map(|(_, digest)| digest.as_str());
            let digest = tagged.unwrap_or(name);
            match (content.blobs.get(digest), content.kinds.get(digest)) {
                (Some(document), Some(kind)) => manifest(kind, digest, document),
                _ => missing(),
            }
        }
        ("blobs", digest) => match content.blobs.get(digest) {
            Some(bytes) => blob(bytes, asked),
            None => missing(),
        },
        _ => missing(),
    }
}

pub fn manifest(kind: &str, digest: &str, document: &[u8]) -> Reply {
    let headers = [("Content-Type", kind), ("Docker-Content-Digest", digest)];
    Reply::status(200, &headers, document)
}

pub fn blob(bytes: &[u8], asked: &Asked) -> Reply {
    let range = asked.header("range").strip_prefix("bytes=");
    let from = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
    match from {
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::status(206, &[("Content-Range", &range)], &bytes[from..])
        }
        Some(_) => Reply::status(416, &[], b""),
        None => Reply::status(200, &[], bytes),
    }
}

/// A store of a test's own, and who uses it.
pub struct Puller {
    pub privilege: Privilege,
    pub store: PathBuf,
    home: PathBuf,
}

impl Puller {
    pub fn new(place: &Place, privilege: Privilege) -> Puller {
        let home = place.dir("home", privilege);
        Puller {
            privilege,
            store: home.join("store"),
            home,
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(lakekeep());
        command.args(words).env("LAKEKEEP_STORE", &self.store);
        // Nothing of whoever runs the tests: no logins, no mirrors.
        command.env("HOME", &self.home).env_remove("DOCKER_CONFIG");
        command.env_remove("XDG_CONFIG_HOME");
        command.env("XDG_RUNTIME_DIR", &self.home);
        self.privilege.apply(&mut command);
        command
    }

    pub fn lakekeep(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `image pull`, with what keeps a test short.
    pub fn pull(&self, name: &str, more: &[&str]) -> Output {
        let words = [
            "image",
            "pull",
            name,
            "--attempts",
            "2",
            "--connect-timeout",
            "2s",
            "--idle-timeout",
            "1s",
        ];
        self.lakekeep(&[&words[..], more].concat())
    }

    /// As a program reads it.
    pub fn pulled(&self, name: &str, more: &[&str]) -> Value {
        let output = self.pull(name, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn assert_sound(&self) {
        let checked = self.lakekeep(&["store", "fsck"]);
        assert!(checked.status.success(), "{}", said(&checked));
    }

    /// Names of images.
    pub fn names(&self) -> String {
        said(&self.lakekeep(&["image", "ls"]))
    }

    pub fn partial(&self) -> Vec<u64> {
        // It is made by whoever opens the store first, who may have been killed before.
        let Ok(files) = fs::read_dir(self.store.join("partial")) else {
            return Vec::new();
        };
        let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
        lengths.collect()
    }
}

pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Everything below a folder, as `find` tells it.
pub fn tree(path: &Path) -> String {
    let format = "%P %y %s %m %T@\n";
    let found = Command::new("find")
        .args([path.as_os_str(), "-printf".as_ref(), format.as_ref()])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap()
}
