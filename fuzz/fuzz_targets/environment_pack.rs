//! Contents of an environment as anybody may send them: the bytes of a pack, and what was asked for.
#![no_main]

use std::alloc::System;
use std::io::Read;

use cap::Cap;
use lakekeep_environment::{Digest, FileNode};
use lakekeep_tree::{Contents, receive, send};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that reading a pack may take: zstd's window of 8 MiB, and its decoder's buffers.
const MEMORY_LIMIT: usize = 64 << 20;

fuzz_target!(|input: (Vec<u16>, Vec<u8>)| {
    let (lengths, bytes) = input;
    let wanted: Vec<FileNode> = lengths
        .iter()
        .take(64)
        .map(|length| asked(*length))
        .collect();
    let before = MEMORY.allocated();
    MEMORY
        .set_limit(before + MEMORY_LIMIT)
        .expect("below what is there");
    hostile(&wanted, &bytes);
    honest(&lengths, &bytes);
    MEMORY.set_limit(usize::MAX).expect("no limit");
});

fn asked(length: u16) -> FileNode {
    FileNode {
        digest: Digest::of(&length.to_le_bytes()),
        size: u64::from(length),
        executable: false,
    }
}

/// The bytes are the pack.
fn hostile(wanted: &[FileNode], pack: &[u8]) {
    let mut taken = 0;
    let read = receive(&mut &*pack, wanted, &mut |file, content| {
        let count = std::io::copy(content, &mut std::io::sink()).unwrap_or(0);
        assert!(count <= file.size);
        taken += u64::from(count == file.size);
        Ok(())
    });
    if read.is_ok() {
        assert_eq!(taken, wanted.len() as u64);
    }
}

/// The bytes are the contents.
struct Parts<'a>(Vec<(FileNode, &'a [u8])>);

impl Contents for Parts<'_> {
    fn open(&self, file: &FileNode) -> std::io::Result<Option<Box<dyn Read>>> {
        let found = self.0.iter().find(|(node, _)| node == file);
        Ok(found.map(|(_, bytes)| Box::new(std::io::Cursor::new(bytes.to_vec())) as Box<dyn Read>))
    }
}

fn honest(lengths: &[u16], mut bytes: &[u8]) {
    let mut parts = Vec::new();
    for length in lengths.iter().take(64) {
        let (part, rest) = bytes.split_at(bytes.len().min(usize::from(*length)));
        bytes = rest;
        let node = FileNode {
            digest: Digest::of(part),
            size: part.len() as u64,
            executable: false,
        };
        parts.push((node, part));
    }
    let wanted: Vec<FileNode> = parts.iter().map(|(node, _)| *node).collect();
    let given = Parts(parts);
    let mut pack = Vec::new();
    send(&wanted, &given, &mut pack).expect("all of it is there");
    let mut next = 0;
    receive(&mut pack.as_slice(), &wanted, &mut |_, content| {
        let mut got = Vec::new();
        content.read_to_end(&mut got).expect("it is whole");
        assert_eq!(got, given.0[next].1);
        next += 1;
        Ok(())
    })
    .expect("what was sent");
}
