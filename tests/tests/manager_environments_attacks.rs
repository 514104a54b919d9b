//! What an enemy sends in place of an environment: refused, with nothing stored.
//!
//! Each attack is the honest upload with one thing changed; the honest one is taken, so that what is
//! refused is the change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use lakekeep_api::v1::push_event::Event as Out;
use lakekeep_api::v1::push_request::Request as In;
use lakekeep_api::v1::{EnvironmentRef, ListEnvironmentsRequest, PushBegin};
use lakekeep_content::{Algorithm, Digest};
use lakekeep_tests::manager::{Manager, Setup, User};

/// An environment of three files, and their contents.
struct Made {
    files: BTreeMap<&'static str, Vec<u8>>,
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Blake3, bytes).hex()
}

impl Made {
    fn new() -> Self {
        let files = [
            ("bin/python", b"#!/bin/sh\n".to_vec()),
            ("m.py", b"x = 1\n".repeat(1000)),
            ("n.py", b"y = 2\n".repeat(1000)),
        ];
        Made {
            files: files.into(),
        }
    }

    fn manifest(&self) -> String {
        let entries = self.files.iter().map(|(path, content)| {
            let kind = if path.starts_with("bin/") { "x" } else { "f" };
            format!("{kind}\t{}\t{}\t{path}\n", hex(content), content.len())
        });
        let entries: String = entries.collect();
        format!(
            "lakekeep-environment\t1\n\
             python\t/srv/v/bin/python\t3.11.7\tcpython-311\tglibc 2.36\tx86_64\n\
             prefix\t/srv/v\t/srv/v\n\
             tree\t/srv/v\nd\tbin\n{entries}"
        )
    }

    /// Contents in the order in which they are asked for.
    fn contents(&self, wanted: &[Vec<u8>]) -> Vec<u8> {
        let by_digest: BTreeMap<String, &Vec<u8>> = self
            .files
            .values()
            .map(|content| (hex(content), content))
            .collect();
        let found = wanted.iter().map(|digest| {
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            by_digest[&digest].clone()
        });
        found.flatten().collect()
    }
}

fn begin(manifest: &str) -> In {
    In::Begin(PushBegin {
        digest: hex(manifest.as_bytes()),
        manifest_bytes: manifest.len() as u64,
        profile: String::new(),
    })
}

fn text(manifest: &str) -> In {
    In::Manifest(manifest.as_bytes().to_vec())
}

/// A zstd frame of raw blocks (RFC 8878, 3.1.1): a window of 1 MiB, no checksum.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50];
    let blocks: Vec<&[u8]> = match bytes.is_empty() {
        true => vec![bytes],
        false => bytes.chunks(100_000).collect(),
    };
    for (number, block) in blocks.iter().enumerate() {
        let last = usize::from(number + 1 == blocks.len());
        let header = (block.len() << 3) | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

/// One block that says: this byte, so many times (RLE).
fn bomb(blocks: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50];
    for number in 0..blocks {
        let last = usize::from(number + 1 == blocks);
        let header = (100_000 << 3) | (1 << 1) | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// What would be asked for: an upload that ends there.
fn asked(user: &User, made: &Made) -> Vec<Vec<u8>> {
    let manifest = made.manifest();
    let heard = user.push(vec![begin(&manifest), text(&manifest)]);
    // It is refused, for the pack is missing; what was asked before that is lost with the answer,
    // so it is told by the digests, sorted.
    heard.unwrap_err();
    let mut digests: Vec<String> = made.files.values().map(|content| hex(content)).collect();
    digests.sort();
    let bytes = |hex: &String| {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..32).map(|byte| digit(2 * byte)).collect()
    };
    digests.iter().map(bytes).collect()
}

fn start(test: &str) -> Option<Manager> {
    Setup::new().start(test)
}

fn nothing_stored(user: &User, what: &str) {
    let listed = user.list_environments(ListEnvironmentsRequest {}).unwrap();
    assert_eq!(listed.environments, [], "{what}");
}

/// An honest upload, to be changed. What came whole of one attack is held for the next, so each has
/// contents of its own.
struct Upload {
    manifest: String,
    whole: Vec<u8>,
}

impl Upload {
    fn new(user: &User, salt: usize) -> Self {
        let mut made = Made::new();
        for content in made.files.values_mut() {
            content.extend_from_slice(format!("# {salt}\n").as_bytes());
        }
        Upload {
            manifest: made.manifest(),
            whole: made.contents(&asked(user, &made)),
        }
    }

    fn words(&self, pack: Vec<u8>) -> Vec<In> {
        vec![begin(&self.manifest), text(&self.manifest), In::Pack(pack)]
    }

    fn named(&self, digest: String, length: usize) -> Vec<In> {
        let begin = In::Begin(PushBegin {
            digest,
            manifest_bytes: length as u64,
            profile: String::new(),
        });
        vec![begin, text(&self.manifest)]
    }

    fn length(&self) -> usize {
        self.manifest.len()
    }

    fn right(&self) -> String {
        hex(self.manifest.as_bytes())
    }
}

type Attack = fn(&Upload) -> Vec<In>;

const ATTACKS: [(&str, Attack); 18] = [
    ("no word", |_| vec![]),
    ("no begin", |it| vec![text(&it.manifest)]),
    ("no digest", |it| it.named("../../etc".to_owned(), 3)),
    ("the digest of nothing", |it| it.named(hex(b""), 0)),
    ("another's digest", |it| it.named(hex(b"x"), it.length())),
    ("a manifest of 1 TiB", |it| it.named(it.right(), 1 << 40)),
    ("half a manifest", |it| {
        it.named(it.right(), it.length() + 1)
    }),
    ("a pack before the manifest", |it| {
        vec![begin(&it.manifest), In::Pack(frame(&it.whole))]
    }),
    ("a digest without content", |it| {
        vec![begin(&it.manifest), text(&it.manifest)]
    }),
    ("an empty pack", |it| it.words(frame(b""))),
    ("no zstd", |it| it.words(it.whole.clone())),
    ("other contents", |it| {
        let mut other = it.whole.clone();
        other[it.whole.len() / 2] ^= 1;
        it.words(frame(&other))
    }),
    ("less", |it| {
        it.words(frame(&it.whole[..it.whole.len() - 1]))
    }),
    ("more", |it| {
        it.words(frame(&[it.whole.as_slice(), b"x"].concat()))
    }),
    ("a cut frame", |it| {
        let frame = frame(&it.whole);
        it.words(frame[..frame.len() - 1].to_vec())
    }),
    ("bytes behind the frame", |it| {
        it.words([frame(&it.whole).as_slice(), b"x"].concat())
    }),
    ("a bomb of 10 GB", |it| it.words(bomb(100_000))),
    ("a second manifest", |it| {
        [it.words(frame(&it.whole[..5])), vec![text(&it.manifest)]].concat()
    }),
];

#[test]
fn a_changed_upload_is_refused_and_the_honest_one_is_taken() {
    let Some(manager) = start("environments_attacks") else {
        return;
    };
    let alice = manager.alice();
    for (number, (what, attack)) in ATTACKS.iter().enumerate() {
        let upload = Upload::new(&alice, number);
        let refused = alice.push(attack(&upload)).unwrap_err();
        assert_eq!(refused.reason, "BAD_REQUEST", "{what}: {refused:?}");
        nothing_stored(&alice, what);
    }
    let upload = Upload::new(&alice, ATTACKS.len());
    let heard = alice.push(upload.words(frame(&upload.whole))).unwrap();
    assert!(matches!(heard.last(), Some(Out::Stored(_))), "{heard:?}");
    let listed = alice.list_environments(ListEnvironmentsRequest {}).unwrap();
    assert_eq!(listed.environments.len(), 1);
    manager.end();
}

#[test]
fn paths_of_a_manifest_lead_nowhere() {
    let Some(manager) = start("environments_paths") else {
        return;
    };
    let alice = manager.alice();
    let manifest = Made::new().manifest();
    let games = [
        ("\tm.py\n", "\t../m.py\n"),
        ("\tm.py\n", "\t/etc/m.py\n"),
        ("\tm.py\n", "\ta/../../m.py\n"),
        ("\tm.py\n", "\tbin/python/m.py\n"),
        ("\tm.py\n", "\tbin/python\n"),
        ("tree\t/srv/v\n", "tree\t/etc\n"),
        ("tree\t/srv/v\n", "tree\t/usr\n"),
        ("tree\t/srv/v\n", "tree\t/proc/self\n"),
        ("tree\t/srv/v\n", "tree\t/srv/../etc\n"),
        ("d\tbin\n", "l\t/etc\tbin\n"),
        ("d\tbin\n", "l\t../../etc\tbin\n"),
    ];
    for (from, to) in games {
        let played = manifest.replace(from, to);
        assert_ne!(played, manifest);
        let refused = alice.push(vec![begin(&played), text(&played)]).unwrap_err();
        assert_eq!(refused.reason, "BAD_REQUEST", "{to:?}: {refused:?}");
        assert!(refused.message.contains("line"), "{to:?}: {refused:?}");
        nothing_stored(&alice, to);
    }
    manager.end();
}

/// Alice has a content. Bob names its digest in a manifest of his own, in every way that there is, and
/// is given nothing.
#[test]
fn a_manifest_that_names_anothers_content_is_not_given_it() {
    let Some(manager) = start("environments_oracle") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let made = Made::new();
    let manifest = made.manifest();
    let pack = frame(&made.contents(&asked(&alice, &made)));
    let honest = vec![begin(&manifest), text(&manifest), In::Pack(pack)];
    alice.push(honest.clone()).unwrap();
    // For her the manifest's digest is enough: that is what makes naming it an attack.
    let known = alice.push(vec![begin(&manifest)]).unwrap();
    assert!(
        matches!(&known[..], [Out::Stored(stored)] if stored.known),
        "{known:?}"
    );
    // Bob names it, and is asked for the manifest, as for one that nobody has.
    let refused = bob.push(vec![begin(&manifest)]).unwrap_err();
    let nobodys = format!("{manifest}\n");
    let same = bob.push(vec![begin(&nobodys)]).unwrap_err();
    assert_eq!(
        (refused.reason, refused.message),
        (same.reason, same.message)
    );
    // He has the manifest, and not the contents.
    let refused = bob
        .push(vec![begin(&manifest), text(&manifest)])
        .unwrap_err();
    assert_eq!(refused.reason, "BAD_REQUEST", "{refused:?}");
    nothing_stored(&bob, "a manifest alone");
    let whose = EnvironmentRef {
        digest: hex(manifest.as_bytes()),
        profile: String::new(),
    };
    assert_eq!(
        bob.remove_environment(whose.clone()).unwrap_err().reason,
        "NOT_FOUND"
    );
    // He sends all of it: it is his, and what becomes of his is nothing to hers.
    let heard = bob.push(honest).unwrap();
    let stored = heard.last().unwrap();
    assert!(
        matches!(stored, Out::Stored(stored) if stored.contents == 3 && !stored.known),
        "{stored:?}"
    );
    bob.remove_environment(whose).unwrap();
    let known = alice.push(vec![begin(&manifest)]).unwrap();
    assert!(
        matches!(&known[..], [Out::Stored(stored)] if stored.known),
        "{known:?}"
    );
    manager.end();
}

#[test]
fn a_quota_bounds_what_a_user_stores() {
    let tables = "[environments]\nbytes = \"20KiB\"\n";
    let Some(manager) = Setup::new().tables(tables).start("environments_quota") else {
        return;
    };
    let alice = manager.alice();
    let mut made = Made::new();
    let pack = frame(&made.contents(&asked(&alice, &made)));
    let manifest = made.manifest();
    alice
        .push(vec![begin(&manifest), text(&manifest), In::Pack(pack)])
        .unwrap();
    made.files.insert("o.py", b"z = 3\n".repeat(2000));
    let manifest = made.manifest();
    let refused = alice
        .push(vec![begin(&manifest), text(&manifest)])
        .unwrap_err();
    assert_eq!(refused.reason, "QUOTA_EXCEEDED", "{refused:?}");
    assert!(refused.message.contains("env gc"), "{refused:?}");
    // Hers is no matter of Bob's.
    let bob = manager.bob();
    let pack = frame(&Made::new().contents(&asked(&bob, &Made::new())));
    let manifest = Made::new().manifest();
    bob.push(vec![begin(&manifest), text(&manifest), In::Pack(pack)])
        .unwrap();
    manager.end();
}
