//! Archives as nobody's program makes them.

use lakekeep_content::{Algorithm, Digest};

/// Builds an archive, byte by byte if need be.
#[derive(Clone, Default)]
pub struct Tar {
    pub bytes: Vec<u8>,
}

/// A header's fields, before its checksum.
pub struct Fields<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub size: u64,
    pub target: &'a [u8],
    pub mode: u32,
    pub magic: &'a [u8; 8],
    pub prefix: &'a [u8],
}

pub const USTAR: &[u8; 8] = b"ustar\x0000";
pub const GNU: &[u8; 8] = b"ustar  \0";

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields {
            name: b"",
            kind: b'0',
            size: 0,
            target: b"",
            mode: 0o644,
            magic: USTAR,
            prefix: b"",
        }
    }
}

pub fn header(fields: &Fields<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, fields.name);
    put(100, format!("{:07o}", fields.mode).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", fields.size).as_bytes());
    put(136, b"00000000001");
    put(156, &[fields.kind]);
    put(157, fields.target);
    put(257, fields.magic);
    put(345, fields.prefix);
    sum(&mut block);
    block
}

/// Sets the checksum.
pub fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub fn raw(mut self, bytes: &[u8]) -> Tar {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Any header, with content that fills its blocks.
    pub fn entry(self, fields: &Fields<'_>, content: &[u8]) -> Tar {
        let padding = content.len().next_multiple_of(512) - content.len();
        self.raw(&header(fields))
            .raw(content)
            .raw(&vec![0; padding])
    }

    pub fn kind(self, kind: u8, name: &str, content: &[u8]) -> Tar {
        let fields = Fields {
            name: name.as_bytes(),
            kind,
            size: content.len() as u64,
            ..Fields::default()
        };
        self.entry(&fields, content)
    }

    pub fn file(self, name: &str, content: &str) -> Tar {
        self.kind(b'0', name, content.as_bytes())
    }

    pub fn folder(self, name: &str) -> Tar {
        self.kind(b'5', name, b"")
    }

    pub fn link(self, kind: u8, name: &str, target: &str) -> Tar {
        let fields = Fields {
            name: name.as_bytes(),
            kind,
            target: target.as_bytes(),
            ..Fields::default()
        };
        self.entry(&fields, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.link(b'2', name, target)
    }

    pub fn hardlink(self, name: &str, target: &str) -> Tar {
        self.link(b'1', name, target)
    }

    /// An extended header with these records.
    pub fn pax(self, records: &[(&str, &str)]) -> Tar {
        let content: String = records
            .iter()
            .map(|(key, value)| record(key, value))
            .collect();
        self.kind(b'x', "pax", content.as_bytes())
    }

    /// With the end that an archive has.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }
}

/// `LENGTH KEY=VALUE\n`
pub fn record(key: &str, value: &str) -> String {
    let body = format!(" {key}={value}\n");
    let mut length = body.len() + 1;
    while length != body.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{body}")
}

pub fn diff_id(archive: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, archive)
}
