//! Environments that are sent: what is asked for, what is taken, and what is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::{Given, WIDE, environment, manifest, node};
use lakekeep_environment::{Digest, FileNode, Manifest};
use lakekeep_tree::{Bounds, Domain, Made, TreeError, list, receive, send};

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        Place {
            _folder: folder,
            path,
        }
    }

    fn domain(&self, name: &str) -> Domain {
        Domain::open(&self.path.join(name)).unwrap()
    }
}

fn pack(wanted: &[FileNode], given: &Given) -> Vec<u8> {
    let mut pack = Vec::new();
    send(wanted, given, &mut pack).unwrap();
    pack
}

fn wanted(domain: &Domain, manifest: &Manifest) -> Vec<FileNode> {
    domain
        .expect(manifest, &[], WIDE)
        .unwrap()
        .wanted()
        .to_vec()
}

/// Sends what `domain` wants, as `pack` has it.
fn push(domain: &Domain, manifest: &Manifest, pack: &mut dyn Read) -> Result<Made, TreeError> {
    let mut arrival = domain.expect(manifest, &[], WIDE)?;
    let wanted = arrival.wanted().to_vec();
    receive(pack, &wanted, &mut |file, content| {
        arrival.take(file, content)
    })?;
    arrival.finish()
}

fn modules(count: u32) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| format!("x = {number}\n").repeat(2000).into_bytes())
        .collect()
}

#[test]
fn what_was_sent_once_is_not_asked_for_again() {
    let place = Place::new();
    let domain = place.domain("a");
    let (first, given) = environment(&modules(50));
    let asked = wanted(&domain, &first);
    assert_eq!(asked.len(), 51);
    let sent = pack(&asked, &given);
    let made = push(&domain, &first, &mut sent.as_slice()).unwrap();
    made.environment.verify().unwrap();
    drop(made);
    assert_eq!(fs::read_dir(place.path.join("a/inbox")).unwrap().count(), 0);
    // One module more: of 51 files, one is asked for.
    let (second, given) = environment(&modules(51));
    let asked = wanted(&domain, &second);
    assert_eq!(asked, [node(&modules(51)[50], false)]);
    let more = pack(&asked, &given);
    assert!(
        more.len() * 20 < sent.len(),
        "{} of {}",
        more.len(),
        sent.len()
    );
    let made = push(&domain, &second, &mut more.as_slice()).unwrap();
    made.environment.verify().unwrap();
    assert_eq!(list(domain.store()).unwrap().len(), 2);
}

#[test]
fn another_domain_is_asked_for_everything_and_shares_no_file() {
    let place = Place::new();
    let (manifest, given) = environment(&modules(3));
    let (a, b) = (place.domain("a"), place.domain("b"));
    let asked = wanted(&a, &manifest);
    let sent = pack(&asked, &given);
    let one = push(&a, &manifest, &mut sent.as_slice()).unwrap();
    // Whatever a has, b is asked for the same.
    assert_eq!(wanted(&b, &manifest), asked);
    let other = push(&b, &manifest, &mut sent.as_slice()).unwrap();
    let stat = |made: &Made| {
        let path = made.environment.mounts()[0].source.join("m1.py");
        fs::metadata(path).unwrap()
    };
    assert_ne!(stat(&one).ino(), stat(&other).ino());
    assert_eq!((stat(&one).nlink(), stat(&other).nlink()), (1, 1));
    // What is shared with b may be read by b: it is copied, and not sent.
    let c = place.domain("c");
    let arrival = c.expect(&manifest, &[&a], WIDE).unwrap();
    assert_eq!(arrival.wanted(), []);
    let third = arrival.finish().unwrap();
    third.environment.verify().unwrap();
    assert_ne!(stat(&one).ino(), stat(&third).ino());
}

#[test]
fn what_came_whole_before_a_cut_is_kept() {
    let place = Place::new();
    let domain = place.domain("a");
    // So that it does not compress to nothing.
    let modules: Vec<Vec<u8>> = (0..40_u32)
        .map(|number| {
            let words = (0..2000_u32)
                .map(|word| Digest::of(&[number, word].map(u32::to_le_bytes).concat()));
            words.flat_map(|digest| *digest.as_bytes()).collect()
        })
        .collect();
    let (manifest, given) = environment(&modules);
    let asked = wanted(&domain, &manifest);
    let sent = pack(&asked, &given);
    let half = &sent[..sent.len() / 2];
    let cut = push(&domain, &manifest, &mut &*half).unwrap_err();
    assert!(matches!(cut, TreeError::Pack { .. }), "{cut}");
    // The manager was killed, and another took its place.
    drop(domain);
    let domain = place.domain("a");
    let rest = wanted(&domain, &manifest);
    assert!((15..27).contains(&rest.len()), "{} of 41", rest.len());
    assert!(rest.iter().all(|file| asked.contains(file)));
    let made = push(&domain, &manifest, &mut pack(&rest, &given).as_slice()).unwrap();
    made.environment.verify().unwrap();
}

#[test]
fn a_manifest_without_contents_gives_nothing() {
    let place = Place::new();
    let domain = place.domain("a");
    let (manifest, given) = environment(&modules(3));
    let arrival = domain.expect(&manifest, &[], WIDE).unwrap();
    let refused = arrival.finish().unwrap_err();
    assert!(matches!(refused, TreeError::NoContent { .. }), "{refused}");
    // The right files in another order are other files.
    let mut asked = wanted(&domain, &manifest);
    asked.reverse();
    let turned = pack(&asked, &given);
    push(&domain, &manifest, &mut turned.as_slice()).unwrap_err();
    assert_eq!(list(domain.store()).unwrap(), []);
}

#[test]
fn contents_that_lie_are_not_taken() {
    let place = Place::new();
    let domain = place.domain("a");
    let (manifest, given) = environment(&modules(1));
    let asked = wanted(&domain, &manifest);
    let whole: Vec<u8> = asked
        .iter()
        .flat_map(|file| given.0[&file.digest].clone())
        .collect();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    let longer = [whole.as_slice(), b"more"].concat();
    let shorter = &whole[..whole.len() - 1];
    for lie in [other.as_slice(), &longer, shorter, b""] {
        let packed = compress(lie);
        push(&domain, &manifest, &mut packed.as_slice()).unwrap_err();
        assert_eq!(list(domain.store()).unwrap(), []);
    }
    let good = compress(&whole);
    let trailing = [good.as_slice(), b"x"].concat();
    for bytes in [
        trailing.as_slice(),
        b"no zstd",
        &good[..good.len() - 1],
        b"",
    ] {
        let refused = push(&place.domain("b"), &manifest, &mut &*bytes).unwrap_err();
        assert!(matches!(refused, TreeError::Pack { .. }), "{refused}");
    }
    push(&place.domain("c"), &manifest, &mut good.as_slice()).unwrap();
}

/// A pack of these bytes, whatever they are.
fn compress(bytes: &[u8]) -> Vec<u8> {
    let file = node(bytes, false);
    let mut given = Given::default();
    given.0.insert(file.digest, bytes.to_vec());
    pack(&[file], &given)
}

/// Counts what is read of it.
struct Counted<R>(R, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

#[test]
fn a_bomb_is_read_as_far_as_was_asked_for() {
    let place = Place::new();
    let (manifest, _) = environment(&modules(1));
    // A GiB of zeros in some KiB: as `zstd -d` would unpack it.
    let zeros = FileNode {
        size: 1 << 30,
        ..node(b"", false)
    };
    struct Zeros;
    impl lakekeep_tree::Contents for Zeros {
        fn open(&self, _: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
            Ok(Some(Box::new(std::io::repeat(0))))
        }
    }
    let mut bomb = Vec::new();
    send(&[zeros], &Zeros, &mut bomb).unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let mut counted = Counted(bomb.as_slice(), 0);
    let refused = push(&place.domain("a"), &manifest, &mut counted).unwrap_err();
    assert!(matches!(refused, TreeError::Changed { .. }), "{refused}");
    assert!(counted.1 < 4096, "{}", counted.1);
    let held = fs::read_dir(place.path.join("a/inbox")).unwrap().count();
    assert_eq!(held, 0);
}

#[test]
fn a_stream_without_end_is_left() {
    let place = Place::new();
    let (manifest, _) = environment(&modules(1));
    // A zstd header and then noise for ever.
    let noise = std::io::repeat(0xa5);
    let mut endless = Counted(b"\x28\xb5\x2f\xfd\x00\x58".chain(noise), 0);
    push(&place.domain("a"), &manifest, &mut endless).unwrap_err();
    assert!(endless.1 < 1 << 20, "{}", endless.1);
}

#[test]
fn a_manifest_that_names_a_content_with_another_length_is_not_given_it() {
    let place = Place::new();
    let domain = place.domain("a");
    let (first, given) = environment(&modules(2));
    let sent = pack(&wanted(&domain, &first), &given);
    push(&domain, &first, &mut sent.as_slice()).unwrap();
    for size in [0, 3, 1 << 20] {
        let lying = FileNode {
            size,
            ..node(&modules(2)[0], false)
        };
        let second = manifest(vec![lying]);
        // By its digest it is held; by its length it is not that content.
        let refused = domain
            .expect(&second, &[], WIDE)
            .unwrap()
            .finish()
            .unwrap_err();
        assert!(matches!(refused, TreeError::NoContent { .. }), "{refused}");
    }
}

#[test]
fn who_has_much_may_not_send_more() {
    let place = Place::new();
    let domain = place.domain("a");
    let (first, given) = environment(&modules(2));
    let sent = pack(&wanted(&domain, &first), &given);
    push(&domain, &first, &mut sent.as_slice()).unwrap();
    let (second, _) = environment(&modules(3));
    let bytes: u64 = second.contents().map(|file| file.size).sum();
    for (bytes, environments, fits) in [(bytes, 2, true), (bytes - 1, 2, false), (bytes, 1, false)]
    {
        let bounds = Bounds {
            bytes,
            environments,
        };
        let expected = domain.expect(&second, &[], bounds);
        assert_eq!(expected.is_ok(), fits);
    }
}

#[test]
fn the_longest_unused_go_and_those_in_use_stay() {
    let place = Place::new();
    let domain = place.domain("a");
    let mut digests = Vec::new();
    for number in 0..3_u32 {
        let (manifest, given) = environment(&[number.to_le_bytes().repeat(1000)]);
        let sent = pack(&wanted(&domain, &manifest), &given);
        push(&domain, &manifest, &mut sent.as_slice()).unwrap();
        let digest = manifest.digest();
        // An hour between any two.
        let folder = domain.environment(&digest).unwrap().mounts()[0]
            .source
            .clone();
        let folder = folder.ancestors().nth(3).unwrap().to_owned();
        let used = std::time::SystemTime::now()
            - std::time::Duration::from_secs(u64::from(3 - number) * 3600);
        fs::File::open(folder).unwrap().set_modified(used).unwrap();
        digests.push(digest);
    }
    let in_use = domain.store();
    let held = lakekeep_tree::look(in_use, &digests[0]).unwrap();
    // One has 4,000 bytes and the interpreter's 6.
    let collected = domain.collect(4_006).unwrap();
    assert_eq!(collected.removed, [digests[1]]);
    assert_eq!(collected.in_use, [digests[0]]);
    assert_eq!(collected.bytes, 4_006);
    drop(held);
    let collected = domain.collect(0).unwrap();
    assert_eq!(collected.removed.len(), 2);
    assert_eq!(list(domain.store()).unwrap(), []);
}
