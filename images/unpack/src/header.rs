//! One block of 512 bytes: ustar's header, and GNU's (tar(5) of libarchive; POSIX.1-2017, pax).

use crate::error::Refusal;

/// Bytes of a header, and the unit of all content.
pub const BLOCK: usize = 512;

/// One block.
pub type Block = [u8; BLOCK];

/// What kind of entry a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    File,
    HardLink,
    SymbolicLink,
    Folder,
    /// `x`: for the next entry.
    Extended,
    /// `g`: for all that follow.
    Global,
    /// GNU's `L`.
    LongName,
    /// GNU's `K`.
    LongTarget,
}

/// What is read of a header. Owners are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Type,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub mode: u32,
    pub size: u64,
    pub mtime: i64,
}

/// Offsets and lengths of the fields.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const KIND: usize = 156;
const TARGET: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const PREFIX: (usize, usize) = (345, 155);

/// `ustar`, NUL, `00`: the prefix field is a prefix.
const USTAR: &[u8] = b"ustar\x0000";
/// `ustar`, two spaces, NUL: where the prefix would be, GNU has other things.
const GNU: &[u8] = b"ustar  \0";

/// The largest size that twelve octal digits hold; larger ones stand in an extended header.
pub const OCTAL_SIZE: u64 = 0o777_7777_7777;

impl Header {
    /// Reads a block that is not all zeros.
    pub fn read(block: &Block) -> Result<Header, Refusal> {
        check_sum(block)?;
        let kind = kind(*block.get(KIND).unwrap_or(&0))?;
        let magic = field(block, MAGIC);
        let mut name = text(field(block, NAME)).to_vec();
        if magic == USTAR {
            let prefix = text(field(block, PREFIX));
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        } else if magic != GNU && magic.iter().any(|byte| *byte != 0) {
            return Err(bad("magic", "of no known format"));
        }
        Ok(Header {
            kind,
            name,
            target: text(field(block, TARGET)).to_vec(),
            mode: u32::try_from(number(field(block, MODE), "mode")? & 0o7777).unwrap_or(0),
            size: number(field(block, SIZE), "size")?,
            mtime: mtime(field(block, MTIME)),
        })
    }
}

fn bad(field: &'static str, found: &'static str) -> Refusal {
    Refusal::BadField { field, found }
}

fn field(block: &Block, (at, length): (usize, usize)) -> &[u8] {
    block.get(at..at + length).unwrap_or_default()
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn kind(flag: u8) -> Result<Type, Refusal> {
    Ok(match flag {
        0 | b'0' | b'7' => Type::File,
        b'1' => Type::HardLink,
        b'2' => Type::SymbolicLink,
        b'3' | b'4' => return Err(Refusal::Device),
        b'5' => Type::Folder,
        b'6' => return Err(Refusal::Pipe),
        b'x' => Type::Extended,
        b'g' => Type::Global,
        b'L' => Type::LongName,
        b'K' => Type::LongTarget,
        b'S' => return Err(Refusal::Sparse),
        other => return Err(Refusal::UnknownKind(char::from(other))),
    })
}

/// The sum of all bytes, with spaces for the sum itself. Some old programs summed signed bytes.
fn check_sum(block: &Block) -> Result<(), Refusal> {
    let said = number(field(block, CHECKSUM), "checksum")?;
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (index, byte) in block.iter().enumerate() {
        let within = (CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1).contains(&index);
        let byte = if within { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if said == unsigned || i64::try_from(said) == Ok(signed) {
        return Ok(());
    }
    Err(bad("checksum", "wrong"))
}

/// Octal digits with spaces or NULs around them, or GNU's base 256: a byte with its highest bit
/// set, then a big-endian number. Negative ones, and what is larger than 63 bits, are refused.
pub fn number(field: &[u8], name: &'static str) -> Result<u64, Refusal> {
    let wrong = || bad(name, "no number");
    match field.split_first() {
        Some((0x80, rest)) => {
            let mut value = 0u64;
            for byte in rest {
                value = value
                    .checked_mul(256)
                    .ok_or_else(|| bad(name, "too large"))?;
                value += u64::from(*byte);
            }
            match i64::try_from(value) {
                Ok(_) => Ok(value),
                Err(_) => Err(bad(name, "too large")),
            }
        }
        Some((first, _)) if *first & 0x80 != 0 => Err(bad(name, "negative or too large")),
        _ => {
            let padding = |byte: &u8| matches!(byte, b' ' | 0);
            let start = field
                .iter()
                .position(|byte| *byte != b' ')
                .unwrap_or(field.len());
            let digits = field.get(start..).unwrap_or_default();
            let end = digits.iter().position(padding).unwrap_or(digits.len());
            let (digits, rest) = digits.split_at(end);
            if !rest.iter().all(padding) {
                return Err(wrong());
            }
            digits.iter().try_fold(0u64, |value, digit| match digit {
                b'0'..=b'7' => Ok(value * 8 + u64::from(digit - b'0')),
                _ => Err(wrong()),
            })
        }
    }
}

/// A time that cannot be read is no reason to refuse an image: it is then 1970.
fn mtime(field: &[u8]) -> i64 {
    let seconds = number(field, "mtime").unwrap_or(0);
    i64::try_from(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0", "mode"), Ok(0o644));
        assert_eq!(number(b"   644 \0", "mode"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0", "mode"), Ok(0));
        assert_eq!(number(b"77777777777\0", "size"), Ok(OCTAL_SIZE));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0", "size"), Ok(2 << 32));
        for bad in [
            &b"-644\0"[..],
            b"0x10\0",
            b"12 34",
            b"8\0",
            b"\xff\xff\xff\xff",
            b"\x80\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(number(bad, "size").is_err(), "{bad:?}");
        }
    }
}
