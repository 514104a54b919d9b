//! Registries of a test's own: honest where nothing else is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::content::Content;

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
        // Whether it speaks this at all (end-1).
        ("v2", "") => Reply::status(200, &[], b"{}"),
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
