//! A registry that does one thing otherwise than an honest one, and what becomes of it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakekeep_tests::{Place, Privilege};

use crate::common::diff_id;
use crate::naive::{self, Proof};
use crate::pull::{Asked, Content, Puller, Quirk, Registry, Reply, noise, said, tree};

/// How long a refusal may take: all pauses and silences are bounded.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// What it is called, what the registry has, what it does, and a word of the refusal.
pub struct Case {
    pub name: &'static str,
    pub content: Content,
    pub quirk: Quirk,
    pub word: &'static str,
    /// What it does to a client that does as it is told.
    proof: Option<Proof>,
}

impl Case {
    /// It is shown first that this is how it harms.
    pub fn harms(self, proof: Proof) -> Case {
        Case {
            proof: Some(proof),
            ..self
        }
    }
}

pub fn case(
    name: &'static str,
    word: &'static str,
    quirk: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> Case {
    Case {
        name,
        content: Content::image(&[layer()]),
        quirk: Arc::new(quirk),
        word,
        proof: None,
    }
}

/// An honest registry with content that is not.
pub fn holds(name: &'static str, word: &'static str, content: Content) -> Case {
    Case {
        name,
        content,
        quirk: Arc::new(|_| None),
        word,
        proof: None,
    }
}

pub fn layer() -> Vec<u8> {
    noise(1, 64 << 10)
}

pub fn layer_digest() -> String {
    diff_id(&layer()).to_string()
}

/// Shows that each harms a client that does as it is told, or says why that cannot be shown; then pulls from each.
pub fn refused(unproven: &str, cases: Vec<Case>) {
    let mut harmless = Vec::new();
    let mut proven = 0;
    let clients = naive::available();
    for case in &cases {
        let Some(proof) = case.proof.filter(|_| clients) else {
            println!("{}: not proven elsewhere: {unproven}", case.name);
            continue;
        };
        proven += 1;
        if !proof(&Registry::new(case.content.clone(), case.quirk.clone())) {
            harmless.push(case.name);
        }
    }
    assert!(
        harmless.is_empty(),
        "these do not harm anybody: {harmless:?}"
    );
    println!("{proven} of {} registries harm others", cases.len());
    for case in cases {
        assert_refused(case);
    }
}

/// Pulls, and holds the refusal and what is left against what they should be.
fn assert_refused(case: Case) {
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

pub fn is_manifest(asked: &Asked) -> bool {
    asked.what().0 == "manifests"
}

pub fn is_layer(asked: &Asked) -> bool {
    asked.what() == ("blobs", &layer_digest())
}

/// A layer's answer, byte by byte.
pub fn layer_raw(
    name: &'static str,
    word: &'static str,
    head: &'static str,
    body: Vec<u8>,
) -> Case {
    case(name, word, move |asked| {
        let head = format!("HTTP/1.1 {head}\r\n\r\n");
        is_layer(asked).then(|| Reply::bytes([head.as_bytes(), &body].concat()))?
    })
}

/// Writes the same for ever, or until nobody listens.
pub fn endless(stream: &mut TcpStream, head: &str, piece: &[u8]) {
    let mut sent = stream.write_all(head.as_bytes());
    while sent.is_ok() {
        sent = stream.write_all(piece);
    }
}

/// Says nothing until the other side has gone.
pub fn wait(stream: &mut TcpStream) {
    std::io::Read::read(stream, &mut [0; 1]).ok();
}

/// A byte every 100 ms: more often than silence is counted.
pub fn drip(stream: &mut TcpStream, head: &[u8]) {
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

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, bytes).unwrap();
    let packed = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&file)
        .output();
    packed.unwrap().stdout
}
