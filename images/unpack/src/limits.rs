//! How much of a layer is taken.

/// What one layer may cost. The defaults take the largest images that are in common use
/// (CUDA, with layers of some 6 GB) and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression, the archive's own included.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Entries, whatever they are.
    pub entries: u64,
    /// Bytes that may come out of one compressed byte, once [`Limits::RATIO_FROM`] have come out.
    pub ratio: u64,
    /// Folders above an entry.
    pub depth: usize,
    /// Bytes of extended attributes of one entry, names included.
    pub attribute_bytes: usize,
}

impl Limits {
    /// Bytes that may be decompressed from however little: a layer of zeros is small.
    pub const RATIO_FROM: u64 = 64 << 20;

    /// Bytes of one component of a name (`NAME_MAX` of Linux's file systems).
    pub const NAME: usize = 255;

    /// Bytes of a name, and of a link's target (`PATH_MAX`, with its NUL).
    pub const PATH: usize = 4095;

    /// Bytes of one entry's extended header.
    pub const PAX: u64 = 256 << 10;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 16 << 30,
            file_bytes: 8 << 30,
            entries: 1_000_000,
            ratio: 250,
            depth: 128,
            attribute_bytes: 64 << 10,
        }
    }
}
