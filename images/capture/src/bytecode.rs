//! Compiled modules (PEP 552).
//!
//! By default the header of a `.pyc` holds its source's time of change, which files in a store
//! have not. So one that is valid for its source now is captured with another header, which
//! says that it need not be compared: the environment is read-only, its source cannot change.
//! One that is not valid is left out, as the interpreter would.

/// Length of a header: magic number, flags, and eight bytes that the flags explain.
pub const HEADER_BYTES: usize = 16;

/// Flags: the eight bytes are a hash of the source, and it is not compared (PEP 552).
const UNCHECKED: u32 = 1;
/// The same, and it is.
const CHECKED: u32 = 3;

/// What a header says of validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Valid if its source has this time of change and this length, each modulo 2³².
    Stat { mtime: u32, size: u32 },
    /// The header holds with any source that has the same content.
    Hash,
    /// Nothing that an interpreter takes.
    Unknown,
}

pub(crate) fn validity(header: &[u8]) -> Validity {
    let word = |at: usize| {
        let bytes = header.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    match (word(4), word(8), word(12)) {
        (Some(0), Some(mtime), Some(size)) => Validity::Stat { mtime, size },
        (Some(UNCHECKED | CHECKED), Some(_), Some(_)) => Validity::Hash,
        _ => Validity::Unknown,
    }
}

/// The header with which a valid `.pyc` is captured. The magic number stays; the hash, which
/// nobody compares, is zero, so that one module's code has one content.
pub fn unchecked(header: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    let flags = UNCHECKED.to_le_bytes();
    for (to, from) in out.iter_mut().zip(header.iter().take(4).chain(&flags)) {
        *to = *from;
    }
    out
}

/// The name of the source that `__pycache__/NAME.TAG.pyc` was compiled from, if it is this
/// interpreter's and not an optimised variant, which none but `python -O` reads.
pub(crate) fn source_of(name: &str, tag: &str) -> Option<String> {
    let stem = name
        .strip_suffix(".pyc")?
        .strip_suffix(tag)?
        .strip_suffix('.')?;
    Some(format!("{stem}.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u32, mtime: u32, size: u32) -> Vec<u8> {
        [0x0a0d_0da7, flags, mtime, size]
            .iter()
            .flat_map(|word: &u32| word.to_le_bytes())
            .collect()
    }

    #[test]
    fn headers_are_told_apart() {
        let stat = Validity::Stat { mtime: 7, size: 9 };
        assert_eq!(validity(&header(0, 7, 9)), stat);
        assert_eq!(validity(&header(1, 7, 9)), Validity::Hash);
        assert_eq!(validity(&header(3, 7, 9)), Validity::Hash);
        assert_eq!(validity(&header(2, 7, 9)), Validity::Unknown);
        assert_eq!(validity(&header(0, 7, 9)[..15]), Validity::Unknown);
    }

    #[test]
    fn an_unchecked_header_keeps_the_magic_number_alone() {
        let old: [u8; HEADER_BYTES] = header(0, 7, 9).try_into().unwrap();
        assert_eq!(unchecked(old).to_vec(), header(1, 0, 0));
    }

    #[test]
    fn sources_are_found_by_name() {
        let source = |name| source_of(name, "cpython-311");
        assert_eq!(source("os.cpython-311.pyc").as_deref(), Some("os.py"));
        assert_eq!(source("a.b.cpython-311.pyc").as_deref(), Some("a.b.py"));
        for other in [
            "os.cpython-312.pyc",
            "os.cpython-311.opt-1.pyc",
            "os.pyc",
            "os.py",
        ] {
            assert_eq!(source(other), None, "{other}");
        }
    }
}
