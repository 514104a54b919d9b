//! A layer: what anybody's archive, compressed or not, can make a reader do.
#![no_main]

use std::alloc::System;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Component;

use cap::Cap;
use lakekeep_content::{Algorithm, Digest, Seal};
use lakekeep_unpack::archive::{Archive, EntryKind};
use lakekeep_unpack::{Decompressed, Limits, UnpackError, unpack};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that reading may take: buffers, an extended header twice, and zstd's window, which
/// `Limits` do not bound.
const MEMORY_LIMIT: usize = 600 << 20;

/// Small, so that the limits too are met.
const LIMITS: Limits = Limits {
    bytes: 4 << 20,
    file_bytes: 1 << 20,
    entries: 64,
    ratio: 250,
    depth: 8,
    attribute_bytes: 1024,
};

fuzz_target!(|bytes: &[u8]| {
    let before = MEMORY.allocated();
    MEMORY
        .set_limit(before + MEMORY_LIMIT)
        .expect("below what is there");
    let entries = read(bytes);
    written(bytes, entries);
    MEMORY.set_limit(usize::MAX).expect("no limit");
});

/// Every entry that is believed stays below its root; `None`: the archive is refused.
fn read(bytes: &[u8]) -> Option<u64> {
    let plain = Decompressed::new(bytes, LIMITS).ok()?;
    let mut archive = Archive::new(plain, LIMITS);
    let mut entries = 0;
    while let Some(entry) = archive.next_entry().ok()? {
        entries += 1;
        let path = entry.path.as_path();
        assert!(
            path.components()
                .all(|part| matches!(part, Component::Normal(_)))
        );
        assert!(path.components().count() <= LIMITS.depth);
        match entry.kind {
            EntryKind::File { size } => {
                assert!(size <= LIMITS.file_bytes);
                let mut content = Vec::new();
                archive.read_to_end(&mut content).ok()?;
                assert_eq!(content.len() as u64, size);
            }
            EntryKind::HardLink(target) => assert!(target.as_path().is_relative()),
            EntryKind::Folder | EntryKind::SymbolicLink(_) | EntryKind::Whiteout => {}
        }
    }
    assert!(entries <= LIMITS.entries);
    Some(entries)
}

/// What is unpacked is files, folders and links in one folder; nothing beside it is touched.
fn written(bytes: &[u8], entries: Option<u64>) {
    let place = tempfile::tempdir().expect("a folder");
    let root = place.path().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::write(place.path().join("canary"), "canary").expect("a file");
    let folder = fs::File::open(&root).expect("the folder");
    // Nobody knows the digest of what the fuzzer makes: the last check is met, or one before it.
    let wanted = Digest::of(Algorithm::Sha256, b"none");
    let error = unpack(bytes, folder.as_fd(), &wanted, LIMITS).expect_err("another digest");
    if entries.is_none() {
        assert!(
            !matches!(error, UnpackError::WrongDiffId { .. }),
            "refused only when read"
        );
    }
    Seal::of(&folder).expect("nothing but files, folders and links");
    let names = fs::read_dir(place.path()).expect("the folder").count();
    assert_eq!(names, 2, "something was made outside");
    assert_eq!(
        fs::read(place.path().join("canary")).expect("the file"),
        b"canary"
    );
}
